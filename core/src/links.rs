//! Queues of streams that need no memory of their own: the links are in the streams' records.

use crate::storage::Storage;
use crate::stream::{NO_SLOT, Stream};
use crate::table::Slab;

/// A stream's place in one queue.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Link {
    previous: u32,
    next: u32,
}

/// The `next` of a stream that is not in the queue.
const NOT_A_MEMBER: u32 = NO_SLOT - 1;

impl Default for Link {
    fn default() -> Self {
        Self {
            previous: NO_SLOT,
            next: NOT_A_MEMBER,
        }
    }
}

impl Link {
    const fn is_member(self) -> bool {
        self.next != NOT_A_MEMBER
    }
}

/// Which queue; a stream is in each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum QueueId {
    /// Streams with frames of their own order to send.
    Data,
    /// Streams with frames that go ahead of data.
    Control,
    /// Streams with events to poll.
    Events,
}

fn link(stream: &mut Stream, queue: QueueId) -> &mut Link {
    let [data, control, events] = &mut stream.links;
    match queue {
        QueueId::Data => data,
        QueueId::Control => control,
        QueueId::Events => events,
    }
}

/// A first-in first-out queue of streams.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct StreamQueue {
    id: QueueId,
    head: u32,
    tail: u32,
}

impl StreamQueue {
    pub(crate) const fn new(id: QueueId) -> Self {
        Self {
            id,
            head: NO_SLOT,
            tail: NO_SLOT,
        }
    }

    pub(crate) fn front(&self) -> Option<u32> {
        (self.head != NO_SLOT).then_some(self.head)
    }

    /// Adds the stream at the end, unless it is in the queue.
    pub(crate) fn push_back<S: Storage>(&mut self, slab: &mut Slab<S>, slot: u32) {
        let tail = self.tail;
        let Some(stream) = slab.get_mut(slot) else {
            return;
        };
        let own = link(stream, self.id);
        if own.is_member() {
            return;
        }
        *own = Link {
            previous: tail,
            next: NO_SLOT,
        };
        match slab.get_mut(tail) {
            Some(last) => link(last, self.id).next = slot,
            None => self.head = slot,
        }
        self.tail = slot;
    }

    /// Takes the stream out, if it is in the queue.
    pub(crate) fn remove<S: Storage>(&mut self, slab: &mut Slab<S>, slot: u32) {
        let Some(stream) = slab.get_mut(slot) else {
            return;
        };
        let own = link(stream, self.id);
        if !own.is_member() {
            return;
        }
        let Link { previous, next } = *own;
        *own = Link::default();
        match slab.get_mut(previous) {
            Some(before) => link(before, self.id).next = next,
            None => self.head = next,
        }
        match slab.get_mut(next) {
            Some(after) => link(after, self.id).previous = previous,
            None => self.tail = previous,
        }
    }

    /// Moves the first stream to the end.
    #[inline]
    pub(crate) fn rotate<S: Storage>(&mut self, slab: &mut Slab<S>) {
        if self.head != self.tail
            && let Some(slot) = self.front()
        {
            self.remove(slab, slot);
            self.push_back(slab, slot);
        }
    }
}
