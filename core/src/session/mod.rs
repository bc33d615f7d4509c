//! One end of a tunnel with everything on it: owned buffers, calls of both roles, bytes in, bytes out.
//!
//! A [`Session`] is what most programs embed. It is put together from the rest of this crate, and
//! what it cannot do can be done with that: [`Tunnel`](crate::Tunnel) for storage in place,
//! messages in pieces or compressed ones.
//!
//! **The contract.** `handle_*` takes what arrived, a call's verbs (`open`, `send`, `recv`, ...) say
//! what the application wants, `poll_*` hands out what is to be done. After any `handle_*` and any
//! verb, poll until there is nothing: [`poll_bytes`](Session::poll_bytes) for what to write,
//! [`poll_event`](Session::poll_event) for what happened, [`poll_timeout`](Session::poll_timeout)
//! for when to call [`handle_timeout`](Session::handle_timeout). `handle_*` and `poll_bytes` take
//! the time; no clock is read. A verb that is refused changes nothing. Nothing blocks and
//! nothing panics, whatever the peer sends.
//!
//! **Back-pressure.** Each direction is bounded by what the other side reads:
//!
//! - What you do not [`recv`](Session::recv) stays in the receive window. Once that is full, the
//!   peer stops sending on that call, and goes on with others.
//! - [`send`](Session::send) takes a whole message, or answers `Full` until
//!   [`SessionEvent::Writable`]; [`may_send`](Session::may_send) asks ahead. To reply to what
//!   is received, receive only while there is room for the reply.
//! - [`poll_bytes`](Session::poll_bytes) adds nothing to an output that holds 64 KiB. Poll only
//!   while you can write.
//! - [`open`](Session::open) may be called until it answers `Full`;
//!   [`SessionEvent::MayOpen`] follows.
//! - While [`wants_read`](Session::wants_read) is false, the carrier is not to be read.
//!
//! **A carrier that is stuck.** The session cannot see that written bytes do not leave. A caller
//! whose carrier accepts nothing for long ([`TunnelReason::Stalled`] is for 60 s) calls
//! [`abort`](Session::abort).
//!
//! # Carriers
//!
//! - A stream of bytes between two ends of this crate: [`Session::bare`].
//! - A gRPC stream, to any peer: [`Session::grpc`]. What it takes and gives are the bytes of the
//!   HTTP/2 body, length prefixes included.
//! - One that has frames of its own, such as a WebSocket: [`poll_frame`](Session::poll_frame) gives
//!   one frame at a time with its prefix. The other end may feed it to
//!   [`handle_bytes`](Session::handle_bytes), or without its prefix to
//!   [`handle_frame`](Session::handle_frame).

mod call;
mod commands;
mod config;
mod event;
mod input;
mod memory;
mod owned;
mod trace;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::bare::{Directions, Pipe, PipeEnd};
use crate::code::Side;
pub use crate::error::Gone;
use crate::error::{ConfigError, TunnelError};
use crate::reason::TunnelReason;
use crate::storage::Growing;
use crate::time::Time;
use crate::types::{Carrier, Cause, Negotiation, Opening, Timer};
use crate::wire::{BinDialect, Extension, GrowingAssembler};
use call::Calls;
pub use config::SessionConfig;
pub use event::{
    CallEnd, CallKey, CloseError, IncomingCall, OpenCallError, Received, RespondError, SendError,
    SessionEvent,
};
pub use owned::{OwnedMetadata, OwnedStatus};
pub use trace::{Trace, TunnelState};

/// Bytes that `poll_bytes` fills its output to.
const BATCH: usize = 64 * 1024;

/// What is to be reported besides the events of calls.
#[derive(Debug, Default)]
struct Due {
    incoming: bool,
    may_open: bool,
    draining: bool,
    round_trip: Option<Duration>,
    responsive: Option<bool>,
    carrier: Option<Carrier>,
}

/// One end of a tunnel, or of a bare stream with tunnels in both directions. See the
/// [module](self) for its contract. `T` sees what it does.
pub struct Session<T: Trace = ()> {
    pipe: Pipe<Growing>,
    frames: GrowingAssembler,
    calls: Calls,
    /// Calls that were not accepted yet.
    incoming: VecDeque<CallKey>,
    /// Readable and writable calls. Some may be gone.
    ready: VecDeque<SessionEvent>,
    due: Due,
    /// The latest time that was passed in.
    now: Time,
    send_buffer: usize,
    bin_dialect: BinDialect,
    memory_bound: u64,
    closed: bool,
    trace: T,
}

