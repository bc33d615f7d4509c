//! What both ends do with the frames that both may get: message data and window updates.

use super::ids::TUNNEL_ID;
use super::{Role, Tunnel};
use crate::budget::{Charge, Earned};
use crate::code::Side;
use crate::length::on_wire;
use crate::message::Piece;
use crate::reason::{StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::streams::{Flag, Slot, Stream, Terminal};
use crate::time::Time;
use crate::types::{End, Envelope, Input, Key, Unread};
use crate::wire::{
    ContentFault, Data, Extension, MessageData, Revision, Transparent, TransparentFault,
};

/// What a stream id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An open stream's slot.
    Open(Slot),
    /// A stream that has ended: the frame is late.
    Finished,
    /// No stream yet.
    Never,
}

/// Payload for the caller. Small, as is `Refused`, because moving an `Input` costs more than the
/// rest of what a chunk does.
pub(super) struct Payload {
    stream: Key,
    piece: Piece,
    discard: bool,
}

impl Payload {
    #[inline(always)]
    pub(super) fn into_input(self, bytes: &[u8]) -> Input<'_> {
        Input::Data {
            stream: self.stream,
            bytes,
            begins: self.piece.begins,
            ends: self.piece.ends,
            discard: self.discard,
        }
    }
}

/// A rule that data or credit broke.
pub(super) enum Refused {
    /// The stream of this slot ends; see `violate`.
    Stream(Slot, StreamReason),
    /// The tunnel ends.
    Tunnel(TunnelReason),
}

/// What decides where payload goes: read while the record is at hand.
#[derive(Clone, Copy)]
struct Known {
    slot: Slot,
    stream: Key,
    discard: bool,
    /// It has no flow control, so that unread bytes are counted.
    counted: bool,
    sampled: bool,
}

impl Known {
    #[inline(always)]
    fn of(stream: &Stream, slot: Slot) -> Self {
        Self {
            slot,
            stream: stream.key(slot),
            discard: stream.has(Flag::Stopped),
            counted: stream.revision == Revision::Zero,
            sampled: stream.has(Flag::Sampled),
        }
    }
}

impl From<TunnelReason> for Refused {
    fn from(reason: TunnelReason) -> Self {
        Self::Tunnel(reason)
    }
}

pub(super) const fn content_reason(fault: ContentFault) -> StreamReason {
    match fault {
        ContentFault::NotUtf8 => StreamReason::NotUtf8,
        ContentFault::MetadataTooLarge => StreamReason::MetadataTooLarge,
        ContentFault::TooManyMetadataEntries => StreamReason::TooManyMetadataEntries,
        ContentFault::MethodNameTooLong => StreamReason::MethodNameTooLong,
        ContentFault::StatusTooLarge => StreamReason::StatusTooLarge,
    }
}

