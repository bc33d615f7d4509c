//! Two sessions driven by any steps, or one by any bytes, while a model of the messages watches.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use arbitrary::Arbitrary;
use grpctunnel_core::bare::{Directions, PipeEnd};
use grpctunnel_core::session::{
    CallEnd, CallKey, OwnedMetadata, OwnedStatus, Received, SendError, SessionConfig, SessionEvent,
};
use grpctunnel_core::{
    Cause, MethodKind, OpenOptions, Reason, Session, Side, StreamReason, Time, TunnelReason,
};

use super::fail;

/// What both ends are.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct SessionSetup {
    both: bool,
    grow: bool,
    /// Without it no end gets bytes that nobody sent.
    junk: bool,
    /// Without it no end drains, and the carrier does not end.
    ends: bool,
    send_buffer: u8,
    window: u16,
    max_streams: u8,
}

/// What one of the ends, the carrier or the clock does.
#[derive(Clone, Debug, Arbitrary)]
pub enum SessionStep {
    /// An end opens a call, for which so many seconds are left.
    Open(bool, Option<u8>),
    /// An end accepts all calls that came in.
    Accept(bool),
    /// An end sends a message on one of its calls.
    Send(bool, u8, u16),
    /// An end receives on one of its calls, so often.
    Receive(bool, u8, u8),
    /// An end half-closes one of its calls.
    HalfClose(bool, u8),
    /// An end gives one of its calls up.
    Cancel(bool, u8),
    /// An end answers one of its calls with headers.
    Respond(bool, u8),
    /// An end closes one of its calls with this code.
    Close(bool, u8, u8),
    /// Bytes arrive at an end: at most so many.
    Carry(bool, u16),
    /// Everything arrives at both ends, until nothing moves.
    Rest,
    /// Milliseconds pass.
    Pass(u16),
    /// An end drains, with a limit of so many seconds.
    Drain(bool, u8),
    /// The carrier ends at one end.
    End(bool, bool),
    /// An end gets bytes that the other never sent.
    Junk(bool, [u8; 7]),
}

/// Messages of one call that were sent and not received: what each byte of them is, and how many.
#[derive(Default)]
struct Flight {
    up: VecDeque<(u8, usize)>,
    down: VecDeque<(u8, usize)>,
}

struct EndOf {
    session: Session,
    /// Calls, with their numbers.
    calls: Vec<(CallKey, u32)>,
    /// Bytes on their way to it.
    wire: VecDeque<u8>,
    /// Its carrier has ended.
    cut: bool,
}

struct Sessions {
    ends: [EndOf; 2],
    flights: BTreeMap<u32, Flight>,
    now: Time,
    piece: usize,
    /// An end has received bytes that its peer did not send. What it does from then on is not judged.
    junk: bool,
    opened: u32,
    sent: u8,
    log: Vec<String>,
}

/// Takes the steps with bytes that arrive in pieces of up to `piece`. Returns what both ends saw and
/// sent.
#[must_use]
pub fn run_sessions(setup: SessionSetup, steps: &[SessionStep], piece: usize) -> Vec<String> {
    let mut sessions = Sessions::new(setup, piece.max(1));
    for step in steps {
        let left_out = match step {
            SessionStep::Junk(..) => !setup.junk,
            SessionStep::Drain(..) | SessionStep::End(..) => !setup.ends,
            _ => false,
        };
        if !left_out {
            sessions.step(step);
            sessions.look();
        }
    }
    sessions.rest();
    sessions.look();
    sessions.log
}

impl Sessions {
    fn new(setup: SessionSetup, piece: usize) -> Self {
        let now = Time::from_millis(1);
        let mut config = SessionConfig::default();
        config.send_buffer = usize::from(setup.send_buffer) * 256;
        let limits = &mut config.tunnel.limits;
        limits.max_streams = u32::from(setup.max_streams % 8) + 1;
        limits.max_message = 1 << 17;
        limits.max_frame = 1 << 17;
        limits.receive_window.initial = u32::from(setup.window) + 1;
        if !setup.grow {
            limits.receive_window.growth_budget = 0;
        }
        let directions = if setup.both {
            Directions::Both
        } else {
            Directions::Forward
        };
        let ends = [PipeEnd::Opener, PipeEnd::Acceptor].map(|end| EndOf {
            session: Session::bare(now, config.clone(), end, directions)
                .unwrap_or_else(|error| fail(error)),
            calls: Vec::new(),
            wire: VecDeque::new(),
            cut: false,
        });
        Self {
            ends,
            flights: BTreeMap::new(),
            now,
            piece,
            junk: false,
            opened: 0,
            sent: 0,
            log: Vec::new(),
        }
    }

    fn pick(&self, end: usize, call: u8) -> Option<(CallKey, u32)> {
        let calls = &self.end_ref(end).calls;
        let place = usize::from(call).checked_rem(calls.len())?;
        calls.get(place).copied()
    }

