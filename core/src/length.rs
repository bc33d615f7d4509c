//! Lengths in memory beside the 32 bits in which the protocol counts.
//!
//! A `usize` may be wider or narrower than that, so neither is cast to the other.

/// Whether so many bytes or entries are more than `limit` allows.
#[inline]
pub(crate) const fn exceeds(len: usize, limit: u32) -> bool {
    len as u64 > limit as u64
}

/// A length of the protocol as one in memory: the largest one if it does not fit, which no slice has.
#[inline]
pub(crate) fn in_memory(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// A length in memory as one of the protocol: the largest one if it does not fit.
#[inline]
pub(crate) fn on_wire(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
