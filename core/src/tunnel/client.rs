//! What only a tunnel client does.

use super::ids::TUNNEL_ID;
use super::receive::{Found, content_reason};
use super::{Client, Phase, Tunnel};
use crate::budget::{Charge, Earned};
use crate::code::Side;
use crate::error::{OpenError, TunnelError};
use crate::reason::{StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::streams::{NO_ID, Received, Stream, Terminal, is_too_large};
use crate::time::Time;
use crate::types::{End, Input, Key, OpenOptions, Unread};
use crate::wire::{
    CloseStream, Data, Encoded, Extension, Headers, ServerKind, Settings, decode_server,
};

impl<S: Storage> Tunnel<Client, S> {
    /// Opens a stream. Its id is given when `new_stream` leaves, so that ids rise on the wire;
    /// `head` is what `wire::encode_open` wrote, which `Part::Open` names.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing changed.
    pub fn open(
        &mut self,
        now: Time,
        head: Encoded,
        options: OpenOptions,
    ) -> Result<Key, OpenError> {
        self.handle_timeout(now);
        match self.phase {
            Phase::Opening | Phase::Settling => {
                self.may_open_wanted = true;
                return Err(OpenError::NotSettled);
            }
            Phase::Finished | Phase::Ended => return Err(OpenError::Ended),
            Phase::Open if self.drain.began() => return Err(OpenError::Draining),
            Phase::Open => {}
        }
        if is_too_large(head) {
            return Err(OpenError::HeadTooLarge);
        }
        if !self.has_spare_id() {
            return Err(OpenError::IdsExhausted);
        }
        if self.streams.len() >= self.limits.max_streams {
            self.may_open_wanted = true;
            return Err(OpenError::Full);
        }
        let initial = self.limits.receive_window.initial;
        let mut stream = Stream::new(
            NO_ID,
            self.handshake.revision(),
            self.handshake.peer_window(),
            initial,
        )
        .with_deadline(options.deadline);
        stream.kind = options.kind;
        stream.send.open(head);
        let Some(slot) = self.streams.insert(stream) else {
            self.may_open_wanted = true;
            return Err(OpenError::Full);
        };
        self.counters.opened = self.counters.opened.saturating_add(1);
        self.budget.earn(Earned::Stream);
        self.no_timer_before = self
            .no_timer_before
            .min(options.deadline.unwrap_or(Time::MAX));
        self.streams.queue_data(slot);
        Ok(self.streams.key(slot))
    }

    pub(super) fn receive_from_server<'f>(
        &mut self,
        now: Time,
        frame: &'f [u8],
    ) -> Result<Input<'f>, TunnelReason> {
        let frame =
            decode_server(frame, &self.limits.decode).map_err(|_| TunnelReason::Undecodable)?;
        let id = frame.stream_id;
        if self.phase == Phase::Settling {
            return match frame.kind {
                ServerKind::Settings(settings) if id == TUNNEL_ID => {
                    self.receive_first(now, settings)
                }
                ServerKind::Settings(_) => Err(TunnelReason::SettingsStreamId),
                _ => Err(TunnelReason::NotSettings),
            };
        }
        if self.answers_probe(now, id, &frame.kind) {
            return Ok(Input::Ignored);
        }
        match frame.kind {
            ServerKind::Settings(_) => self.receive_settings(now, id),
            ServerKind::Headers(headers) => self.receive_headers(now, id, headers),
            ServerKind::Message(message) => self.receive_odd_data(now, id, Data::Message(message)),
            ServerKind::More(data) => self.receive_odd_data(now, id, Data::More(data)),
            ServerKind::Close(close) => self.receive_close(now, id, close),
            ServerKind::WindowUpdate(bytes) => {
                self.receive_odd_data(now, id, Data::WindowUpdate(bytes))
            }
            ServerKind::Drain { last_stream_id } => self.receive_drain(now, id, last_stream_id),
            ServerKind::Ping(opaque) => self.receive_ping(now, id, opaque),
            ServerKind::Pong(opaque) => self.receive_pong(now, id, opaque),
            ServerKind::None => self.receive_on_stream(now, id, StreamReason::UnknownFrame),
        }
    }

    /// The settings that open the tunnel.
    fn receive_first<'f>(
        &mut self,
        now: Time,
        settings: Settings,
    ) -> Result<Input<'f>, TunnelReason> {
        let (revisions, numbers) = self.handshake.supported();
        let common = revisions
            .iter()
            .copied()
            .filter(|revision| settings.supports(*revision))
            .max();
        let Some(revision) = common else {
            let offered = settings.revisions();
            self.error = Some(TunnelError::no_common_revision(
                Side::Client,
                offered,
                numbers,
            ));
            return Err(TunnelReason::NoCommonRevision);
        };
        self.settle(now, revision, settings.initial_window_size);
        self.receive_offer(settings.extensions);
        Ok(Input::Ignored)
    }

    /// Settings after the first frame: repeats are ignored, and never applied.
    fn receive_settings<'f>(&mut self, now: Time, id: i64) -> Result<Input<'f>, TunnelReason> {
        match self.find(id) {
            Found::Open(slot) => self.violate(now, slot, StreamReason::SettingsOnStream),
            Found::Finished => self.ignore(now, Charge::Useless),
            Found::Never if id == TUNNEL_ID && self.handshake.negotiates() => {
                self.ignore(now, Charge::Useless)
            }
            Found::Never if id == TUNNEL_ID => Err(TunnelReason::UnexpectedSettings),
            Found::Never => Err(TunnelReason::StreamNeverCreated),
        }
    }

    fn receive_headers<'f>(
        &mut self,
        now: Time,
        id: i64,
        headers: Headers<'f>,
    ) -> Result<Input<'f>, TunnelReason> {
        let Some(slot) = self.open_slot(now, id, Charge::Late)? else {
            return Ok(Input::Ignored);
        };
        if let Some(fault) = headers.fault {
            return self.violate(now, slot, content_reason(fault));
        }
        let encoded = self.take_transparent(headers.transparent);
        let half = &mut self.streams.get_mut(slot).receive;
        if !half.take_head(encoded == Ok(true)) {
            return self.ignore(now, Charge::Useless);
        }
        if let Err(reason) = encoded {
            return self.violate(now, slot, reason);
        }
        self.useful(Input::Headers {
            stream: self.streams.key(slot),
            metadata: headers.metadata.agreed(self.handshake.extensions()),
        })
    }

    fn receive_close<'f>(
        &mut self,
        now: Time,
        id: i64,
        close: CloseStream<'f>,
    ) -> Result<Input<'f>, TunnelReason> {
        let Some(slot) = self.open_slot(now, id, Charge::Late)? else {
            return Ok(Input::Ignored);
        };
        // An encoding that trailers name comes too late for a message.
        let transparent = self.take_transparent(close.transparent);
        let stream = self.streams.get_mut(slot);
        let received = stream.receive.finish();
        let ok = close.status.code == 0;
        let unprocessed = close.unprocessed && !ok && self.handshake.agreed(Extension::Unprocessed);
        let single = stream.kind.single_response();
        let fault = if let Some(fault) = close.fault {
            Some(content_reason(fault))
        } else if let Err(reason) = transparent {
            Some(reason)
        } else if ok && received == Received::Truncated {
            Some(StreamReason::Truncated)
        } else if ok && single && received == Received::Nothing {
            Some(StreamReason::MissingResponse)
        } else {
            None
        };
        if let Some(reason) = fault {
            return self.violate(now, slot, reason);
        }
        let unread = if single && !ok {
            Unread::Discard
        } else {
            Unread::Deliver
        };
        let key = self.streams.key(slot);
        self.end_stream(slot, Terminal::Status, unread);
        self.useful(Input::Ended {
            stream: key,
            why: End::Status {
                status: close.status,
                trailers: close.trailers.agreed(self.handshake.extensions()),
                unprocessed,
            },
            unread,
        })
    }
}
