//! The records of the streams of a tunnel, by slot.

use super::end::End;
use super::links::NO_SLOT;
use super::stream::Stream;
use crate::length::in_memory;
use crate::storage::{List, Storage};
use crate::types::Key;

/// A slab: records in numbered slots, where freed slots are reused. Each operation looks at one slot,
/// and allocates only if every slot is in use.
#[derive(Clone, Debug)]
pub(crate) struct Slab<S: Storage> {
    pub(super) records: S::Streams<Stream>,
    /// The head of the list of free slots, the one freed last. The `id` of a free slot's record is
    /// the next one in the list.
    pub(super) free: u32,
    pub(super) in_use: u32,
    /// What a slot without a record stands for, so that no look-up has to answer for one.
    pub(super) vacant: Stream,
}

/// Apart from the look-ups, which need no registers for it.
#[cold]
#[inline(never)]
const fn vacant(vacant: &Stream) -> &Stream {
    vacant
}

#[cold]
#[inline(never)]
const fn vacant_mut(vacant: &mut Stream) -> &mut Stream {
    vacant
}

impl<S: Storage> Slab<S> {
    pub(crate) fn new() -> Self {
        Self {
            records: S::Streams::default(),
            free: NO_SLOT,
            in_use: 0,
            vacant: Stream::vacant(),
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

    /// The record in a slot, in use or free.
    #[inline(always)]
    pub(crate) fn get(&self, slot: u32) -> &Stream {
        match self.records.as_slice().get(in_memory(slot)) {
            Some(record) => record,
            None => vacant(&self.vacant),
        }
    }

    /// The same, mutable.
    #[inline(always)]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Stream {
        match self.records.as_mut_slice().get_mut(in_memory(slot)) {
            Some(record) => record,
            None => vacant_mut(&mut self.vacant),
        }
    }

    /// The same, where a slot without a record is to be told apart.
    #[inline(always)]
    pub(crate) fn try_get(&self, slot: u32) -> Option<&Stream> {
        self.records.as_slice().get(in_memory(slot))
    }

    /// The record of a neighbour in a queue. `None`: that is where the queue ends.
    #[inline(always)]
    pub(super) fn neighbour(&mut self, slot: u32) -> Option<&mut Stream> {
        self.records.as_mut_slice().get_mut(in_memory(slot))
    }

    /// The slot of the record that a key refers to, if it was not reused.
    #[inline(always)]
    pub(crate) fn find(&self, key: Key) -> Option<u32> {
        let stream = self.try_get(key.slot)?;
        (stream.generation == key.generation && !stream.is_vacant()).then_some(key.slot)
    }

    /// The key of a slot.
    #[inline(always)]
    pub(crate) fn key(&self, slot: u32) -> Key {
        let generation = self.get(slot).generation;
        Key { slot, generation }
    }

    /// Stores a record. `None` if there is no room.
    pub(crate) fn insert(&mut self, mut stream: Stream) -> Option<Key> {
        let free = self.free;
        let slot = if let Some(record) = self.records.as_mut_slice().get_mut(in_memory(free)) {
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
        let stream = self.get_mut(slot);
        if !stream.is_vacant() {
            stream.end = End::Vacant;
            stream.id = i64::from(free);
            self.free = slot;
            self.in_use = self.in_use.saturating_sub(1);
        }
    }

    /// The slots in use, in ascending order, from one on.
    pub(crate) fn slots_from(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        self.records
            .as_slice()
            .iter()
            .zip(0..)
            .skip(in_memory(first))
            .filter(|(stream, _)| !stream.is_vacant())
            .map(|(_, slot)| slot)
    }
}