impl Session {
    /// One end of a stream of bytes. Both ends must mean the same directions by it, and one of them
    /// is the [`PipeEnd::Opener`].
    ///
    /// # Errors
    /// A setting is out of its range; see [`Config::validate`](crate::Config::validate).
    pub fn bare(
        now: Time,
        config: SessionConfig,
        end: PipeEnd,
        directions: Directions,
    ) -> Result<Self, ConfigError> {
        let opening = Opening::Accepted(Negotiation::On);
        Self::new(now, config, end, directions, opening, ())
    }

    /// One end of a gRPC stream, on which this end is the client or the server of all calls.
    ///
    /// # Errors
    /// As [`bare`](Self::bare).
    pub fn grpc(
        now: Time,
        config: SessionConfig,
        side: Side,
        opening: Opening,
    ) -> Result<Self, ConfigError> {
        let end = match side {
            Side::Client => PipeEnd::Opener,
            Side::Server => PipeEnd::Acceptor,
        };
        Self::new(now, config, end, Directions::Forward, opening, ())
    }

    /// The same session, seen by `trace` from here on.
    #[must_use]
    pub fn with_trace<T: Trace>(self, trace: T) -> Session<T> {
        Session {
            pipe: self.pipe,
            frames: self.frames,
            calls: self.calls,
            incoming: self.incoming,
            ready: self.ready,
            due: self.due,
            now: self.now,
            send_buffer: self.send_buffer,
            bin_dialect: self.bin_dialect,
            memory_bound: self.memory_bound,
            closed: self.closed,
            trace,
        }
    }
}

impl<T: Trace> Session<T> {
    fn new(
        now: Time,
        mut config: SessionConfig,
        end: PipeEnd,
        directions: Directions,
        opening: Opening,
        trace: T,
    ) -> Result<Self, ConfigError> {
        let extensions = &mut config.tunnel.extensions;
        *extensions = extensions.without(Extension::Transparent);
        let limits = &config.tunnel.limits;
        let frames = GrowingAssembler::growing(limits.max_frame);
        let memory_bound = memory::bound(limits, directions);
        Ok(Self {
            pipe: Pipe::opened(now, config.tunnel, end, directions, opening)?,
            frames,
            calls: Calls::default(),
            incoming: VecDeque::new(),
            ready: VecDeque::new(),
            due: Due::default(),
            now,
            send_buffer: config.send_buffer,
            bin_dialect: config.bin_dialect,
            memory_bound,
            closed: false,
            trace,
        })
    }

    /// The response headers of the gRPC stream came; only after [`Opening::Requested`].
    pub fn handle_opened(&mut self, now: Time, negotiation: Negotiation) {
        self.advance(now);
        self.pipe.handle_opened(now, negotiation);
        self.pump();
    }

    /// Takes in bytes that arrived, in any pieces.
    ///
    /// # Errors
    /// The session has ended, because of these bytes or before; the first error is returned again.
    /// Calls and [`SessionEvent::Carrier`] tell the rest.
    pub fn handle_bytes(&mut self, now: Time, mut bytes: &[u8]) -> Result<(), TunnelError> {
        self.advance(now);
        // Part of a frame proves that the peer lives, before any timer runs.
        self.pipe.handle_activity(now);
        // Frames borrow from the assembler while the rest of the session works.
        let mut frames = core::mem::replace(&mut self.frames, GrowingAssembler::growing(0));
        let done = loop {
            match frames.next(bytes) {
                Ok((taken, Some(frame))) => {
                    let handled = self.handle_frame(now, frame.flags, frame.bytes);
                    if handled.is_err() {
                        break handled;
                    }
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
                Ok((_, None)) => break Ok(()),
                Err(_) => match self.abort(now, TunnelReason::FrameTooLarge) {
                    Some(error) => break Err(error),
                    None => break Ok(()),
                },
            }
        };
        self.frames = frames;
        // The beginning of a frame is a sign of life, too.
        self.advance(now);
        self.pipe.handle_activity(now);
        self.pump();
        done
    }

    /// The carrier ended: cleanly, if no error was seen. An end within a frame is an error all the
    /// same. Every open call is lost.
    pub fn handle_end(&mut self, now: Time, cause: Cause) {
        self.advance(now);
        self.closed = true;
        if self.frames.is_between_frames() || self.pipe.is_ended() {
            self.pipe.handle_end(now, cause);
        } else {
            drop(self.pipe.abort(now, TunnelReason::FrameTruncated));
        }
        self.pump();
    }

    /// Runs every timer that has expired.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        self.pipe.handle_timeout(now);
        self.pump();
    }

