//! The streams of a tunnel: records by slot, and slots by stream id.

use crate::storage::{List, Storage};
use crate::stream::{Flag, NO_SLOT, Stream};
use crate::types::Key;

/// Records in slots that are used again. Never looks at more than one slot a call, and allocates
/// only for a record more than there ever were.
#[derive(Clone, Debug)]
pub(crate) struct Slab<S: Storage> {
    pub(crate) records: S::Streams<Stream>,
    /// The slot that was freed last; the `id` of its record is the one freed before, and so on.
    pub(crate) free: u32,
    pub(crate) in_use: u32,
}

impl<S: Storage> Slab<S> {
    pub(crate) fn new() -> Self {
        Self {
            records: S::Streams::default(),
            free: NO_SLOT,
            in_use: 0,
        }
    }

    /// Bytes of a stream's record.
    pub(crate) const STREAM: usize = size_of::<Stream>();

    /// Bytes held on the heap.
    pub(crate) fn heap(&self) -> usize {
        self.records.heap()
    }

    /// Slots in use.
    pub(crate) const fn len(&self) -> u32 {
        self.in_use
    }

    /// How many slots there are, in use or not.
    pub(crate) fn slots_ever(&self) -> u32 {
        u32::try_from(self.records.as_slice().len()).unwrap_or(NO_SLOT)
    }

    /// The record of a slot, in use or not.
    pub(crate) fn get(&self, slot: u32) -> Option<&Stream> {
        self.records.as_slice().get(slot as usize)
    }

    /// The record of a slot, in use or not, to be changed.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        self.records.as_mut_slice().get_mut(slot as usize)
    }

    /// The record that a key names.
    pub(crate) fn find(&self, key: Key) -> Option<&Stream> {
        self.get(key.slot)
            .filter(|stream| stream.has(Flag::InUse) && stream.generation == key.generation)
    }

    /// The record that a key names, to be changed.
    pub(crate) fn find_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.get_mut(key.slot)
            .filter(|stream| stream.has(Flag::InUse) && stream.generation == key.generation)
    }

    /// The key of a slot in use.
    pub(crate) fn key(&self, slot: u32) -> Key {
        let generation = self.get(slot).map_or(0, |stream| stream.generation);
        Key { slot, generation }
    }

    /// Puts a record into a free slot; `None` if there is none.
    pub(crate) fn insert(&mut self, mut stream: Stream) -> Option<Key> {
        let free = self.free;
        let slot = if let Some(record) = self.get_mut(free) {
            let next = u32::try_from(record.id).unwrap_or(NO_SLOT);
            stream.generation = record.generation.wrapping_add(1);
            *record = stream;
            self.free = next;
            free
        } else {
            let slot = u32::try_from(self.records.as_slice().len()).ok()?;
            // The two highest numbers mean "none".
            if slot >= NO_SLOT - 1 {
                return None;
            }
            self.records.push(stream).ok()?;
            slot
        };
        self.in_use = self.in_use.saturating_add(1);
        Some(self.key(slot))
    }

    /// Frees a slot in use.
    pub(crate) fn remove(&mut self, slot: u32) {
        let free = self.free;
        let Some(stream) = self.get_mut(slot) else {
            return;
        };
        if stream.flags.take(Flag::InUse) {
            stream.id = i64::from(free);
            self.free = slot;
            self.in_use = self.in_use.saturating_sub(1);
        }
    }

    /// The slots in use, in no order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.records
            .as_slice()
            .iter()
            .zip(0..)
            .filter(|(stream, _)| stream.has(Flag::InUse))
            .map(|(_, slot)| slot)
    }
}

/// One stream id that is open, or was and has not been compacted away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The id as bytes: aligned as a number it would make every entry a third larger.
    id: [u8; 8],
    pub(crate) slot: u32,
}

impl Entry {
    const fn new(id: i64, slot: u32) -> Self {
        Self {
            id: id.to_ne_bytes(),
            slot,
        }
    }

    pub(crate) const fn id(&self) -> i64 {
        i64::from_ne_bytes(self.id)
    }
}

/// Slots by stream id. Ids only rise, so the list is sorted as it grows: no hash, so no id that a
/// peer could choose makes it slow.
#[derive(Clone, Debug)]
pub(crate) struct Index<S: Storage> {
    pub(crate) entries: S::Streams<Entry>,
    /// Entries before this one are gone.
    pub(crate) head: usize,
    /// Entries from `head` on that are gone.
    pub(crate) gone: usize,
}