const fn transparent_reason(fault: TransparentFault) -> StreamReason {
    match fault {
        TransparentFault::ContentType => StreamReason::BadContentType,
        TransparentFault::Authority => StreamReason::BadAuthority,
        TransparentFault::Encoding => StreamReason::BadEncoding,
    }
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Judges what the peer's metadata holds of the extension `TRANSPARENT`, where that is in
    /// effect: whether messages may be compressed.
    pub(super) fn take_transparent(&self, transparent: Transparent) -> Result<bool, StreamReason> {
        if !self.handshake.agreed(Extension::Transparent) {
            return Ok(false);
        }
        match transparent.fault() {
            Some(fault) => Err(transparent_reason(fault)),
            None => Ok(transparent.encoded),
        }
    }

    pub(super) fn find(&self, id: i64) -> Found {
        match self.streams.by_id(id) {
            Some(slot) => Found::Open(slot),
            None if self.ids.was_used(id) => Found::Finished,
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
    ) -> Result<Option<Slot>, TunnelReason> {
        match self.streams.by_id(id) {
            Some(slot) => Ok(Some(slot)),
            None => self.not_open(now, id, late).map(|()| None),
        }
    }

    #[cold]
    fn not_open(&mut self, now: Time, id: i64, late: Charge) -> Result<(), TunnelReason> {
        match self.find(id) {
            Found::Finished => self.charge_ignored(now, late),
            Found::Open(_) | Found::Never => Err(TunnelReason::StreamNeverCreated),
        }
    }

    /// A frame that means nothing: counted, and charged.
    pub(super) fn ignore<'f>(
        &mut self,
        now: Time,
        charge: Charge,
    ) -> Result<Input<'f>, TunnelReason> {
        self.charge_ignored(now, charge)?;
        Ok(Input::Ignored)
    }

    fn charge_ignored(&mut self, now: Time, charge: Charge) -> Result<(), TunnelReason> {
        self.counters.ignored = self.counters.ignored.saturating_add(1);
        self.budget.charge(now, charge)
    }

    #[inline]
    pub(super) fn useful<'f>(&mut self, input: Input<'f>) -> Result<Input<'f>, TunnelReason> {
        self.budget.earn(Earned::UsefulFrame);
        Ok(input)
    }

    /// The stream broke a rule: it ends, the tunnel goes on, unless that happens too often.
    pub(super) fn violate<'f>(
        &mut self,
        now: Time,
        slot: Slot,
        reason: StreamReason,
    ) -> Result<Input<'f>, TunnelReason> {
        self.counters.violations = self.counters.violations.saturating_add(1);
        if reason.is_protocol_error() {
            self.budget.charge(now, Charge::ProtocolError)?;
        }
        let stream = self.streams.key(slot);
        self.end_stream(slot, Terminal::Violation(reason), Unread::Deliver);
        Ok(Input::Ended {
            stream,
            why: End::Violation(reason),
            unread: Unread::Deliver,
        })
    }

    /// The frames of which there are most: they take no way that others need.
    #[inline(always)]
    pub(super) fn receive_data(
        &mut self,
        now: Time,
        id: i64,
        data: Data<'_>,
    ) -> Result<Option<Payload>, Refused> {
        match data {
            Data::Message(message) => self.receive_message(now, id, message),
            Data::More(data) => self.receive_more(now, id, data),
            Data::WindowUpdate(0) if R::SIDE == Side::Server && id == TUNNEL_ID => {
                self.budget.charge(now, Charge::Heartbeat)?;
                Ok(None)
            }
            Data::WindowUpdate(bytes) => self.receive_window_update(now, id, bytes).map(|()| None),
        }
    }

    /// The same, in a shape that is read on the general way.
    #[inline(never)]
    pub(super) fn receive_odd_data<'f>(
        &mut self,
        now: Time,
        id: i64,
        data: Data<'f>,
    ) -> Result<Input<'f>, TunnelReason> {
        let bytes = data.payload();
        match self.receive_data(now, id, data) {
            Ok(Some(payload)) => Ok(payload.into_input(bytes)),
            Ok(None) => Ok(Input::Ignored),
            Err(Refused::Stream(slot, reason)) => self.violate(now, slot, reason),
            Err(Refused::Tunnel(reason)) => Err(reason),
        }
    }

    /// `request_message` or `response_message`.
    #[inline(always)]
    fn receive_message(
        &mut self,
        now: Time,
        id: i64,
        message: MessageData<'_>,
    ) -> Result<Option<Payload>, Refused> {
        let Some(slot) = self.open_slot(now, id, late_data(message.data))? else {
            return Ok(None);
        };
        let max_message = self.limits.max_message;
        let transparent = self.handshake.agreed(Extension::Transparent);
        let stream = self.streams.get_mut(slot);
        if stream.has(Flag::PeerDone) {
            self.charge_ignored(now, late_data(message.data))?;
            return Ok(None);
        }
        stream.flags.set(Flag::HeadersDone);
        let closing = stream.send.is_closing();
        if let Err(reason) = take_credit(stream, message.data) {
            return Err(Refused::Stream(slot, reason));
        }
        if closing {
            return Ok(Some(self.discard(slot, message.data)));
        }
        let envelope = Envelope {
            size: message.size,
            compressed: message.compressed && transparent,
        };
        if envelope.compressed && !stream.has(Flag::Encoded) {
            return Err(Refused::Stream(
                slot,
                StreamReason::CompressedWithoutEncoding,
            ));
        }
        let again = stream.incoming.any();
        let judged = match stream.incoming.envelope(envelope, message.data.len()) {
            Ok(_) if again && R::SIDE == Side::Server && stream.kind.single_request() => {
                Err(StreamReason::SecondRequest)
            }
            Ok(_) if again && R::SIDE == Side::Client && stream.kind.single_response() => {
                Err(StreamReason::SecondResponse)
            }
            Ok(_) if message.size > max_message => Err(StreamReason::MessageTooLarge),
            judged => judged,
        };
        let known = Known::of(stream, slot);
        match judged {
            Ok(piece) => self.hand_on(now, known, message.data, piece),
            Err(reason) => Err(Refused::Stream(slot, reason)),
        }
    }

    /// `more_request_data` or `more_response_data`.
    #[inline(always)]
    fn receive_more(
        &mut self,
        now: Time,
        id: i64,
        data: &[u8],
    ) -> Result<Option<Payload>, Refused> {
        let Some(slot) = self.open_slot(now, id, late_data(data))? else {
            return Ok(None);
        };
        let max_empty = self.limits.empty_chunks;
        let stream = self.streams.get_mut(slot);
        if stream.has(Flag::PeerDone) {
            self.charge_ignored(now, late_data(data))?;
            return Ok(None);
        }
        if let Err(reason) = take_credit(stream, data) {
            return Err(Refused::Stream(slot, reason));
        }
        if stream.send.is_closing() {
            if data.is_empty() {
                self.charge_ignored(now, Charge::Useless)?;
                return Ok(None);
            }
            return Ok(Some(self.discard(slot, data)));
        }
        let known = Known::of(stream, slot);
        match stream.incoming.more(data.len(), max_empty) {
            Ok(Some(piece)) => self.hand_on(now, known, data, piece),
            Ok(None) => Ok(None),
            Err(reason) => Err(Refused::Stream(slot, reason)),
        }
    }

    #[inline(always)]
    fn hand_on(
        &mut self,
        now: Time,
        known: Known,
        bytes: &[u8],
        piece: Piece,
    ) -> Result<Option<Payload>, Refused> {
        let len = on_wire(bytes.len());
        self.growth.count(len);
        let Known {
            slot,
            stream,
            discard,
            counted,
            sampled,
        } = known;
        if sampled {
            self.watch_data(now, slot, len);
        }
        if discard {
            self.credit(slot, len);
        } else if counted && let Err(reason) = self.note_unread(now, slot, len) {
            return Err(Refused::Stream(slot, reason));
        }
        self.budget.earn(Earned::UsefulFrame);
        Ok(Some(Payload {
            stream,
            piece,
            discard,
        }))
    }

    /// Data that the application no longer wants, while this end closes: credited at once.
    fn discard(&mut self, slot: Slot, bytes: &[u8]) -> Payload {
        self.credit(slot, on_wire(bytes.len()));
        self.budget.earn(Earned::UsefulFrame);
        Payload {
            stream: self.streams.key(slot),
            piece: Piece {
                begins: None,
                ends: false,
            },
            discard: true,
        }
    }

    /// `window_update` on a stream.
    fn receive_window_update(&mut self, now: Time, id: i64, bytes: u32) -> Result<(), Refused> {
        let Some(slot) = self.open_slot(now, id, Charge::WindowUpdate)? else {
            return Ok(());
        };
        self.budget.charge(now, Charge::WindowUpdate)?;
        let stream = self.streams.get_mut(slot);
        if stream.revision == Revision::Zero || bytes == 0 {
            self.counters.ignored = self.counters.ignored.saturating_add(1);
            return Ok(());
        }
        if stream.send.grant(bytes).is_err() {
            return Err(Refused::Stream(slot, StreamReason::WindowOverflow));
        }
        self.streams.queue_data(slot);
        Ok(())
    }

    /// A frame that no stream can mean anything by.
    pub(super) fn receive_on_stream<'f>(
        &mut self,
        now: Time,
        id: i64,
        reason: StreamReason,
    ) -> Result<Input<'f>, TunnelReason> {
        match self.open_slot(now, id, Charge::Useless)? {
            Some(slot) => self.violate(now, slot, reason),
            None => Ok(Input::Ignored),
        }
    }

    /// Credits everything unread, because nobody will read it.
    pub(super) fn credit_unread(&mut self, slot: Slot) {
        let unread = self.streams.get(slot).receive.unread();
        self.credit(slot, unread);
        self.note_read(slot, unread);
    }

    /// Gives back credit for bytes that nobody will read, or that were read.
    #[inline]
    pub(super) fn credit(&mut self, slot: Slot, bytes: u32) {
        let stream = self.streams.get_mut(slot);
        let due = stream.receive.consume(bytes).unwrap_or(false);
        match stream.revision {
            Revision::Zero => {
                stream.receive.take_grant();
            }
            Revision::One if due => self.streams.queue_control(slot),
            Revision::One => {}
        }
    }
}

fn late_data(data: &[u8]) -> Charge {
    Charge::LateData(on_wire(data.len()))
}

fn take_credit(stream: &mut Stream, data: &[u8]) -> Result<(), StreamReason> {
    u32::try_from(data.len())
        .ok()
        .and_then(|bytes| stream.receive.receive(bytes).ok())
        .ok_or(StreamReason::WindowExceeded)
}