    /// Gives the session up for a reason that the caller found. Returns the error that ended it,
    /// which is the first one if it had ended before; `None` if it had ended without one.
    pub fn abort(&mut self, now: Time, reason: TunnelReason) -> Option<TunnelError> {
        self.advance(now);
        let error = self.pipe.abort(now, reason);
        self.pump();
        error
    }

    /// Takes no new calls, in either direction; the carrier is finished when the last call has
    /// ended. Calls that are open after `limit` end UNAVAILABLE.
    pub fn drain(&mut self, now: Time, limit: Duration) {
        self.advance(now);
        self.pipe.drain(now, limit);
        self.pump();
    }

    /// Adds frames to `out`, while there are any and it holds less than 64 KiB. Returns how many
    /// bytes were added; 0: there is nothing to send, or `out` is to be written first.
    pub fn poll_bytes(&mut self, now: Time, out: &mut Vec<u8>) -> usize {
        let before = out.len();
        while out.len() < BATCH && self.poll_frame(now, out) {}
        out.len().saturating_sub(before)
    }

    /// Adds the next frame to `out`, length prefix included. False: there is none.
    pub fn poll_frame(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        self.handle_timeout(now);
        let found = self.pipe.poll_transmit(now);
        if let Some((side, transmit)) = &found {
            let before = out.len();
            let calls = &self.calls;
            let memory = |stream, part| calls.part(*side, stream, part);
            if transmit.write_to(out, memory).is_err() {
                // There is no memory for it, and no tunnel without it.
                drop(self.pipe.abort(now, TunnelReason::CarrierFailed));
            }
            let frame = out.get(before..).unwrap_or_default();
            self.trace.frame_out(now, frame);
        }
        // What has left makes room, and a drain may be over.
        self.pump();
        found.is_some()
    }

    /// When `handle_timeout` must be called next; `None`: there is no timer.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.pipe.poll_timeout()
    }

    /// The timer that `poll_timeout` is about, and the side whose it is.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Time, Side, Timer)> {
        self.pipe.next_timer()
    }

    /// Says whether bytes that were polled wait because the carrier takes none: an answer to them
    /// is due only when they have left. Not needed if you poll only as the carrier takes bytes.
    pub fn set_backlogged(&mut self, now: Time, backlogged: bool) {
        self.advance(now);
        self.pipe.set_backlogged(now, backlogged);
        self.pump();
    }

    /// The next event. The one about the carrier is the last one.
    #[must_use = "each event is reported once"]
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        if core::mem::take(&mut self.due.incoming) && !self.incoming.is_empty() {
            return Some(SessionEvent::Incoming);
        }
        while let Some(event) = self.ready.pop_front() {
            if let SessionEvent::Readable(key) | SessionEvent::Writable(key) = event
                && self.live(key).is_none()
            {
                continue;
            }
            return Some(event);
        }
        if core::mem::take(&mut self.due.may_open) {
            return Some(SessionEvent::MayOpen);
        }
        if core::mem::take(&mut self.due.draining) {
            return Some(SessionEvent::Draining);
        }
        if let Some(round_trip) = self.due.round_trip.take() {
            return Some(SessionEvent::RoundTrip(round_trip));
        }
        if let Some(responsive) = self.due.responsive.take() {
            return Some(SessionEvent::Responsive(responsive));
        }
        self.due.carrier.take().map(SessionEvent::Carrier)
    }

    /// Whether the carrier is to be read now; false only while a reader without flow control is
    /// behind.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.pipe.wants_read()
    }

    /// Whether `poll_bytes` may have something to do. False is certain.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.pipe.wants_transmit()
    }

    /// Whether the carrier was finished or given up, by either end: no call is open, and nothing is
    /// sent any more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.pipe.is_ended()
    }

    /// Whether the session is over altogether: it has ended, and so has the carrier, or an error
    /// has ended both. What was received can still be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_ended() && (self.closed || self.error().is_some())
    }

    /// The error that ended the session. A clean finish is none.
    #[must_use]
    pub const fn error(&self) -> Option<&TunnelError> {
        self.pipe.error()
    }

    /// The tunnels below, for counters, budgets and limits.
    #[must_use]
    pub const fn pipe(&self) -> &Pipe<Growing> {
        &self.pipe
    }

    /// The trace.
    pub const fn trace(&mut self) -> &mut T {
        &mut self.trace
    }

    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }
}

impl<T: Trace> fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("pipe", &self.pipe)
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}
