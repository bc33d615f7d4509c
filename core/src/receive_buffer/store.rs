//! The memory of a receive buffer: in place, or on the heap.

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

/// Memory in place, with no allocator: room for `BYTES` bytes of payload, and `BOUNDARIES` bytes
/// for where messages end.
///
/// `BYTES` is the largest receive window, where each byte that was taken out is reported to the
/// tunnel and no earlier: set [`ReceiveWindowPolicy::max`](crate::ReceiveWindowPolicy::max) to no
/// more, since windows grow by default.
///
/// Messages of equal size and compression in a row are one run. The oldest and the newest run take
/// none of `BOUNDARIES`. Each other run takes 1 byte if its messages have fewer than 32 bytes, 2 below
/// 4,096, 3 below 524,288 and 5 at most; if it has several messages, their number takes 1 byte up to
/// 127 messages, 2 below 16,384 and 5 at most. Messages of one byte and empty ones in turn need twice
/// as many bytes as `BYTES`. A stream for which there is no room ends with `RESOURCE_EXHAUSTED`. More
/// than twice the bytes of their messages and 4,096 is never used.
#[derive(Clone, Copy, Debug)]
pub struct FixedStore<const BYTES: usize, const BOUNDARIES: usize>;

impl<const BYTES: usize, const BOUNDARIES: usize> Store for FixedStore<BYTES, BOUNDARIES> {}

impl<const BYTES: usize, const BOUNDARIES: usize> sealed::Rings for FixedStore<BYTES, BOUNDARIES> {
    type Bytes = FixedRing<u8, BYTES>;
    type Boundaries = FixedRing<Boundary, BOUNDARIES>;
}

/// Memory that grows with what is held, and is given back.
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
