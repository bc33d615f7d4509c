//! The place of a stream in a queue of streams.

/// No slot.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// The `next` of a stream that is not in the queue.
const NOT_A_MEMBER: u32 = NO_SLOT - 1;

/// The slots beside a stream in one queue.
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
}