    fn end_ref(&self, end: usize) -> &EndOf {
        let [first, second] = &self.ends;
        if end == 0 { first } else { second }
    }

    fn end(&mut self, end: usize) -> &mut EndOf {
        let [first, second] = &mut self.ends;
        if end == 0 { first } else { second }
    }

    fn step(&mut self, step: &SessionStep) {
        match step {
            SessionStep::Open(end, seconds) => self.open(usize::from(*end), *seconds),
            SessionStep::Accept(end) => self.accept(usize::from(*end)),
            SessionStep::Send(end, call, size) => {
                self.send(usize::from(*end), *call, usize::from(*size));
            }
            SessionStep::Receive(end, call, times) => {
                for _ in 0..*times % 16 {
                    self.receive(usize::from(*end), *call);
                }
            }
            SessionStep::Carry(to, most) => self.carry(usize::from(*to), usize::from(*most)),
            SessionStep::Rest => self.rest(),
            SessionStep::Pass(millis) => {
                let passed = Duration::from_millis(u64::from(*millis));
                self.now = self.now.saturating_add(passed);
                let now = self.now;
                for end in &mut self.ends {
                    end.session.handle_timeout(now);
                }
            }
            SessionStep::Drain(end, seconds) => {
                let (now, limit) = (self.now, Duration::from_secs(u64::from(*seconds)));
                self.end(usize::from(*end)).session.drain(now, limit);
            }
            SessionStep::End(end, clean) => {
                self.carry(usize::from(*end), usize::MAX);
                let cause = if *clean {
                    Cause::Finished
                } else {
                    Cause::Failed
                };
                let now = self.now;
                let end = self.end(usize::from(*end));
                end.cut = true;
                end.session.handle_end(now, cause);
            }
            SessionStep::Junk(to, bytes) => {
                self.junk = true;
                self.end(usize::from(*to)).wire.extend(bytes);
            }
            SessionStep::HalfClose(end, call)
            | SessionStep::Cancel(end, call)
            | SessionStep::Respond(end, call)
            | SessionStep::Close(end, call, _) => self.say(usize::from(*end), *call, step),
        }
    }

    fn open(&mut self, end: usize, seconds: Option<u8>) {
        let now = self.now;
        let left = |seconds| now.saturating_add(Duration::from_secs(u64::from(seconds)));
        let options = OpenOptions {
            deadline: seconds.map(left),
            kind: MethodKind::Unknown,
        };
        let number = self.opened;
        let metadata = OwnedMetadata::from_iter([("n", number.to_string())]);
        let opened = self.end(end).session.open("svc/method", &metadata, options);
        if let Ok(key) = opened {
            self.opened += 1;
            self.flights.insert(number, Flight::default());
            self.end(end).calls.push((key, number));
        }
    }

    fn accept(&mut self, end: usize) {
        while let Some(call) = self.end(end).session.accept() {
            let number = call.metadata.get("n").and_then(|text| {
                let text = core::str::from_utf8(text).ok()?;
                text.parse().ok()
            });
            match number {
                Some(number) => self.end(end).calls.push((call.key, number)),
                None if self.junk => {}
                None => fail(format_args!("a call without its metadata: {call:?}")),
            }
        }
    }

    fn send(&mut self, end: usize, call: u8, size: usize) {
        let Some((key, number)) = self.pick(end, call) else {
            return;
        };
        // Small ones wait behind each other.
        let size = if size.is_multiple_of(3) {
            size
        } else {
            size % 256
        };
        let byte = self.sent;
        let message = vec![byte; size];
        let session = &mut self.end(end).session;
        let room = session.may_send(key);
        let taken = session.send(key, &message);
        if (taken.is_ok() && !room) || (taken == Err(SendError::Full) && room) {
            fail(format_args!("room: {room}, and {taken:?}"));
        }
        if taken.is_ok() {
            self.sent = self.sent.wrapping_add(1);
            let flight = self.flights.entry(number).or_default();
            match key.side() {
                Side::Client => flight.up.push_back((byte, size)),
                Side::Server => flight.down.push_back((byte, size)),
            }
        }
    }

    fn say(&mut self, end: usize, call: u8, step: &SessionStep) {
        let Some((key, _)) = self.pick(end, call) else {
            return;
        };
        let session = &mut self.end(end).session;
        let gone = match step {
            SessionStep::HalfClose(..) => {
                let _ = session.half_close(key);
                false
            }
            SessionStep::Cancel(..) => session.cancel(key).is_ok(),
            SessionStep::Close(_, _, code) => {
                let mut status = OwnedStatus::OK;
                // Every second one is OK.
                status.code = i32::from((*code % 34).saturating_sub(17));
                key.side() == Side::Server && session.close(key, &status).is_ok()
            }
            _ => {
                let _ = session.respond(key, &OwnedMetadata::new());
                false
            }
        };
        if gone {
            self.end(end).calls.retain(|(other, _)| *other != key);
        }
    }

