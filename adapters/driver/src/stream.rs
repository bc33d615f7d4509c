//! What an end of a tunnel keeps of each stream beside the core: bytes, results, wakers.

use std::task::Waker;

use grpctunnel_core::{Hold, Key};
use http::HeaderMap;

use crate::after::After;
use crate::error::CallError;
use crate::inbox::Inbox;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::queue::Share;
use crate::status::Status;

/// What follows the last message of this end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finish {
    /// A client's half-close.
    HalfClose,
    /// A server's status, whose head is in [`Stream::close`].
    Close { ok: bool, hold: Hold },
}

/// How a stream ended, for whoever reads it.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With a status. At a tunnel server: why the request will not come to its end.
    Status {
        status: Status,
        trailers: HeaderMap,
        never_processed: bool,
    },
    /// The caller's own request body failed.
    Failed(CallError),
}

impl Ending {
    pub(crate) fn status(status: Status) -> Self {
        Self::Status {
            status,
            trailers: HeaderMap::new(),
            never_processed: false,
        }
    }

    pub(crate) fn never_processed(status: Status) -> Self {
        Self::Status {
            status,
            trailers: HeaderMap::new(),
            never_processed: true,
        }
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) key: Key,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    /// The head of `open`, or of `respond`.
    pub(crate) head: Vec<u8>,
    /// The head of `close`.
    pub(crate) close: Vec<u8>,
    pub(crate) finish: Option<Finish>,
    /// At a tunnel server: `finish` was set once.
    pub(crate) closing: bool,
    /// At a tunnel client: response headers that nobody has taken.
    pub(crate) headers: Option<HeaderMap>,
    /// At a tunnel client: response headers came, or can no longer come.
    pub(crate) answered: bool,
    /// At a tunnel server: the request is complete.
    pub(crate) half_closed: bool,
    /// At a tunnel server: the task of the call has ended.
    pub(crate) task_done: bool,
    pub(crate) ending: Option<Ending>,
    /// At a tunnel server: nobody wants a response, and the handler is to be dropped.
    pub(crate) abandoned: bool,
    /// At a tunnel server: nobody reads the request.
    pub(crate) unread: bool,
    /// Whoever sends waits for room.
    pub(crate) wants_room: bool,
    /// Whoever waits for something to read.
    pub(crate) reader: Option<Waker>,
    /// Whoever sends: waits for room, or for the end. At a tunnel server the task of the call.
    pub(crate) writer: Option<Waker>,
}

impl Stream {
    pub(crate) fn new(key: Key, share: Share) -> Self {
        Self {
            key,
            outbox: Outbox::new(share),
            inbox: Inbox::default(),
            head: Vec::new(),
            close: Vec::new(),
            finish: None,
            closing: false,
            headers: None,
            answered: false,
            half_closed: false,
            task_done: false,
            ending: None,
            abandoned: false,
            unread: false,
            wants_room: false,
            reader: None,
            writer: None,
        }
    }

    /// Wakes a sender that was held back, if there is room again.
    pub(crate) fn offer_room(&mut self, options: &Options, after: &mut After) {
        if self.wants_room && self.outbox.has_room_again(options) {
            self.wants_room = false;
            after.wake(&mut self.writer);
        }
    }

    /// Says what ends the call, behind what is to be sent. Only the first one counts.
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
    slots: Vec<Option<Stream>>,
}

impl Streams {
    pub(crate) fn insert(&mut self, stream: Stream, after: &mut After) {
        let index = stream.key.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index.saturating_add(1), || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            after.drop_stream(slot.replace(stream));
        }
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Stream> {
        self.slots
            .get_mut(key.index())?
            .as_mut()
            .filter(|stream| stream.key == key)
    }

    pub(crate) fn remove(&mut self, key: Key, after: &mut After) {
        let slot = self.slots.get_mut(key.index());
        let slot = slot.filter(|slot| slot.as_ref().is_some_and(|stream| stream.key == key));
        if let Some(slot) = slot {
            after.drop_stream(slot.take());
        }
    }
}
