//! The two kinds of memory that everything is tested over.

use grpctunnel_core::receive_buffer::{self, FixedStore, GrowingStore};
use grpctunnel_core::{Fixed, Growing, Storage};

/// Memory for an end of a tunnel and for its receive buffers.
pub trait Store: 'static {
    /// Where the tunnel keeps its streams.
    type Streams: Storage;
    /// Where the receive buffers keep payload.
    type Buffer: receive_buffer::Store;
    /// The largest number of streams that are not retired.
    const STREAMS: u32;
}

/// In place, without an allocator.
#[derive(Clone, Copy, Debug)]
pub struct InPlace;

impl InPlace {
    /// The largest receive window that its receive buffers hold.
    pub const WINDOW: u32 = 65_536;
}

impl Store for InPlace {
    type Streams = Fixed<32, 64>;
    type Buffer = FixedStore<65_536, 4_096>;
    const STREAMS: u32 = 32;
}

/// On the heap, growing.
#[derive(Clone, Copy, Debug)]
pub struct OnHeap;

impl Store for OnHeap {
    type Streams = Growing;
    type Buffer = GrowingStore;
    const STREAMS: u32 = 1_024;
}

/// Makes each function a test that runs over both kinds of memory.
///
/// The function names its one type parameter, which is the [`Store`].
#[macro_export]
macro_rules! both_stores {
    ($($(#[$attribute:meta])* fn $name:ident<$store:ident>() $body:block)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            fn over<$store: $crate::harness::Store>() $body
            over::<$crate::harness::InPlace>();
            over::<$crate::harness::OnHeap>();
        }
    )*};
}