impl<S: Storage> Index<S> {
    pub(crate) fn new() -> Self {
        Self {
            entries: S::Streams::default(),
            head: 0,
            gone: 0,
        }
    }

    /// Bytes of a stream's entry.
    pub(crate) const STREAM: usize = size_of::<Entry>();

    /// Bytes held on the heap.
    pub(crate) fn heap(&self) -> usize {
        self.entries.heap()
    }

    fn position(&self, id: i64) -> Option<usize> {
        let live = self.entries.as_slice().get(self.head..)?;
        let first = live.first()?.id();
        // Clients number their streams one after another, so the guess is nearly always right.
        // Where a pointer is narrower than an id, a guess that does not fit is a wrong one.
        let guess = usize::try_from(id.wrapping_sub(first)).unwrap_or(usize::MAX);
        if live.get(guess).is_some_and(|entry| entry.id() == id) {
            return self.head.checked_add(guess);
        }
        let found = live.binary_search_by_key(&id, Entry::id).ok()?;
        self.head.checked_add(found)
    }

    /// The slot of an open stream.
    #[inline(always)]
    pub(crate) fn get(&self, id: i64) -> Option<u32> {
        // As `position` guesses, without its arithmetic: most frames get no further.
        let live = self.entries.as_slice().get(self.head..)?;
        let first = live.first()?.id();
        let guess = usize::try_from(id.wrapping_sub(first)).unwrap_or(usize::MAX);
        match live.get(guess) {
            Some(entry) if entry.id() == id => (entry.slot != NO_SLOT).then_some(entry.slot),
            _ => self.search(id),
        }
    }

    #[inline(never)]
    fn search(&self, id: i64) -> Option<u32> {
        let entry = self.entries.as_slice().get(self.position(id)?)?;
        (entry.slot != NO_SLOT).then_some(entry.slot)
    }

    /// Adds a stream whose id is above every earlier one. False if there is no room.
    pub(crate) fn push(&mut self, id: i64, slot: u32) -> bool {
        let entry = Entry::new(id, slot);
        if self.entries.as_slice().len() == self.entries.capacity() {
            self.compact();
        }
        self.entries.push(entry).is_ok()
    }

    /// Takes a stream out.
    pub(crate) fn remove(&mut self, id: i64) {
        let Some(position) = self.position(id) else {
            return;
        };
        let Some(entry) = self.entries.as_mut_slice().get_mut(position) else {
            return;
        };
        if entry.slot == NO_SLOT {
            return;
        }
        entry.slot = NO_SLOT;
        self.gone = self.gone.saturating_add(1);
        while let Some(entry) = self.entries.as_slice().get(self.head)
            && entry.slot == NO_SLOT
        {
            self.head = self.head.saturating_add(1);
            self.gone = self.gone.saturating_sub(1);
        }
        let tombstones = self.head.saturating_add(self.gone);
        if tombstones.saturating_mul(2) > self.entries.as_slice().len() {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut kept = 0;
        let slice = self.entries.as_mut_slice();
        for from in self.head..slice.len() {
            let Some(entry) = slice.get(from).copied() else {
                break;
            };
            if entry.slot != NO_SLOT
                && let Some(to) = slice.get_mut(kept)
            {
                *to = entry;
                kept = kept.saturating_add(1);
            }
        }
        self.entries.truncate(kept);
        self.head = 0;
        self.gone = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Fixed;

    #[test]
    fn the_index_finds_what_is_open_and_nothing_else() {
        let mut index = Index::<Fixed<8, 1>>::new();
        let mut open = heapless::Vec::<i64, 8>::new();
        let mut id = 0_i64;
        for round in 0..200_usize {
            id += if round % 3 == 0 { 1 } else { 7 };
            if open.len() == 8 {
                let gone = open.remove((round * 5) % 8);
                index.remove(gone);
                assert_eq!(index.get(gone), None);
            }
            assert!(index.push(id, u32::try_from(id % 1000).unwrap()));
            open.push(id).unwrap();
            for id in &open {
                assert_eq!(index.get(*id), u32::try_from(id % 1000).ok());
            }
            assert_eq!(index.get(id + 1), None);
            assert_eq!(index.get(-1), None);
        }
    }
}
