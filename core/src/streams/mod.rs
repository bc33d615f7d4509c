//! The streams of a tunnel: their records, with every list in which they stand.

mod end;
mod entry;
mod index;
mod links;
mod next;
mod queue;
mod receive;
mod send;
mod slab;
mod stream;
mod timers;
mod turns;

#[cfg(feature = "search")]
mod fingerprint;

pub(crate) use end::{Ended, Notice, Report, Terminal};
pub(crate) use next::Sent;
pub(crate) use receive::{Expected, Piece, Received};
pub(crate) use send::{MessageRules, Whole, is_too_large};
pub(crate) use stream::{Mark, NO_ID, Stream};
pub(crate) use turns::MAX_CHUNK;

use core::convert::Infallible;

use crate::error::TooManyBytes;
use crate::storage::Storage;
use crate::time::Time;
use crate::types::Key;
use crate::wire::Revision;
use index::Index;
use queue::StreamQueue;
use slab::Slab;
use timers::TimerHeap;
use turns::Turns;

/// Names the record of a stream that was looked up. Only [`Streams`] gives one out, and nothing
/// that is done by it has to ask again whether there is such a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Slot(u32);

/// The streams that are not retired. Whatever changes where a stream stands goes through here: its
/// id, its timers, its places in the queues, its end. Everything else is in its record.
#[derive(Clone, Debug)]
pub(crate) struct Streams<S: Storage> {
    slab: Slab<S>,
    index: Index<S>,
    timers: TimerHeap<S>,
    turns: Turns,
    /// Streams with frames that go ahead of data.
    control: StreamQueue<{ queue::CONTROL }>,
    /// Streams with events to poll.
    events: StreamQueue<{ queue::EVENTS }>,
    /// Streams that have not ended.
    active: u32,
    /// Those of them whose id is not given yet.
    unsent: u32,
}

/// A walk over all streams, in the order of their slots, each of which may end or retire on the way.
#[derive(Debug)]
pub(crate) struct Walk(u32);

impl Walk {
    pub(crate) fn next<S: Storage>(&mut self, streams: &Streams<S>) -> Option<Slot> {
        let slot = streams.slab.slots_from(self.0).next()?;
        self.0 = slot.saturating_add(1);
        Some(Slot(slot))
    }
}

