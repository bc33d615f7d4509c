//! How many bytes wait to be sent on all streams of a tunnel together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::budget::MemoryBudget;
use crate::options::Options;

/// The bytes that wait to be sent on all streams of a tunnel. Clones share the count.
///
/// Bodies are read without the tunnel's lock, so the count is atomic. One that is slightly out of
/// date lets a body be read once too often, or once too late.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendQueue {
    bytes: Arc<AtomicUsize>,
    /// The bound that this queue shares with other tunnels.
    budget: Option<MemoryBudget>,
}

impl SendQueue {
    pub(crate) fn new(budget: Option<MemoryBudget>) -> Self {
        Self {
            bytes: Arc::default(),
            budget,
        }
    }

    /// The bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// An empty share.
    pub(crate) fn share(&self) -> QueueShare {
        QueueShare {
            queue: self.clone(),
            bytes: 0,
        }
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.add_waiting(bytes);
        }
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.remove_waiting(bytes);
        }
    }
}

/// The bytes of one stream, or of its sender, in the queue. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct QueueShare {
    queue: SendQueue,
    bytes: usize,
}

impl QueueShare {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn budget(&self) -> Option<&MemoryBudget> {
        self.queue.budget.as_ref()
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.queue.add(bytes);
    }

    /// Removes `bytes`, at most all.
    pub(crate) fn remove(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.queue.remove(bytes);
    }

    /// Takes over all of another share of the same queue.
    pub(crate) fn take_over(&mut self, other: &mut Self) {
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
    }

    /// Whether a stream with `own` bytes in the queue, of at most `limit`, may add more. A stream
    /// without any always may, so that no stream waits for another.
    pub(crate) fn has_room(&self, own: usize, limit: usize, options: &Options) -> bool {
        let all = self.queue.bytes();
        own == 0 || (own < limit && all < options.tunnel_send_queue)
    }
}

impl Drop for QueueShare {
    fn drop(&mut self) {
        self.remove(self.bytes);
    }
}