    fn receive(&mut self, end: usize, call: u8) -> bool {
        let Some((key, number)) = self.pick(end, call) else {
            return false;
        };
        let Some(received) = self.end(end).session.recv(key) else {
            return false;
        };
        let flight = self.flights.entry(number).or_default();
        let flying = match key.side() {
            Side::Client => &mut flight.down,
            Side::Server => &mut flight.up,
        };
        match &received {
            Received::Message(message) => {
                let expected = flying.pop_front();
                let same = expected.is_some_and(|(byte, size)| {
                    message.len() == size && message.iter().all(|other| *other == byte)
                });
                if !same && !self.junk {
                    fail(format_args!("{} bytes, not {expected:?}", message.len()));
                }
            }
            Received::HalfClosed if !flying.is_empty() && !self.junk => {
                fail("a half-close ahead of messages");
            }
            Received::Ended(end) => {
                if end.status.is_ok() && !flying.is_empty() && !self.junk {
                    fail("OK ahead of messages");
                }
                self.judge(end);
            }
            _ => {}
        }
        let size = match &received {
            Received::Message(message) => message.len(),
            _ => 0,
        };
        if let Received::Ended(_) = received {
            self.end(end).calls.retain(|(other, _)| *other != key);
        }
        let what = match &received {
            Received::Headers(_) => "headers",
            Received::Message(_) => "message",
            Received::HalfClosed => "half-close",
            _ => "end",
        };
        self.log.push(format!("{end} {number} {what} {size}"));
        true
    }

    /// Whether an end accuses the other.
    fn judge(&self, end: &CallEnd) {
        if !self.junk
            && let Some(reason) = end.reason
            && !is_honest(reason)
        {
            fail(format_args!("a call was ended by {reason:?}"));
        }
    }

    /// Bytes arrive, and the end's response is put on the wire.
    fn carry(&mut self, to: usize, most: usize) {
        let (now, piece) = (self.now, self.piece);
        let from = &mut self.end(1 - to);
        let mut out = Vec::new();
        while !from.cut && from.session.poll_bytes(now, &mut out) > 0 {}
        let end = self.end(to);
        if end.cut {
            end.wire.clear();
            return;
        }
        end.wire.extend(&out);
        let len = most.min(end.wire.len());
        let arrived: Vec<u8> = end.wire.drain(..len).collect();
        for piece in arrived.chunks(piece) {
            let _ = end.session.handle_bytes(now, piece);
        }
        let hash = arrived.iter().fold(len, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        self.log.push(format!("to {to}: {len} bytes, {hash:x}"));
    }

    /// Everything arrives, and is read.
    fn rest(&mut self) {
        // Each round moves a byte at least, if the window is as small as that.
        let flying = self
            .flights
            .values()
            .flat_map(|flight| flight.up.iter().chain(&flight.down));
        let bytes: usize = flying.map(|(_, size)| size).sum();
        for _ in 0..10_000 + 2 * bytes {
            let before = self.log.len();
            for end in [0, 1] {
                let waits = !self.end(end).wire.is_empty()
                    || self.end_ref(1 - end).session.wants_transmit();
                if waits && !self.end(end).cut && !self.end(1 - end).cut {
                    self.carry(end, usize::MAX);
                }
                self.accept(end);
                for call in 0..self.end(end).calls.len() {
                    while self.receive(end, u8::try_from(call).unwrap_or(0)) {}
                }
            }
            if self.log.len() == before {
                return;
            }
        }
        if !self.junk {
            fail("the sessions do not come to rest");
        }
    }

    /// What must always hold.
    fn look(&mut self) {
        for end in [0, 1] {
            while let Some(event) = self.end(end).session.poll_event() {
                if !matches!(event, SessionEvent::Readable(_) | SessionEvent::Writable(_)) {
                    self.log.push(format!("{end} {event:?}"));
                }
            }
            let (junk, end) = (self.junk, self.end(end));
            let (memory, bound) = (end.session.memory(), end.session.memory_bound());
            if memory as u64 > bound {
                fail(format_args!("{memory} bytes of memory, above {bound}"));
            }
            if let Some(error) = end.session.error()
                && !junk
                && !is_honest(error.reason().into())
            {
                fail(format_args!("a session was ended by {error}"));
            }
        }
    }
}

/// Whether two ends of ours may end calls or tunnels for this reason.
const fn is_honest(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Stream(
            StreamReason::Cancelled
                | StreamReason::DeadlineExceeded
                | StreamReason::HandlerGone
                | StreamReason::ShuttingDown
                | StreamReason::TooManyStreams
                | StreamReason::ReceiveBufferFull
                | StreamReason::Truncated
        ) | Reason::Tunnel(
            TunnelReason::PeerDraining
                | TunnelReason::SettingsTimeout
                | TunnelReason::CarrierFinished
                | TunnelReason::CarrierFailed
                | TunnelReason::FrameTruncated
                | TunnelReason::Unresponsive
                | TunnelReason::DrainLimit
                | TunnelReason::GraceExpired
                | TunnelReason::Aborted
        )
    )
}
