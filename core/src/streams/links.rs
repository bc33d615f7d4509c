//! The links of a stream in an intrusive queue.

/// Where a slot is expected: none.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// As [`Link::next`]: the stream is not in the queue.
const NOT_A_MEMBER: u32 = NO_SLOT - 1;

/// The neighbours of a stream in one queue.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Link {
    pub(crate) previous: u32,
    pub(crate) next: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            previous: NO_SLOT,
            next: NOT_A_MEMBER,
        }
    }
}

impl Link {
    pub(crate) const fn is_member(self) -> bool {
        self.next != NOT_A_MEMBER
    }

    /// The stream behind it, or `NO_SLOT`.
    pub(crate) const fn following(self) -> u32 {
        if self.is_member() { self.next } else { NO_SLOT }
    }
}