impl<S: Storage> Streams<S> {
    /// Bytes that a stream takes: its record, and its places in the index and among the timers.
    pub(crate) const STREAM: usize =
        Slab::<S>::STREAM + Index::<S>::STREAM + TimerHeap::<S>::STREAM;

    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(),
            index: Index::new(),
            timers: TimerHeap::new(),
            turns: Turns::new(),
            control: StreamQueue::new(),
            events: StreamQueue::new(),
            active: 0,
            unsent: 0,
        }
    }

    /// Bytes held on the heap.
    pub(crate) fn heap(&self) -> usize {
        self.slab
            .heap()
            .saturating_add(self.index.heap())
            .saturating_add(self.timers.heap())
    }

    /// Streams that are not retired.
    pub(crate) const fn len(&self) -> u32 {
        self.slab.len()
    }

    /// Streams that have not ended.
    pub(crate) const fn active(&self) -> u32 {
        self.active
    }

    /// Streams that have not ended, and have no id yet.
    pub(crate) const fn unsent(&self) -> u32 {
        self.unsent
    }

    /// The open stream of this id.
    #[inline(always)]
    pub(crate) fn by_id(&self, id: i64) -> Option<Slot> {
        self.index.get(&self.slab, id).map(Slot)
    }

    /// The stream of this key, ended or not.
    #[inline(always)]
    pub(crate) fn slot(&self, key: Key) -> Option<Slot> {
        self.slab.find(key).map(Slot)
    }

    /// The stream of this key, if it takes commands.
    #[inline(always)]
    pub(crate) fn live(&self, key: Key) -> Option<Slot> {
        let stream = self.slab.try_get(key.slot)?;
        let live = stream.generation == key.generation
            && !stream.has_ended()
            && !stream.receive.is_released();
        live.then_some(Slot(key.slot))
    }

    /// The record of the stream of this key, ended or not.
    pub(crate) fn find(&self, key: Key) -> Option<&Stream> {
        self.slot(key).map(|slot| self.get(slot))
    }

    #[inline(always)]
    pub(crate) fn get(&self, slot: Slot) -> &Stream {
        self.slab.get(slot.0)
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Stream {
        self.slab.get_mut(slot.0)
    }

    #[inline(always)]
    pub(crate) fn key(&self, slot: Slot) -> Key {
        self.slab.key(slot.0)
    }

    /// All streams, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Stream)> {
        let slots = self.slab.slots_from(0);
        slots.map(|slot| (Slot(slot), self.slab.get(slot)))
    }

    /// The same, while they are changed.
    pub(crate) const fn walk() -> Walk {
        Walk(0)
    }

    /// Adds a stream, with its id or with [`NO_ID`]. `None`: there is no room.
    pub(crate) fn insert(&mut self, stream: Stream) -> Option<Slot> {
        let id = stream.id;
        let slot = self.slab.insert(stream)?.slot;
        if id == NO_ID {
            self.unsent = self.unsent.saturating_add(1);
        } else if !self.index.push(id, slot) {
            self.slab.remove(slot);
            return None;
        }
        self.active = self.active.saturating_add(1);
        self.timers.update(&mut self.slab, slot);
        Some(Slot(slot))
    }

    /// Gives a stream its id, which is higher than all before. False: there is no room.
    pub(crate) fn give_id(&mut self, slot: Slot, id: i64) -> bool {
        let given = self.index.push(id, slot.0);
        if given {
            self.slab.get_mut(slot.0).id = id;
            self.unsent = self.unsent.saturating_sub(1);
        }
        given
    }

    /// The earliest timer, and whose it is.
    pub(crate) fn next_timer(&self) -> Option<(Time, Slot)> {
        let (time, slot) = self.timers.earliest(&self.slab)?;
        Some((time, Slot(slot)))
    }

    /// The stream with the earliest timer, if that is due; the timer is taken out.
    pub(crate) fn pop_timer(&mut self, now: Time) -> Option<Slot> {
        self.timers.pop_due(&mut self.slab, now).map(Slot)
    }

    /// Sets both timers of a stream; `Time::MAX` is none.
    pub(crate) fn set_timers(&mut self, slot: Slot, deadline: Time, hold_until: Time) {
        let stream = self.slab.get_mut(slot.0);
        (stream.deadline, stream.hold_until) = (deadline, hold_until);
        self.timers.update(&mut self.slab, slot.0);
    }

    /// Gives the stream something to send, and puts it in line if it can be sent.
    #[inline(always)]
    pub(crate) fn feed<T, E>(
        &mut self,
        slot: Slot,
        feed: impl FnOnce(&mut Stream) -> Result<T, E>,
    ) -> Result<T, E> {
        let Self { slab, turns, .. } = self;
        let stream = slab.get_mut(slot.0);
        let fed = feed(stream)?;
        if !turns.holds(stream)
            && stream.next().is_some()
            && let Some(joined) = turns.join(stream, slot.0)
        {
            turns.link_up(slab, joined);
        }
        Ok(fed)
    }

    /// Puts the stream in line if it has something to send.
    #[inline]
    pub(crate) fn queue_data(&mut self, slot: Slot) {
        let Ok(()) = self.feed(slot, |_| Ok::<(), Infallible>(()));
    }

    /// The reader took so many bytes, for which the peer gets credit. False: no credit limits what
    /// is unread, so that it is to be counted.
    #[inline(always)]
    pub(crate) fn consume(&mut self, slot: Slot, bytes: u32) -> Result<bool, TooManyBytes> {
        let Self { slab, control, .. } = self;
        let stream = slab.get_mut(slot.0);
        if stream.discards() {
            return Ok(true);
        }
        let window = stream.receive.window_mut();
        let due = window.consume(bytes).map_err(|_| TooManyBytes)?;
        if stream.revision == Revision::Zero {
            window.take_grant();
            return Ok(false);
        }
        // Once it stands in line, every further byte that is consumed comes here.
        if due
            && !control.holds(stream)
            && stream.grant_is_due()
            && let Some(joined) = control.join(stream, slot.0)
        {
            control.link_up(slab, joined);
        }
        Ok(true)
    }

    pub(crate) fn has_data(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Puts the stream in line if it has a frame that goes ahead of data.
    #[inline(always)]
    pub(crate) fn queue_control(&mut self, slot: Slot) {
        let stream = self.slab.get(slot.0);
        // Once it stands there, every further byte that is consumed comes here.
        if !self.control.holds(stream) && stream.has_control() {
            self.control.push_back(&mut self.slab, slot.0);
        }
    }

    #[inline(always)]
    pub(crate) fn has_control(&self) -> bool {
        self.control.front().is_some()
    }

    /// The next stream with a frame that goes ahead of data, which leaves the line: it has one.
    #[inline(always)]
    pub(crate) fn pop_control(&mut self) -> Option<Slot> {
        self.control.pop_front(&mut self.slab).map(Slot)
    }

    pub(crate) fn has_events(&self) -> bool {
        self.events.front().is_some()
    }

    /// The next stream with events.
    pub(crate) fn pop_event(&mut self) -> Option<Slot> {
        self.events.pop_front(&mut self.slab).map(Slot)
    }

    /// Ends a stream that has not ended. Its key stays valid until it is removed.
    pub(crate) fn end(&mut self, slot: Slot, end: Ended) {
        let Slot(slot) = slot;
        let stream = self.slab.get_mut(slot);
        if !stream.end(end) {
            return;
        }
        let (id, has_control) = (stream.id, stream.has_control());
        self.timers.update(&mut self.slab, slot);
        self.turns.remove(&mut self.slab, slot);
        self.control.remove(&mut self.slab, slot);
        if end.report == Report::Event {
            self.events.push_back(&mut self.slab, slot);
        }
        if has_control {
            self.control.push_back(&mut self.slab, slot);
        }
        if id == NO_ID {
            self.unsent = self.unsent.saturating_sub(1);
        } else {
            self.index.remove(&self.slab, id);
        }
        self.active = self.active.saturating_sub(1);
    }

    /// Nothing more is sent for a stream that has ended.
    pub(crate) fn drop_notice(&mut self, slot: Slot) {
        self.slab.get_mut(slot.0).take_notice();
        self.control.remove(&mut self.slab, slot.0);
    }

    /// Removes a stream of which nothing is needed any more.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let Slot(slot) = slot;
        self.events.remove(&mut self.slab, slot);
        self.control.remove(&mut self.slab, slot);
        self.turns.remove(&mut self.slab, slot);
        self.slab.remove(slot);
    }
}
