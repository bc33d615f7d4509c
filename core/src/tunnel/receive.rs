//! What both ends do with the frames that both may get: message data and window updates.

use super::client::TUNNEL_ID;
use super::{Role, Tunnel};
use crate::budget::{Charge, Earned};
use crate::error::{Reason, Side};
use crate::message::Piece;
use crate::storage::Storage;
use crate::stream::{Close, Flag, Terminal};
use crate::time::Time;
use crate::types::{End, Envelope, Input, Unread};
use crate::wire::{ContentFault, Data, Extension, MessageData, Revision};

/// What a stream id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An open stream's slot.
    Open(u32),
    /// A stream that has ended: the frame is late.
    Finished,
    /// No stream yet.
    Never,
}

pub(super) const fn content_reason(fault: ContentFault) -> Reason {
    match fault {
        ContentFault::NotUtf8 => Reason::NotUtf8,
        ContentFault::MetadataTooLarge => Reason::MetadataTooLarge,
        ContentFault::TooManyMetadataEntries => Reason::TooManyMetadataEntries,
        ContentFault::MethodNameTooLong => Reason::MethodNameTooLong,
        ContentFault::StatusTooLarge => Reason::StatusTooLarge,
    }
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    pub(super) fn find(&self, id: i64) -> Found {
        match self.index.get(id) {
            Some(slot) => Found::Open(slot),
            None if id <= self.highest => Found::Finished,
            None => Found::Never,
        }
    }

    /// The slot of an open stream that a frame is for. `None`: the frame is late, and was
    /// counted and charged.
    ///
    /// Inlined by order, as is `hand_on`: for a chunk, the calls cost more than the work.
    #[inline(always)]
    pub(super) fn open_slot(
        &mut self,
        now: Time,
        id: i64,
        late: Charge,
    ) -> Result<Option<u32>, Reason> {
        match self.index.get(id) {
            Some(slot) => Ok(Some(slot)),
            None => self.not_open(now, id, late).map(|()| None),
        }
    }

    #[cold]
    fn not_open(&mut self, now: Time, id: i64, late: Charge) -> Result<(), Reason> {
        match self.find(id) {
            Found::Finished => self.ignore(now, late).map(|_| ()),
            Found::Open(_) | Found::Never => Err(Reason::StreamNeverCreated),
        }
    }

    /// A frame that means nothing: counted, and charged.
    pub(super) fn ignore<'f>(&mut self, now: Time, charge: Charge) -> Result<Input<'f>, Reason> {
        self.counters.ignored = self.counters.ignored.saturating_add(1);
        self.budget.charge(now, charge)?;
        Ok(Input::Ignored)
    }

    #[inline]
    pub(super) fn useful<'f>(&mut self, input: Input<'f>) -> Result<Input<'f>, Reason> {
        self.budget.earn(Earned::UsefulFrame);
        Ok(input)
    }

    /// The stream broke a rule: it ends, the tunnel goes on, unless that happens too often.
    pub(super) fn violate<'f>(
        &mut self,
        now: Time,
        slot: u32,
        reason: Reason,
    ) -> Result<Input<'f>, Reason> {
        self.counters.violations = self.counters.violations.saturating_add(1);
        if reason.is_protocol_error() {
            self.budget.charge(now, Charge::ProtocolError)?;
        }
        let stream = self.slab.key(slot);
        self.end_stream(slot, Terminal::Violation(reason), Unread::Deliver);
        Ok(Input::Ended {
            stream,
            why: End::Violation(reason),
            unread: Unread::Deliver,
        })
    }

    /// The frames of which there are most: they take no way that others need.
    #[inline(always)]
    pub(super) fn receive_data<'f>(
        &mut self,
        now: Time,
        id: i64,
        data: Data<'f>,
    ) -> Result<Input<'f>, Reason> {
        match data {
            Data::Message(message) => self.receive_message(now, id, message),
            Data::More(data) => self.receive_more(now, id, data),
            Data::WindowUpdate(0) if R::SIDE == Side::Server && id == TUNNEL_ID => {
                self.budget.charge(now, Charge::Heartbeat)?;
                Ok(Input::Ignored)
            }
            Data::WindowUpdate(bytes) => self.receive_window_update(now, id, bytes),
        }
    }

    /// The same, in a shape that is read on the general way.
    #[inline(never)]
    pub(super) fn receive_odd_data<'f>(
        &mut self,
        now: Time,
        id: i64,
        data: Data<'f>,
    ) -> Result<Input<'f>, Reason> {
        self.receive_data(now, id, data)
    }

    /// `request_message` or `response_message`.
    #[inline(always)]
    fn receive_message<'f>(
        &mut self,
        now: Time,
        id: i64,
        message: MessageData<'f>,
    ) -> Result<Input<'f>, Reason> {
        let Some(slot) = self.open_slot(now, id, late_data(message.data))? else {
            return Ok(Input::Ignored);
        };
        let max_message = self.limits.max_message;
        let transparent = self.extensions.contains(Extension::Transparent);
        let Some(stream) = self.slab.get_mut(slot) else {
            return Ok(Input::Ignored);
        };
        if stream.has(Flag::PeerDone) {
            return self.ignore(now, late_data(message.data));
        }
        stream.flags.set(Flag::HeadersDone);
        let closing = stream.send.close != Close::Open;
        if let Err(reason) = take_credit(stream, message.data) {
            return self.violate(now, slot, reason);
        }
        if closing {
            return self.discard(slot, message.data);
        }
        let envelope = Envelope {
            size: message.size,
            compressed: message.compressed && transparent,
        };
        let again = stream.incoming.any();
        let judged = match stream.incoming.envelope(envelope, message.data.len()) {
            Ok(_) if again && R::SIDE == Side::Server && stream.kind.single_request() => {
                Err(Reason::SecondRequest)
            }
            Ok(_) if again && R::SIDE == Side::Client && stream.kind.single_response() => {
                Err(Reason::SecondResponse)
            }
            Ok(_) if message.size > max_message => Err(Reason::MessageTooLarge),
            judged => judged,
        };
        match judged {
            Ok(piece) => self.hand_on(now, slot, message.data, piece),
            Err(reason) => self.violate(now, slot, reason),
        }
    }

    /// `more_request_data` or `more_response_data`.
    #[inline(always)]
    fn receive_more<'f>(
        &mut self,
        now: Time,
        id: i64,
        data: &'f [u8],
    ) -> Result<Input<'f>, Reason> {
        let Some(slot) = self.open_slot(now, id, late_data(data))? else {
            return Ok(Input::Ignored);
        };
        let max_empty = self.limits.empty_chunks;
        let Some(stream) = self.slab.get_mut(slot) else {
            return Ok(Input::Ignored);
        };
        if stream.has(Flag::PeerDone) {
            return self.ignore(now, late_data(data));
        }
        if let Err(reason) = take_credit(stream, data) {
            return self.violate(now, slot, reason);
        }
        if stream.send.close != Close::Open {
            return self.discard(slot, data);
        }
        match stream.incoming.more(data.len(), max_empty) {
            Ok(Some(piece)) => self.hand_on(now, slot, data, piece),
            Ok(None) => Ok(Input::Ignored),
            Err(reason) => self.violate(now, slot, reason),
        }
    }

    #[inline(always)]
    fn hand_on<'f>(
        &mut self,
        now: Time,
        slot: u32,
        bytes: &'f [u8],
        piece: Piece,
    ) -> Result<Input<'f>, Reason> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.watch_data(now, slot, len);
        let (discard, counted) = match self.slab.get(slot) {
            Some(stream) => (stream.has(Flag::Stopped), stream.revision == Revision::Zero),
            None => (false, false),
        };
        if discard {
            self.credit(slot, len);
        } else if counted && let Err(reason) = self.note_unread(now, slot, len) {
            return self.violate(now, slot, reason);
        }
        self.useful(Input::Data {
            stream: self.slab.key(slot),
            bytes,
            begins: piece.begins,
            ends: piece.ends,
            discard,
        })
    }

    /// Data that the application no longer wants, while this end closes: credited at once.
    fn discard<'f>(&mut self, slot: u32, bytes: &'f [u8]) -> Result<Input<'f>, Reason> {
        self.credit(slot, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.useful(Input::Data {
            stream: self.slab.key(slot),
            bytes,
            begins: None,
            ends: false,
            discard: true,
        })
    }

    /// `window_update` on a stream.
    fn receive_window_update<'f>(
        &mut self,
        now: Time,
        id: i64,
        bytes: u32,
    ) -> Result<Input<'f>, Reason> {
        let Some(slot) = self.open_slot(now, id, Charge::WindowUpdate)? else {
            return Ok(Input::Ignored);
        };
        self.budget.charge(now, Charge::WindowUpdate)?;
        let Some(stream) = self.slab.get_mut(slot) else {
            return Ok(Input::Ignored);
        };
        if stream.revision == Revision::Zero || bytes == 0 {
            self.counters.ignored = self.counters.ignored.saturating_add(1);
            return Ok(Input::Ignored);
        }
        if stream.send.window.grant(bytes).is_err() {
            return self.violate(now, slot, Reason::WindowOverflow);
        }
        self.schedule(slot);
        Ok(Input::Ignored)
    }

    /// A frame that no stream can mean anything by.
    pub(super) fn receive_on_stream<'f>(
        &mut self,
        now: Time,
        id: i64,
        reason: Reason,
    ) -> Result<Input<'f>, Reason> {
        match self.open_slot(now, id, Charge::Useless)? {
            Some(slot) => self.violate(now, slot, reason),
            None => Ok(Input::Ignored),
        }
    }

    /// Gives back credit for bytes that nobody will read, or that were read.
    #[inline]
    pub(super) fn credit(&mut self, slot: u32, bytes: u32) {
        let Some(stream) = self.slab.get_mut(slot) else {
            return;
        };
        let due = stream.receive.consume(bytes).unwrap_or(false);
        match stream.revision {
            Revision::Zero => {
                stream.receive.take_grant();
            }
            Revision::One if due && stream.grant_is_due() => {
                self.control.push_back(&mut self.slab, slot);
            }
            Revision::One => {}
        }
    }
}

fn late_data(data: &[u8]) -> Charge {
    Charge::LateData(u32::try_from(data.len()).unwrap_or(u32::MAX))
}

fn take_credit(stream: &mut crate::stream::Stream, data: &[u8]) -> Result<(), Reason> {
    u32::try_from(data.len())
        .ok()
        .and_then(|bytes| stream.receive.receive(bytes).ok())
        .ok_or(Reason::WindowExceeded)
}
