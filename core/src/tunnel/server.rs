//! What only a tunnel server does.

use super::liveness::PROBE_METHOD;
use super::receive::content_reason;
use super::{Server, Tunnel};
use crate::budget::{Charge, Earned};
use crate::reason::{StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::streams::{Received, Stream, Terminal};
use crate::time::Time;
use crate::types::{End, Input, Key, Unread};
use crate::wire::{ClientKind, Data, NewStream, Revision, Timeout, decode_client};

/// The method name without a slash in front, if some service could have it.
fn method(name: &str) -> Result<&str, StreamReason> {
    if name.is_empty() {
        return Err(StreamReason::EmptyMethod);
    }
    let name = name.strip_prefix('/').unwrap_or(name);
    match name.split_once('/') {
        None => Err(StreamReason::MalformedMethod),
        Some((service, method)) if service.is_empty() || method.contains('/') => {
            Err(StreamReason::UnknownMethod)
        }
        Some((_, "")) => Err(StreamReason::UnknownMethod),
        // No handler may delay the answer.
        Some(_) if name == PROBE_METHOD => Err(StreamReason::UnknownMethod),
        Some(_) => Ok(name),
    }
}

impl<S: Storage> Tunnel<Server, S> {
    pub(super) fn receive_from_client<'f>(
        &mut self,
        now: Time,
        frame: &'f [u8],
    ) -> Result<Input<'f>, TunnelReason> {
        let frame =
            decode_client(frame, &self.limits.decode).map_err(|_| TunnelReason::Undecodable)?;
        let id = frame.stream_id;
        match frame.kind {
            ClientKind::NewStream(new) => self.receive_new_stream(now, id, new),
            ClientKind::Message(message) => self.receive_odd_data(now, id, Data::Message(message)),
            ClientKind::More(data) => self.receive_odd_data(now, id, Data::More(data)),
            ClientKind::HalfClose => self.receive_half_close(now, id),
            ClientKind::Cancel => self.receive_cancel(now, id),
            ClientKind::WindowUpdate(bytes) => {
                self.receive_odd_data(now, id, Data::WindowUpdate(bytes))
            }
            ClientKind::Extensions(theirs) => self.receive_extensions(now, id, theirs),
            ClientKind::Ping(opaque) => self.receive_ping(now, id, opaque),
            ClientKind::Pong(opaque) => self.receive_pong(now, id, opaque),
            ClientKind::None => self.receive_on_stream(now, id, StreamReason::UnknownFrame),
        }
    }

    /// The id is checked before everything else, and counts as used whatever follows.
    fn receive_new_stream<'f>(
        &mut self,
        now: Time,
        id: i64,
        new: NewStream<'f>,
    ) -> Result<Input<'f>, TunnelReason> {
        if id < 0 {
            return Err(TunnelReason::StreamIdNegative);
        }
        if !self.ids.receive(id) {
            return Err(TunnelReason::StreamIdNotIncreasing);
        }
        match self.admit(now, id, &new) {
            Ok((stream, method, deadline)) => self.useful(Input::Opened {
                stream,
                method,
                metadata: new.metadata.agreed(self.handshake.extensions()),
                deadline,
            }),
            Err(reason) => self.reject(now, id, reason, new.revision),
        }
    }

    fn admit<'f>(
        &mut self,
        now: Time,
        id: i64,
        new: &NewStream<'f>,
    ) -> Result<(Key, &'f str, Option<Time>), StreamReason> {
        let revision = match new.revision {
            0 => Revision::Zero,
            1 => Revision::One,
            _ => return Err(StreamReason::UnsupportedRevision),
        };
        if self.drain.began() {
            return Err(StreamReason::ShuttingDown);
        }
        if let Some(fault) = new.fault {
            return Err(content_reason(fault));
        }
        let method = method(new.method)?;
        let deadline = match new.timeout {
            None => None,
            Some(Timeout::Expired) => return Err(StreamReason::DeadlineExceeded),
            Some(Timeout::After(timeout)) => Some(now.saturating_add(timeout)),
        };
        let encoded = self.take_transparent(new.transparent)?;
        if self.streams.len() >= self.limits.max_streams {
            return Err(StreamReason::TooManyStreams);
        }
        let initial = self.limits.receive_window.initial;
        let mut stream =
            Stream::new(id, revision, new.initial_window_size, initial).with_deadline(deadline);
        stream.receive.take_head(encoded);
        let slot = self
            .streams
            .insert(stream)
            .ok_or(StreamReason::TooManyStreams)?;
        self.revision_zero.saw(revision);
        self.counters.opened = self.counters.opened.saturating_add(1);
        self.budget.earn(Earned::Stream);
        self.no_timer_before = self.no_timer_before.min(deadline.unwrap_or(Time::MAX));
        Ok((self.streams.key(slot), method, deadline))
    }

    /// Refuses a stream: no record, only an answer that waits to be sent.
    fn reject<'f>(
        &mut self,
        now: Time,
        id: i64,
        reason: StreamReason,
        revision: i32,
    ) -> Result<Input<'f>, TunnelReason> {
        self.counters.refused = self.counters.refused.saturating_add(1);
        if reason.is_protocol_error() {
            self.budget.charge(now, Charge::ProtocolError)?;
        }
        let waiting = self.refusals.len();
        self.budget.charge(now, Charge::Rejection(waiting))?;
        // Its client may have sent a window of data, or what there would be room for, before it
        // hears of this.
        let in_flight = match revision {
            0 => self.limits.revision_zero.stream,
            _ => self.limits.receive_window.initial,
        };
        self.budget.earn(Earned::EndedEarly(in_flight));
        if self.refusals.push(id, reason) {
            Ok(Input::Ignored)
        } else {
            Err(TunnelReason::TooManyRejections)
        }
    }

    fn receive_half_close<'f>(&mut self, now: Time, id: i64) -> Result<Input<'f>, TunnelReason> {
        let Some(slot) = self.open_slot(now, id, Charge::Late)? else {
            return Ok(Input::Ignored);
        };
        let stream = self.streams.get_mut(slot);
        if stream.receive.is_finished() {
            return self.ignore(now, Charge::Useless);
        }
        let single = stream.kind.single_request();
        let fault = match stream.receive.finish() {
            _ if stream.send.is_closing() => None,
            Received::Truncated => Some(StreamReason::Truncated),
            Received::Nothing if single => Some(StreamReason::MissingRequest),
            Received::Nothing | Received::Whole => None,
        };
        if let Some(reason) = fault {
            return self.violate(now, slot, reason);
        }
        self.end_hold(slot);
        self.useful(Input::HalfClosed {
            stream: self.streams.key(slot),
        })
    }

    fn receive_cancel<'f>(&mut self, now: Time, id: i64) -> Result<Input<'f>, TunnelReason> {
        let Some(slot) = self.open_slot(now, id, Charge::Late)? else {
            return Ok(Input::Ignored);
        };
        let stream = self.streams.key(slot);
        self.end_stream(slot, Terminal::PeerCancelled, Unread::Discard);
        self.useful(Input::Ended {
            stream,
            why: End::PeerCancelled,
            unread: Unread::Discard,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_names() {
        assert_eq!(method(""), Err(StreamReason::EmptyMethod));
        for name in ["/", "foo", "/foo"] {
            assert_eq!(method(name), Err(StreamReason::MalformedMethod), "{name}");
        }
        for name in ["//", "//a/b", "a/b/c", "a/"] {
            assert_eq!(method(name), Err(StreamReason::UnknownMethod), "{name}");
        }
        assert_eq!(method("/pkg.S/M"), Ok("pkg.S/M"));
        assert_eq!(method("pkg.S/M"), Ok("pkg.S/M"));
    }
}
