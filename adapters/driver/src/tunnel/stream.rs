//! What is kept for each stream beside the core: messages, results, wakers.

use std::task::Waker;

use grpctunnel_core::{Hold, Key, Unread};
use http::HeaderMap;

use crate::body::inbox::Inbox;
use crate::body::outbox::Outbox;
use crate::body::pins::Pins;
use crate::body::send_queue::QueueShare;
use crate::budget::BudgetShare;
use crate::deferred::Deferred;
use crate::options::Options;
use crate::tunnel::call_end::CallEnd;

/// Records that are kept for the next streams.
const SPARE: usize = 16;
/// Bytes of a head for which a record keeps room.
const KEPT_HEAD: usize = 256;

/// What follows the last message of this end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finish {
    /// A client's half-close.
    HalfClose,
    /// A server's status, whose head is in [`Stream::close`].
    Close { ok: bool, hold: Hold },
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) key: Key,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    /// What is in `inbox`.
    unread: BudgetShare,
    /// The head of `open`, or of `respond`.
    pub(crate) head: Vec<u8>,
    /// The head of `close`.
    pub(crate) close: Vec<u8>,
    pub(crate) finish: Option<Finish>,
    /// At a tunnel server: `finish` was set once.
    pub(crate) closing: bool,
    /// At a tunnel client: response headers that were not read yet.
    pub(crate) headers: Option<HeaderMap>,
    /// At a tunnel client: response headers came, or can no longer come.
    pub(crate) answered: bool,
    /// At a tunnel server: the request is complete.
    pub(crate) half_closed: bool,
    /// At a tunnel server: the task of the call has ended.
    pub(crate) task_done: bool,
    pub(crate) end: Option<CallEnd>,
    /// At a tunnel server: the response has no reader, so the handler is to be dropped.
    pub(crate) abandoned: bool,
    /// At a tunnel server: the request body was dropped.
    pub(crate) request_dropped: bool,
    /// The task that sends waits for room.
    pub(crate) wants_room: bool,
    /// The task that reads.
    pub(crate) reader: Option<Waker>,
    /// The task that sends. At a tunnel server the task of the call.
    pub(crate) writer: Option<Waker>,
}

impl Stream {
    fn new(key: Key, share: QueueShare, pins: Pins) -> Self {
        Self {
            unread: BudgetShare::waiting(share.budget().cloned()),
            key,
            outbox: Outbox::new(share),
            inbox: Inbox::new(pins),
            head: Vec::new(),
            close: Vec::new(),
            finish: None,
            closing: false,
            headers: None,
            answered: false,
            half_closed: false,
            task_done: false,
            end: None,
            abandoned: false,
            request_dropped: false,
            wants_room: false,
            reader: None,
            writer: None,
        }
    }

    /// Makes a record that was cleared that of another stream.
    fn begin(&mut self, key: Key, share: QueueShare) {
        self.key = key;
        self.outbox.begin(share);
    }

    /// Forgets the stream, and keeps memory for the next one. False where what is left must not be
    /// dropped under the lock.
    fn clear(&mut self, deferred: &mut Deferred) -> bool {
        if self.headers.is_some() || self.end.as_ref().is_some_and(|end| !end.is_plain()) {
            return false;
        }
        self.outbox.clear(deferred);
        self.inbox.finish(Unread::Discard, deferred);
        self.count_unread();
        for head in [&mut self.head, &mut self.close] {
            head.clear();
            head.shrink_to(KEPT_HEAD);
        }
        deferred.drop_waker(self.reader.take());
        deferred.drop_waker(self.writer.take());
        self.end = None;
        self.finish = None;
        self.closing = false;
        self.answered = false;
        self.half_closed = false;
        self.task_done = false;
        self.abandoned = false;
        self.request_dropped = false;
        self.wants_room = false;
        true
    }

    /// Wakes a sender that was held back, if there is room again.
    pub(crate) fn offer_room(&mut self, options: &Options, deferred: &mut Deferred) {
        if self.wants_room && self.outbox.has_room_again(options) {
            self.wants_room = false;
            deferred.wake(&mut self.writer);
        }
    }

    /// Bytes that wait: to be read, or to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.inbox.waiting().saturating_add(self.outbox.bytes())
    }

    /// Counts what is in the inbox. Must be called when that has changed.
    pub(crate) fn count_unread(&mut self) {
        if self.unread.budget().is_some() {
            self.unread.set(self.inbox.waiting());
        }
    }

    /// Sets how the stream ended. Only the first end counts.
    pub(crate) fn set_end(&mut self, end: CallEnd, unread: Unread, deferred: &mut Deferred) {
        if self.end.is_none() {
            self.end = Some(end);
            self.inbox.finish(unread, deferred);
            self.count_unread();
        }
        // A handler that has messages to read gets them, then the end.
        self.abandoned |=
            unread == Unread::Discard || self.request_dropped || self.inbox.is_empty();
        self.outbox.clear(deferred);
        deferred.wake(&mut self.reader);
        deferred.wake(&mut self.writer);
    }

    /// Sets the status that ends the call once everything else was sent. Only the first one counts.
    pub(crate) fn set_close(&mut self, head: Vec<u8>, ok: bool, hold: Hold) {
        if !self.closing {
            self.closing = true;
            self.close = head;
            self.finish = Some(Finish::Close { ok, hold });
        }
    }
}

/// The streams of a tunnel, by the core's keys.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Option<Box<Stream>>>,
    /// Records for the next streams.
    #[expect(clippy::vec_box, reason = "a record that is kept keeps its box, too")]
    spare: Vec<Box<Stream>>,
    /// The carrier's memory that inboxes hold.
    pins: Pins,
}

impl Streams {
    /// Begins the record of a stream.
    pub(crate) fn insert(&mut self, key: Key, share: QueueShare, deferred: &mut Deferred) {
        let stream = match self.spare.pop() {
            Some(mut spare) => {
                spare.begin(key, share);
                spare
            }
            None => Box::new(Stream::new(key, share, self.pins.clone())),
        };
        let index = key.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index.saturating_add(1), || None);
        }
        if let Some(slot) = self.slots.get_mut(index)
            && let Some(old) = slot.replace(stream)
        {
            deferred.drop_value(old);
        }
    }

    /// Bytes that wait on a stream.
    pub(crate) fn waiting(&self, key: Key) -> usize {
        let slot = self.slots.get(key.index()).and_then(Option::as_deref);
        let stream = slot.filter(|stream| stream.key == key);
        stream.map_or(0, Stream::waiting)
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Stream> {
        self.slots
            .get_mut(key.index())?
            .as_deref_mut()
            .filter(|stream| stream.key == key)
    }

    pub(crate) fn remove(&mut self, key: Key, deferred: &mut Deferred) {
        let slot = self.slots.get_mut(key.index());
        let slot = slot.filter(|slot| slot.as_ref().is_some_and(|stream| stream.key == key));
        if let Some(mut stream) = slot.and_then(Option::take) {
            if self.spare.len() < SPARE && stream.clear(deferred) {
                self.spare.push(stream);
            } else {
                deferred.drop_value(stream);
            }
        }
    }
}
