//! The records of the streams of a tunnel, by slot.

use crate::length::in_memory;
use crate::links::NO_SLOT;
use crate::storage::{List, Storage};
use crate::stream::{Flag, Stream};
use crate::types::Key;

/// A slab: records in numbered slots, where freed slots are reused. Each operation looks at one slot,
/// and allocates only if every slot is in use.
#[derive(Clone, Debug)]
pub(crate) struct Slab<S: Storage> {
    pub(crate) records: S::Streams<Stream>,
    /// The head of the list of free slots, the one freed last. The `id` of a free slot's record is
    /// the next one in the list.
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

    /// Bytes that a stream takes here.
    pub(crate) const STREAM: usize = size_of::<Stream>();

    /// Bytes held on the heap.
    pub(crate) fn heap(&self) -> usize {
        self.records.heap()
    }

    /// Number of slots in use.
    pub(crate) const fn len(&self) -> u32 {
        self.in_use
    }

    /// Number of slots, in use or free.
    pub(crate) fn slots_ever(&self) -> u32 {
        u32::try_from(self.records.as_slice().len()).unwrap_or(NO_SLOT)
    }

    /// The record in a slot, in use or free.
    pub(crate) fn get(&self, slot: u32) -> Option<&Stream> {
        self.records.as_slice().get(in_memory(slot))
    }

    /// The same, mutable.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        self.records.as_mut_slice().get_mut(in_memory(slot))
    }

    /// The record that a key refers to, if its slot was not reused.
    pub(crate) fn find(&self, key: Key) -> Option<&Stream> {
        self.get(key.slot)
            .filter(|stream| stream.has(Flag::InUse) && stream.generation == key.generation)
    }

    /// The same, mutable.
    pub(crate) fn find_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.get_mut(key.slot)
            .filter(|stream| stream.has(Flag::InUse) && stream.generation == key.generation)
    }

    /// The key of a slot that is in use.
    pub(crate) fn key(&self, slot: u32) -> Key {
        let generation = self.get(slot).map_or(0, |stream| stream.generation);
        Key { slot, generation }
    }

    /// Stores a record. `None` if there is no room.
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
            // The two highest numbers are reserved; see `Link`.
            if slot >= NO_SLOT - 1 {
                return None;
            }
            self.records.push(stream).ok()?;
            slot
        };
        self.in_use = self.in_use.saturating_add(1);
        Some(self.key(slot))
    }

    /// Frees a slot.
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

    /// The slots in use, in ascending order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.records
            .as_slice()
            .iter()
            .zip(0..)
            .filter(|(stream, _)| stream.has(Flag::InUse))
            .map(|(_, slot)| slot)
    }
}
