//! The choice of memory for a receive buffer: in place, or on the heap.

#[cfg(feature = "alloc")]
use super::ring::GrowingRing;
use super::ring::{FixedRing, Ring};
use super::run::Boundary;

/// Where a receive buffer keeps its bytes: [`FixedStore`] or, with the feature `alloc`,
/// `GrowingStore`.
///
/// Sealed: the receive buffer relies on what its own rings guarantee.
pub trait Store: sealed::Rings {}

pub(super) mod sealed {
    use super::{Boundary, Ring};

    /// The rings of a receive buffer.
    pub trait Rings {
        /// The ring of payload bytes.
        type Bytes: Ring<u8>;
        /// The ring of message boundaries.
        type Boundaries: Ring<Boundary>;
    }
}

/// Memory in place, without an allocator: `BYTES` bytes of payload, and `BOUNDARIES` bytes for the
/// boundaries between messages.
///
/// `BYTES` must be at least the largest receive window: set
/// [`ReceiveWindowPolicy::max`](crate::ReceiveWindowPolicy::max) to no more. That is enough if bytes
/// are reported to the tunnel as consumed only after they were taken out of the buffer.
///
/// Consecutive messages of equal size and compression are one run. The oldest and the newest run take
/// none of `BOUNDARIES`. Every other run takes one byte for messages of up to 31 bytes, two up to
/// 4,095, three up to 524,287 and five at most. If it has more than one message, their number takes
/// one more byte up to 127 messages, two up to 16,383 and five at most.
///
/// Twice `BYTES` is enough for alternating messages of one byte and of none, which hardly any service
/// sends. A push for which there is no room fails with [`PushError::Full`](super::PushError::Full).
/// No more than twice the payload and 4,096 bytes are ever used.
#[derive(Clone, Copy, Debug)]
pub struct FixedStore<const BYTES: usize, const BOUNDARIES: usize>;

impl<const BYTES: usize, const BOUNDARIES: usize> Store for FixedStore<BYTES, BOUNDARIES> {}

impl<const BYTES: usize, const BOUNDARIES: usize> sealed::Rings for FixedStore<BYTES, BOUNDARIES> {
    type Bytes = FixedRing<u8, BYTES>;
    type Boundaries = FixedRing<Boundary, BOUNDARIES>;
}

/// Memory on the heap that grows with the content, and is freed when the buffer is empty.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug)]
pub struct GrowingStore;

#[cfg(feature = "alloc")]
impl Store for GrowingStore {}

#[cfg(feature = "alloc")]
impl sealed::Rings for GrowingStore {
    type Bytes = GrowingRing<u8>;
    type Boundaries = GrowingRing<Boundary>;
}
