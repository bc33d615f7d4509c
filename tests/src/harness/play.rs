//! Drives a pair by steps, while the model and the validator watch.

mod finish;

use core::time::Duration;

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{CommandError, Hold, MethodKind, OpenOptions, Side};

use super::fail;
use super::model::{Call, Model, entries, headers, message};
use super::op::{At, Kind, Op};
use super::pair::{Pair, Setup};
use super::seen::Seen;
use super::sent::Status;
use super::store::Store;

/// Sets up a pair, takes the steps, and then lets everybody do what is to be done: every call
/// must finish, and nothing must be left.
///
/// Returns a digest of all frames: the same steps give the same frames, whatever the memory.
#[must_use]
pub fn run<S: Store>(setup: Setup, ops: &[Op]) -> u64 {
    let mut play = Play::<S>::new(setup);
    for op in ops {
        play.step(*op);
    }
    play.finish();
    play.digest()
}

const fn side(at: At) -> Side {
    match at {
        At::Client => Side::Client,
        At::Server => Side::Server,
    }
}

const fn tenths(tenths: u8) -> Duration {
    Duration::from_millis(100 * tenths as u64)
}

/// A pair, with the model and the validator that watch it.
pub struct Play<S: Store> {
    pair: Pair<S>,
    model: Model,
    /// Messages are held to this size, so that small windows do not take too long.
    most: usize,
    max_streams: usize,
}

