//! Intrusive queues of streams: their links are in the records, so that they need no memory.

use super::links::{Link, NO_SLOT};
use super::slab::Slab;
use super::stream::Stream;
use crate::storage::Storage;

/// Streams with heads, messages, or their end to send, in that order.
pub(crate) const DATA: usize = 0;
/// Streams with frames that go ahead of data.
pub(crate) const CONTROL: usize = 1;
/// Streams with events to poll.
pub(crate) const EVENTS: usize = 2;

/// A stream that has joined a queue, and the one before it, which does not know.
#[derive(Clone, Copy, Debug)]
#[must_use = "the queue is broken until it is linked up"]
pub(crate) struct Joined {
    previous: u32,
    slot: u32,
}

/// A first-in first-out queue of streams, each of which is in it at most once.
///
/// `QUEUE` is the position of the queue's link in a record. It is part of the type, so that no
/// operation has to look it up.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct StreamQueue<const QUEUE: usize> {
    head: u32,
    tail: u32,
}

impl<const QUEUE: usize> StreamQueue<QUEUE> {
    pub(crate) const fn new() -> Self {
        Self {
            head: NO_SLOT,
            tail: NO_SLOT,
        }
    }

    fn link(stream: &mut Stream) -> &mut Link {
        let [data, control, events] = &mut stream.links;
        match QUEUE {
            DATA => data,
            CONTROL => control,
            _ => events,
        }
    }

    /// Whether the stream of this record is in the queue.
    #[inline(always)]
    pub(crate) const fn holds(&self, stream: &Stream) -> bool {
        let [data, control, events] = &stream.links;
        match QUEUE {
            DATA => data,
            CONTROL => control,
            _ => events,
        }
        .is_member()
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<u32> {
        (self.head != NO_SLOT).then_some(self.head)
    }

    /// Takes the stream at the front out.
    #[inline]
    pub(crate) fn pop_front<S: Storage>(&mut self, slab: &mut Slab<S>) -> Option<u32> {
        let front = self.front()?;
        let own = core::mem::take(Self::link(slab.get_mut(front)));
        // Ends with the queue, whatever the links say: a stream that was taken out has none.
        self.head = own.following();
        match slab.neighbour(self.head) {
            Some(next) => Self::link(next).previous = NO_SLOT,
            None => self.tail = NO_SLOT,
        }
        Some(front)
    }

    /// Adds the stream at the back, unless it is in the queue.
    #[inline]
    pub(crate) fn push_back<S: Storage>(&mut self, slab: &mut Slab<S>, slot: u32) {
        if let Some(joined) = self.join(slab.get_mut(slot), slot) {
            self.link_up(slab, joined);
        }
    }

    /// The same, for one whose record is at hand. `None`: it is in the queue; else
    /// [`link_up`](Self::link_up) has to follow.
    #[inline(always)]
    pub(crate) fn join(&mut self, stream: &mut Stream, slot: u32) -> Option<Joined> {
        let own = Self::link(stream);
        if own.is_member() {
            return None;
        }
        let previous = core::mem::replace(&mut self.tail, slot);
        *own = Link {
            previous,
            next: NO_SLOT,
        };
        Some(Joined { previous, slot })
    }

    /// Links the stream before one that has joined.
    #[inline(always)]
    pub(crate) fn link_up<S: Storage>(&mut self, slab: &mut Slab<S>, joined: Joined) {
        let Joined { previous, slot } = joined;
        match slab.neighbour(previous) {
            Some(last) => Self::link(last).next = slot,
            None => self.head = slot,
        }
    }

    /// Removes the stream, if it is in the queue.
    pub(crate) fn remove<S: Storage>(&mut self, slab: &mut Slab<S>, slot: u32) {
        let own = Self::link(slab.get_mut(slot));
        if !own.is_member() {
            return;
        }
        let Link { previous, next } = *own;
        *own = Link::default();
        match slab.neighbour(previous) {
            Some(before) => Self::link(before).next = next,
            None => self.head = next,
        }
        match slab.neighbour(next) {
            Some(after) => Self::link(after).previous = previous,
            None => self.tail = previous,
        }
    }

    /// Moves the stream at the front to the back.
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
