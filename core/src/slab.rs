//! The records of the streams of a tunnel, by slot.

use crate::length::in_memory;
use crate::links::NO_SLOT;
use crate::storage::{List, Storage};
use crate::stream::{Flag, Stream};
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
        self.records.as_slice().get(in_memory(slot))
    }

    /// The record of a slot, in use or not, to be changed.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        self.records.as_mut_slice().get_mut(in_memory(slot))
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
