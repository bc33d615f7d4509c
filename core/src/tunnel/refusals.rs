//! Streams that were refused before they had a record, until their refusals are sent.

use crate::length::on_wire;
use crate::reason::StreamReason;
use crate::storage::{Queue, Storage};

/// A refused stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) id: i64,
    pub(super) reason: StreamReason,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Refusals<S: Storage> {
    queue: S::Queue<Refusal>,
}

impl<S: Storage> Refusals<S> {
    pub(super) fn new() -> Self {
        Self {
            queue: S::Queue::default(),
        }
    }

    /// How many are to be sent.
    pub(super) fn len(&self) -> u32 {
        on_wire(self.queue.len())
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds one. False: there is no room.
    pub(super) fn push(&mut self, id: i64, reason: StreamReason) -> bool {
        self.queue.push_back(Refusal { id, reason }).is_ok()
    }

    pub(super) fn pop(&mut self) -> Option<Refusal> {
        self.queue.pop_front()
    }

    /// Nothing more is sent.
    pub(super) fn clear(&mut self) {
        self.queue = S::Queue::default();
    }

    /// Bytes held on the heap.
    pub(super) fn heap(&self) -> usize {
        self.queue.heap()
    }

    /// Writes what will be sent; of ids, the distance from `base`.
    #[cfg(feature = "search")]
    pub(super) fn fingerprint<H: core::hash::Hasher>(&self, base: i64, state: &mut H) {
        use core::hash::Hash as _;

        for Refusal { id, reason } in self.queue.iter() {
            (id.wrapping_sub(base), reason).hash(state);
        }
        self.queue.len().hash(state);
    }
}