impl<S: Store> Play<S> {
    /// A pair that has just been set up.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let (client, server) = setup.windows;
        let window = client.bytes().min(server.bytes()) as usize;
        let mut play = Self {
            pair: Pair::new(setup),
            model: Model::default(),
            most: window * 40,
            max_streams: usize::from(setup.max_streams.clamp(1, 32)),
        };
        play.observe();
        play
    }

    /// A digest of all frames that were sent so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.pair.digest()
    }

    /// Takes note of everything that was seen.
    fn observe(&mut self) {
        let now = self.pair.now();
        for (side, seen) in self.pair.observe() {
            if let (Side::Server, Seen::Opened { call, method, .. }) = (side, &seen) {
                self.tell_kind(*call, method);
            }
            self.model.see(now, side, &seen);
        }
        let streams = self.pair.server.tunnel.streams();
        self.model.server_was_full |= streams >= self.max_streams;
    }

    /// The server's application knows its methods.
    fn tell_kind(&mut self, id: i64, method: &str) {
        let position = method
            .strip_prefix("svc/")
            .and_then(|name| name.parse().ok());
        let call = position.and_then(|position: usize| self.model.calls.get(position));
        if let Some(call) = call
            && self.pair.server.over(id).is_none()
        {
            self.pair.server.set_kind(id, call.kind);
        }
    }

    /// Chooses one of the calls that an end has.
    fn choose(&self, at: Side, call: u8) -> Option<(usize, i64)> {
        let calls: Vec<i64> = match at {
            Side::Client => self.pair.client.calls().collect(),
            Side::Server => self.pair.server.calls().collect(),
        };
        let number = *calls.get(usize::from(call).checked_rem(calls.len())?)?;
        Some((self.model.position(at, number), number))
    }

    fn call(&mut self, position: usize) -> &mut Call {
        let call = self.model.calls.get_mut(position);
        call.unwrap_or_else(|| fail("a position is one of a call"))
    }

    /// Takes one step.
    pub fn step(&mut self, op: Op) {
        match op {
            Op::Open {
                kind,
                deadline,
                headers,
            } => self.open(kind, deadline, headers),
            Op::Send {
                at,
                call,
                size,
                ready,
            } => self.send(side(at), call, size, ready),
            Op::Provide { at, call, bytes } => self.provide(side(at), call, usize::from(bytes)),
            Op::HalfClose { call } => self.half_close(call),
            Op::Cancel { call } => self.cancel(call),
            Op::Respond { call, headers } => self.respond(call, headers),
            Op::Close { call, code, hold } => self.close(call, code, hold),
            Op::Read { at, call, bytes } => {
                if let Some((_, number)) = self.choose(side(at), call) {
                    self.read(side(at), number, usize::from(bytes));
                }
            }
            Op::StopReading { at, call } => self.stop_reading(side(at), call),
            Op::Release { at, call } => {
                if let Some((_, number)) = self.choose(side(at), call) {
                    self.release(side(at), number);
                }
            }
            Op::Transmit { at, frames } => {
                for _ in 0..=frames {
                    self.pair.transmit(side(at));
                }
            }
            Op::Deliver { at, frames } => {
                for _ in 0..=frames {
                    self.deliver(side(at));
                }
            }
            Op::Advance { tenths: time } => self.pair.advance(tenths(time)),
            Op::Drain { at, tenths: limit } => self.drain(side(at), tenths(limit)),
            Op::Cut => {
                self.model.cut = true;
                self.pair.cut();
            }
        }
        self.observe();
    }

    fn deliver(&mut self, to: Side) -> bool {
        let moved = self.pair.deliver(to);
        // The kind is told right after the call came in.
        self.observe();
        moved
    }

    fn open(&mut self, kind: Kind, deadline: Option<u8>, count: u8) {
        let kind = match kind {
            Kind::Unknown => MethodKind::Unknown,
            Kind::Unary => MethodKind::Unary,
            Kind::ClientStreaming => MethodKind::ClientStreaming,
            Kind::ServerStreaming => MethodKind::ServerStreaming,
            Kind::Bidi => MethodKind::Bidi,
        };
        let now = self.pair.now();
        let deadline = deadline.map(|time| now.saturating_add(tenths(time)));
        let position = self.model.calls.len();
        let entries = entries(count);
        let options = OpenOptions { deadline, kind };
        let method = format!("svc/{position}");
        let opened = self.pair.client.open(now, &method, &entries, options);
        if let Ok(number) = opened {
            let call = Call::new(kind, deadline, headers(&entries));
            self.model.calls.push(call);
            assert_eq!(self.model.position(Side::Client, number), position);
        }
    }

    fn send(&mut self, at: Side, call: u8, size: u16, ready: u16) {
        let Some((position, number)) = self.choose(at, call) else {
            return;
        };
        let size = usize::from(size) % (self.most + 1);
        let ready = usize::from(ready) % (size + 1);
        self.send_message(at, position, number, size, ready);
    }

    fn send_message(&mut self, at: Side, position: usize, number: i64, size: usize, ready: usize) {
        let expected = self.call(position).may_send(at);
        let index = self.call(position).end(at).sent.len();
        let bytes = message(at, position, index, size);
        let result = match at {
            Side::Client => self.pair.client.send(number, bytes, ready),
            Side::Server => self.pair.server.send(number, bytes, ready),
        };
        assert_eq!(result, expected, "send {size}");
        if result.is_ok() {
            let end = self.call(position).end(at);
            end.sent.push(size);
            end.whole = size == ready;
        }
    }

    fn provide(&mut self, at: Side, call: u8, bytes: usize) {
        if let Some((position, number)) = self.choose(at, call) {
            self.provide_bytes(at, position, number, bytes);
        }
    }

    fn provide_bytes(&mut self, at: Side, position: usize, number: i64, bytes: usize) {
        let expected = self.call(position).may_provide(at);
        let (result, rest) = match at {
            Side::Client => {
                let result = self.pair.client.provide(number, bytes);
                (result, self.pair.client.unprovided(number))
            }
            Side::Server => {
                let result = self.pair.server.provide(number, bytes);
                (result, self.pair.server.unprovided(number))
            }
        };
        assert_eq!(result, expected, "provide");
        if result.is_ok() {
            self.call(position).end(at).whole = rest == 0;
        }
    }

    fn half_close(&mut self, call: u8) {
        if let Some((position, number)) = self.choose(Side::Client, call) {
            let result = self.pair.client.half_close(number);
            let call = self.call(position);
            assert_eq!(result, call.may_half_close(), "half-close");
            call.half_closed |= result.is_ok();
        }
    }

    fn cancel(&mut self, call: u8) {
        if let Some((position, number)) = self.choose(Side::Client, call) {
            let result = self.pair.client.cancel(number);
            let call = self.call(position);
            assert_eq!(result, call.may_cancel(), "cancel");
            call.cancelled |= result.is_ok();
        }
    }

    fn respond(&mut self, call: u8, count: u8) {
        if let Some((position, number)) = self.choose(Side::Server, call) {
            let entries = entries(count);
            let result = self.pair.server.respond(number, &entries);
            let call = self.call(position);
            assert_eq!(result, call.may_respond(), "respond");
            if result.is_ok() {
                call.response_headers = Some(headers(&entries));
            }
        }
    }

    fn close(&mut self, call: u8, code: u8, hold: Option<u8>) {
        if let Some((position, number)) = self.choose(Side::Server, call) {
            let hold = hold.map_or(Hold::Never, |time| Hold::UntilHalfClose {
                max: tenths(time),
            });
            self.close_call(position, number, i32::from(code % 17), hold);
        }
    }

    fn close_call(&mut self, position: usize, number: i64, code: i32, hold: Hold) {
        let text = if code == 0 { "" } else { "Grund" };
        let status = StatusHead {
            code,
            message: text,
            details: &[],
        };
        let trailers = entries(u8::try_from(code).unwrap_or(0));
        let now = self.pair.now();
        // A timer that is due runs first, and may end the call.
        let timer = self.pair.server.tunnel.poll_timeout();
        let due = timer.is_some_and(|time| time <= now);
        let result = self.pair.server.close(now, number, status, &trailers, hold);
        if due && result == Err(CommandError::Gone) {
            return;
        }
        let call = self.call(position);
        assert_eq!(result, call.may_close(code == 0), "close");
        if result.is_ok() {
            let status = Status {
                code,
                message: text.to_owned(),
                details: Vec::new(),
            };
            call.closed = Some((status, headers(&trailers)));
        }
    }

    fn stop_reading(&mut self, at: Side, call: u8) {
        let Some((position, number)) = self.choose(at, call) else {
            return;
        };
        match at {
            Side::Client => self.pair.client.stop_reading(number),
            Side::Server => self.pair.server.stop_reading(number),
        }
        self.call(position).end(at).stopped = true;
    }

    fn release(&mut self, at: Side, number: i64) {
        let position = self.model.position(at, number);
        self.call(position).end(at).released = true;
        match at {
            Side::Client => self.pair.client.release(number),
            Side::Server => self.pair.server.release(number),
        }
        self.observe();
    }

    /// A reader that is gone, or whose handle is, reads no more.
    fn read(&mut self, at: Side, number: i64, max: usize) -> bool {
        let position = self.model.position(at, number);
        let end = self.call(position).end(at);
        if end.stopped || end.released {
            return false;
        }
        let read = match at {
            Side::Client => self.pair.client.read(number, max),
            Side::Server => self.pair.server.read(number, max),
        };
        self.observe();
        read
    }

    fn drain(&mut self, at: Side, limit: Duration) {
        let now = self.pair.now();
        let end = match at {
            Side::Client => {
                self.pair.client.drain(now, limit);
                &mut self.model.client
            }
            Side::Server => {
                self.pair.server.drain(now, limit);
                &mut self.model.server
            }
        };
        let until = now.saturating_add(limit);
        end.drains = true;
        end.drain_limit = Some(end.drain_limit.map_or(until, |before| before.min(until)));
    }
}
