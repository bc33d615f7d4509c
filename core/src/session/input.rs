//! What the tunnels report, for the calls of a session.

use alloc::string::String;

use super::call::{Behind, Call};
use super::event::{CallEnd, CallKey, IncomingCall, SessionEvent};
use super::owned::OwnedMetadata;
use super::trace::{Trace, TunnelState};
use super::{OwnedStatus, Session};
use crate::bare;
use crate::code::Side;
use crate::error::TunnelError;
use crate::reason::StreamReason;
use crate::time::Time;
use crate::types::{Carrier, End, Envelope, Event, Input, Key, MethodKind, Unread};

impl<T: Trace> Session<T> {
    /// Takes in one frame, without its length prefix, whose first byte is `flags`: 0 on a gRPC
    /// stream.
    ///
    /// # Errors
    /// As [`handle_bytes`](Self::handle_bytes).
    pub fn handle_frame(&mut self, now: Time, flags: u8, frame: &[u8]) -> Result<(), TunnelError> {
        self.advance(now);
        self.trace.frame_in(now, flags, frame);
        let handled = self.pipe.handle_frame(now, flags, frame);
        let done = handled.map(|(side, input)| self.input(side, input));
        self.pump();
        done
    }

    fn input(&mut self, side: Side, input: Input<'_>) {
        let call = |stream: Key| CallKey { side, stream };
        match input {
            Input::Opened {
                stream,
                method,
                metadata,
                deadline,
            } => {
                let key = call(stream);
                let mut call = Call::new(key, MethodKind::Unknown);
                call.incoming = Some(IncomingCall {
                    key,
                    method: String::from(method),
                    metadata: OwnedMetadata::of(metadata, self.bin_dialect),
                    deadline,
                });
                self.calls.insert(call);
                self.incoming.push_back(key);
                self.due.incoming = true;
            }
            Input::Headers { stream, metadata } => {
                let headers = OwnedMetadata::of(metadata, self.bin_dialect);
                if let Some(call) = self.live(call(stream)) {
                    call.headers = Some(headers);
                }
                self.readable(call(stream));
            }
            Input::Data {
                stream,
                bytes,
                begins,
                ends,
                discard: false,
            } => self.data(call(stream), bytes, begins, ends),
            Input::HalfClosed { stream } => {
                if let Some(call) = self.live(call(stream)) {
                    call.half_closed = true;
                }
                self.readable(call(stream));
            }
            Input::Ended {
                stream,
                why,
                unread,
            } => self.ended(call(stream), why, unread),
            Input::Ignored | Input::Data { .. } => {}
        }
    }

    fn data(&mut self, key: CallKey, bytes: &[u8], begins: Option<Envelope>, ends: bool) {
        let Some(call) = self.live(key) else {
            return;
        };
        if call.buffer.push(bytes, begins, ends).is_err() {
            self.fail(key, StreamReason::ReceiveBufferFull);
        }
        self.readable(key);
    }

    /// Ends a call for a reason of the session's own.
    fn fail(&mut self, key: CallKey, reason: StreamReason) {
        let Some(call) = self.live(key) else {
            return;
        };
        call.finish(CallEnd::of_reason(reason, key.side), Unread::Deliver);
        self.trace.limit(self.now, key, reason);
        match key.side {
            Side::Client => self.release(key),
            Side::Server => {
                let status = OwnedStatus::of_reason(reason, key.side);
                // Behind whatever waits; a status without trailers can always be sent.
                let _ = self.finish(key, &status, &OwnedMetadata::new());
            }
        }
    }

    /// The tunnel has ended a call.
    fn ended(&mut self, key: CallKey, why: End<'_>, unread: Unread) {
        if let End::Violation(reason) = why {
            self.trace.limit(self.now, key, reason);
        }
        let dialect = self.bin_dialect;
        let Some(call) = self.calls.get(key) else {
            self.release(key);
            return;
        };
        if call.incoming.is_some() {
            self.incoming.retain(|other| *other != key);
        }
        if call.dismissed || call.incoming.is_some() {
            self.remove(key);
            return;
        }
        call.outgoing.clear();
        call.queued = 0;
        call.behind = Behind::Nothing;
        call.ended = true;
        call.finish(CallEnd::of(why, key.side, dialect), unread);
        self.writable(key);
        self.readable(key);
    }

    /// There is something to receive on a call; reported once until all was received.
    pub(super) fn readable(&mut self, key: CallKey) {
        if let Some(call) = self.live(key)
            && call.incoming.is_none()
            && !call.readable
        {
            call.readable = true;
            self.ready.push_back(SessionEvent::Readable(key));
        }
    }

    /// Takes over what the tunnels have to say.
    pub(super) fn pump(&mut self) {
        while let Some(event) = self.pipe.poll_event() {
            match event {
                bare::PipeEvent::Tunnel(side, event) => self.tunnel_event(side, event),
                bare::PipeEvent::Carrier(carrier) => {
                    let state = match &carrier {
                        Carrier::Finish => TunnelState::Finished,
                        Carrier::Abort(error) => TunnelState::Failed(error.reason()),
                    };
                    if self.pipe.client().is_some() {
                        self.trace.state(self.now, Side::Client, state);
                    }
                    if self.pipe.server().is_some() {
                        self.trace.state(self.now, Side::Server, state);
                    }
                    // After the end it no longer matters whether the peer responds.
                    self.due.responsive = None;
                    self.due.round_trip = None;
                    self.due.carrier = Some(carrier);
                }
            }
        }
    }

    fn tunnel_event(&mut self, side: Side, event: Event) {
        match event {
            Event::Settled(revision) => {
                let state = TunnelState::Settled(revision);
                self.trace.state(self.now, side, state);
            }
            Event::MayOpen => self.due.may_open = true,
            Event::Writable(stream) => self.written(CallKey { side, stream }),
            Event::Ended {
                stream,
                why,
                unread,
            } => self.ended(CallKey { side, stream }, why, unread),
            Event::Draining => {
                self.trace.state(self.now, side, TunnelState::PeerDraining);
                self.due.draining = true;
            }
            Event::RoundTrip(time) => self.due.round_trip = Some(time),
            Event::Responsive(responsive) => self.due.responsive = Some(responsive),
            // The pipe reports one for both.
            Event::Carrier(_) => {}
        }
    }

    /// The first message has left.
    fn written(&mut self, key: CallKey) {
        let room = self.send_buffer;
        let Some(call) = self.calls.get(key) else {
            return;
        };
        if let Some(message) = call.outgoing.pop_front() {
            call.queued = call.queued.saturating_sub(message.len());
        }
        call.sending = false;
        if call.has_room(room) {
            self.writable(key);
        }
        self.go_on(key);
    }

    /// A call that had no room for a message has some, or is over.
    fn writable(&mut self, key: CallKey) {
        if let Some(call) = self.live(key)
            && core::mem::take(&mut call.full)
        {
            self.ready.push_back(SessionEvent::Writable(key));
        }
    }
}
