//! One call of a session.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::event::{CallEnd, CallKey, IncomingCall};
use super::owned::OwnedMetadata;
use crate::code::Side;
use crate::receive_buffer::{Gatherer, GrowingStore, ReceiveBuffer};
use crate::types::{Key, MethodKind, Part, Unread};
use crate::wire::Encoded;

/// What follows the messages that wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behind {
    Messages,
    HalfClose,
    Close(Encoded),
    /// The tunnel knows.
    Nothing,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) key: CallKey,
    pub(super) kind: MethodKind,
    /// Not accepted yet.
    pub(super) incoming: Option<IncomingCall>,
    /// What `open` or `respond` sends.
    pub(super) head: Vec<u8>,
    /// What `close` sends.
    pub(super) close: Vec<u8>,
    /// The tunnel sends the first one, if it sends any.
    pub(super) outgoing: VecDeque<Vec<u8>>,
    pub(super) sending: bool,
    /// Bytes of them.
    pub(super) queued: usize,
    pub(super) behind: Behind,
    pub(super) sent_message: bool,
    /// The application knows that there is no room, and waits for some.
    pub(super) full: bool,
    pub(super) headers: Option<OwnedMetadata>,
    pub(super) buffer: ReceiveBuffer<GrowingStore, CallEnd>,
    pub(super) gatherer: Gatherer<Vec<u8>>,
    pub(super) half_closed: bool,
    /// An event that there is something to receive is out.
    pub(super) readable: bool,
    /// The end of what is received is known.
    pub(super) over: bool,
    /// The tunnel has ended it: it needs none of its memory.
    pub(super) ended: bool,
    /// Bytes of memory of how it did.
    pub(super) end_memory: usize,
    /// The application has let go of it.
    pub(super) dismissed: bool,
}

impl Call {
    pub(super) fn new(key: CallKey, kind: MethodKind) -> Box<Self> {
        Box::new(Self {
            key,
            kind,
            incoming: None,
            head: Vec::new(),
            close: Vec::new(),
            outgoing: VecDeque::new(),
            sending: false,
            queued: 0,
            behind: Behind::Messages,
            sent_message: false,
            full: false,
            headers: None,
            buffer: ReceiveBuffer::new(),
            gatherer: Gatherer::default(),
            half_closed: false,
            readable: false,
            over: false,
            ended: false,
            end_memory: 0,
            dismissed: false,
        })
    }

    /// Whether it has one message at most in our direction.
    pub(super) const fn single(&self) -> bool {
        match self.key.side {
            Side::Client => self.kind.single_request(),
            Side::Server => self.kind.single_response(),
        }
    }

    /// Whether a message may wait behind those that do. An empty one takes room, too.
    pub(super) fn has_room(&self, room: usize) -> bool {
        let waiting = self.outgoing.len();
        waiting == 0 || self.queued.saturating_add(waiting) < room
    }

    fn part(&self, part: Part) -> &[u8] {
        match part {
            Part::Open | Part::Headers => &self.head,
            Part::Message => self.outgoing.front().map_or(&[], Vec::as_slice),
            Part::Close => &self.close,
        }
    }

    /// The end of what is received.
    pub(super) fn finish(&mut self, end: CallEnd, unread: Unread) {
        if !self.over {
            self.over = true;
            self.end_memory = end.memory();
            self.buffer.finish(end, unread);
            self.half_closed &= unread == Unread::Deliver;
        }
    }

    /// Lets go of what was received: nobody will read it.
    pub(super) fn dismiss(&mut self) {
        self.dismissed = true;
        self.buffer = ReceiveBuffer::new();
        self.gatherer = Gatherer::default();
        self.headers = None;
    }

    /// Bytes of memory that the peer makes it hold.
    fn memory(&self) -> usize {
        let incoming = self.incoming.as_ref().map_or(0, |incoming| {
            incoming
                .method
                .capacity()
                .saturating_add(incoming.metadata.memory())
        });
        let headers = self.headers.as_ref().map_or(0, OwnedMetadata::memory);
        [
            size_of::<Self>(),
            incoming,
            headers,
            self.buffer.memory(),
            self.gatherer.memory(),
            self.end_memory,
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }
}

/// All calls, by side and by the index of their streams.
#[derive(Debug, Default)]
pub(super) struct Calls {
    client: Vec<Option<Box<Call>>>,
    server: Vec<Option<Box<Call>>>,
}

impl Calls {
    const fn of(&mut self, side: Side) -> &mut Vec<Option<Box<Call>>> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    pub(super) fn insert(&mut self, call: Box<Call>) {
        let (side, index) = (call.key.side, call.key.stream.index());
        let calls = self.of(side);
        if calls.len() <= index {
            calls.resize_with(index.saturating_add(1), || None);
        }
        if let Some(slot) = calls.get_mut(index) {
            *slot = Some(call);
        }
    }

    pub(super) fn get(&mut self, key: CallKey) -> Option<&mut Call> {
        let call = self
            .of(key.side)
            .get_mut(key.stream.index())?
            .as_deref_mut();
        call.filter(|call| call.key == key)
    }

    pub(super) fn remove(&mut self, key: CallKey) {
        if self.get(key).is_some()
            && let Some(slot) = self.of(key.side).get_mut(key.stream.index())
        {
            *slot = None;
        }
    }

    /// What a transmit names.
    pub(super) fn part(&self, side: Side, stream: Key, part: Part) -> &[u8] {
        let calls = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        let call = calls.get(stream.index()).and_then(Option::as_deref);
        let call = call.filter(|call| call.key.stream == stream);
        call.map_or(&[], |call| call.part(part))
    }

    pub(super) fn memory(&self) -> usize {
        let slots = self
            .client
            .capacity()
            .saturating_add(self.server.capacity());
        let slots = slots.saturating_mul(size_of::<Option<Box<Call>>>());
        let calls = self.client.iter().chain(&self.server).flatten();
        calls.fold(slots, |sum, call| sum.saturating_add(call.memory()))
    }
}
