//! The entry of a stream in the list of ids, in eight bytes.
//!
//! That keeps the list's spare room within the twelve bytes of an id and a slot: an open stream's
//! entry has its slot and the low bits of its id, and if those are ambiguous, its record has the whole
//! id. An ended stream has no slot, which leaves room for its whole id.

use super::slab::Slab;
use crate::storage::Storage;

/// The share of one stream in the memory of the list: three words, while an entry takes two.
pub(super) type Words = [u32; 3];

/// The entry of one stream. The second word is [`low_bits`] of its id, plus [`ENDED`] once it has
/// ended. The first word is its slot while it is open, and the high bits of its id afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub(super) [u32; 2]);

/// Set in the second word of the entry of an ended stream.
const ENDED: u32 = 1;

/// Both words of a vacant entry. No open stream has this second word.
pub(super) const NONE: u32 = ENDED;

/// The low 31 bits of an id, shifted to leave bit 0 for [`ENDED`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are what is wanted"
)]
pub(super) const fn low_bits(id: i64) -> u32 {
    (id << 1) as u32
}

impl Entry {
    pub(super) const fn open(id: i64, slot: u32) -> Self {
        Self([slot, low_bits(id)])
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "32 bits are left of an id, which is not negative"
    )]
    pub(super) const fn ended(id: i64) -> Self {
        Self([(id >> 31) as u32, low_bits(id) | ENDED])
    }

    pub(super) const fn slot(self) -> Option<u32> {
        let [slot, low] = self.0;
        if low & ENDED == 0 { Some(slot) } else { None }
    }

    pub(super) fn id<S: Storage>(self, slab: &Slab<S>) -> i64 {
        let [high, low] = self.0;
        match self.slot() {
            Some(slot) => slab.get(slot).id,
            None => i64::from(high) << 31 | i64::from(low >> 1),
        }
    }
}
