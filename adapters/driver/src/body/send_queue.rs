//! How much waits to be sent on all streams of a tunnel together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::options::Options;

/// How much waits on all streams of a tunnel, in bytes. Clones are the same queue.
///
/// It is counted outside of the tunnel's lock too, where bodies are read. A number that is a
/// little old lets a body be read once more, or once less before its turn comes again.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendQueue(Arc<AtomicUsize>);

impl SendQueue {
    /// A share that is empty.
    pub(crate) fn share(&self) -> QueueShare {
        QueueShare {
            queue: self.clone(),
            bytes: 0,
        }
    }
}

/// What one stream has in the queue, or its sender. It is taken out when it is dropped.
#[derive(Debug)]
pub(crate) struct QueueShare {
    queue: SendQueue,
    bytes: usize,
}

impl QueueShare {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.queue.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes out so much, or all if that is less.
    pub(crate) fn remove(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.queue.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Moves all of another share of the same queue here.
    pub(crate) fn take_over(&mut self, other: &mut Self) {
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
    }

    /// Whether a stream may have more in the queue that has `own` there, and others waiting beside
    /// it. One that has nothing always may, so that nobody waits for the bytes of another.
    pub(crate) fn has_room(&self, own: usize, limit: usize, options: &Options) -> bool {
        let all = self.queue.0.load(Ordering::Relaxed);
        own == 0 || (own < limit && all < options.tunnel_send_queue)
    }
}

impl Drop for QueueShare {
    fn drop(&mut self) {
        self.remove(self.bytes);
    }
}
