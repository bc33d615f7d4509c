//! The frames that both ends may get.

use super::ids::TUNNEL_ID;
use super::payload::{Known, Payload, Refused};
use super::{Role, Tunnel};
use crate::budget::{Charge, Earned};
use crate::code::Side;
use crate::length::on_wire;
use crate::reason::{StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::streams::{Expected, Slot, Terminal};
use crate::time::Time;
use crate::types::{End, Envelope, Input, Unread};
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
        if stream.receive.is_finished() {
            self.charge_ignored(now, late_data(message.data))?;
            return Ok(None);
        }
        stream.receive.skip_head();
        if let Err(reason) = stream.receive.take_credit(message.data.len()) {
            return Err(Refused::Stream(slot, reason));
        }
        if stream.send.is_closing() {
            return Ok(Some(self.discard(slot, message.data)));
        }
        let envelope = Envelope {
            size: message.size,
            compressed: message.compressed && transparent,
        };
        let single = match R::SIDE {
            Side::Server => stream
                .kind
                .single_request()
                .then_some(StreamReason::SecondRequest),
            Side::Client => stream
                .kind
                .single_response()
                .then_some(StreamReason::SecondResponse),
        };
        let expected = Expected {
            single,
            max_size: max_message,
        };
        let known = Known::of(stream, slot);
        match stream.receive.begin(envelope, message.data.len(), expected) {
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
        if stream.receive.is_finished() {
            self.charge_ignored(now, late_data(data))?;
            return Ok(None);
        }
        if let Err(reason) = stream.receive.take_credit(data.len()) {
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
        match stream.receive.go_on(data.len(), max_empty) {
            Ok(Some(piece)) => self.hand_on(now, known, data, piece),
            Ok(None) => Ok(None),
            Err(reason) => Err(Refused::Stream(slot, reason)),
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
}

fn late_data(data: &[u8]) -> Charge {
    Charge::LateData(on_wire(data.len()))
}
