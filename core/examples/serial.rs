//! Calls over a serial line of 9,600 baud, simulated by a clock: no allocator is used, the receive
//! window is smaller than a chunk that others send, and windows do not grow.
//!
//! ```sh
//! cargo run -p grpctunnel-core --example serial
//! ```
//!
//! A byte takes ten bits on the line. Each end hands its line one frame and polls the next when that
//! has left, so that what is urgent never waits behind more than one frame. The line stays idle for two
//! minutes between the calls, in which the client asks whether the server lives.

use std::error::Error;
use std::time::Duration;

use grpctunnel_core::receive_buffer::{FixedStore, Gathered, Gatherer, ReceiveBuffer};
use grpctunnel_core::wire::{self, Encoded, FixedAssembler, HeadOptions, PREFIX_LEN, StatusHead};
use grpctunnel_core::{
    Carrier, Cause, Client, Config, Envelope, Event, Fixed, Input, Key, MethodKind, Negotiation,
    OpenOptions, Opening, Part, Role, Server, Time, Tunnel, boundary_bytes, frame_bytes,
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How long a byte takes, at ten bits each.
const BYTE: Duration = Duration::from_nanos(1_000_000_000 * 10 / 9_600);
const STREAMS: usize = 2;
const WINDOW: usize = 256;
const FRAME: usize = frame_bytes(WINDOW);
/// Eight windows.
const MESSAGE: usize = 2_000;
const METHOD: &str = "device.Log/Mirror";

/// One direction: the frame that is on it.
#[derive(Default)]
struct Line {
    frame: heapless::Vec<u8, { FRAME + PREFIX_LEN }>,
    sent: usize,
    /// When its next byte has arrived.
    due: Option<Time>,
    longest: usize,
    /// Its sender has no more.
    finished: bool,
}

impl Line {
    fn arrived(&mut self, now: Time) -> Option<u8> {
        self.due.filter(|due| *due <= now)?;
        let byte = self.frame.get(self.sent).copied();
        self.sent += 1;
        self.due = (self.sent < self.frame.len()).then(|| now.saturating_add(BYTE));
        byte
    }

    /// Puts the next frame of `end` on the line, once the last one has left.
    fn send<R: Role>(&mut self, now: Time, end: &mut End<R>) -> Outcome {
        if self.due.is_some() {
            return Ok(());
        }
        self.frame.clear();
        if let Some(transmit) = end.tunnel.poll_transmit(now) {
            transmit.write_to(&mut self.frame, |_, part| match part {
                Part::Open | Part::Headers => &end.head,
                Part::Message => &end.outgoing,
                Part::Close => &end.close,
            })?;
            self.longest = self.longest.max(self.frame.len() - PREFIX_LEN);
            self.sent = 0;
            self.due = Some(now.saturating_add(BYTE));
        }
        Ok(())
    }
}

/// One end, with one call at a time.
struct End<R: Role> {
    tunnel: Tunnel<R, Fixed<STREAMS, STREAMS>>,
    frames: FixedAssembler<FRAME>,
    call: Option<Key>,
    head: heapless::Vec<u8, 64>,
    outgoing: heapless::Vec<u8, MESSAGE>,
    close: heapless::Vec<u8, 64>,
    buffer: ReceiveBuffer<FixedStore<WINDOW, { boundary_bytes(WINDOW) }>, i32>,
    gatherer: Gatherer<heapless::Vec<u8, MESSAGE>>,
    message: bool,
    half_closed: bool,
    code: Option<i32>,
    /// Answers to the question whether the peer lives.
    answers: usize,
    finished: bool,
}

impl<R: Role> End<R> {
    fn new(now: Time) -> Outcome<Self> {
        let config = Config::small(STREAMS as u32, WINDOW as u32);
        Ok(Self {
            frames: FixedAssembler::fixed(config.limits.max_frame),
            tunnel: Tunnel::new(now, config, Opening::Accepted(Negotiation::On))?,
            call: None,
            head: heapless::Vec::new(),
            outgoing: heapless::Vec::new(),
            close: heapless::Vec::new(),
            buffer: ReceiveBuffer::new(),
            gatherer: Gatherer::default(),
            message: false,
            half_closed: false,
            code: None,
            answers: 0,
            finished: false,
        })
    }

    fn arrived(&mut self, now: Time, byte: u8) -> Outcome {
        let byte = [byte];
        let (_, frame) = self.frames.next(&byte)?;
        let Some(frame) = frame else {
            return Ok(());
        };
        match self.tunnel.handle_frame(now, frame.bytes)? {
            Input::Opened { stream, method, .. } if method == METHOD => self.call = Some(stream),
            Input::Data {
                bytes,
                begins,
                ends,
                discard: false,
                ..
            } => self.buffer.push(bytes, begins, ends)?,
            Input::HalfClosed { .. } => self.half_closed = true,
            Input::Ended {
                why: grpctunnel_core::End::Status { status, .. },
                unread,
                ..
            } => drop(self.buffer.finish(status.code, unread)),
            Input::Ignored => {}
            other => return Err(format!("not expected: {other:?}").into()),
        }
        self.read()
    }

    /// Takes in what has come, and gives the peer credit for it.
    fn read(&mut self) -> Outcome {
        let (moved, gathered) = self.gatherer.poll(&mut self.buffer);
        match gathered {
            Gathered::Message(_) => self.message = true,
            Gathered::Terminal(code) => self.code = Some(code),
            Gathered::TooLarge(envelope) => {
                return Err(format!("a message of {} bytes", envelope.size).into());
            }
            Gathered::Pending => {}
        }
        if let Some(call) = self.call.filter(|_| moved > 0) {
            self.tunnel.stream(call)?.consumed(moved)?;
            // There may be an end behind the message.
            return self.read();
        }
        Ok(())
    }

    fn events(&mut self) -> Outcome {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                Event::Ended { stream, .. } => self.release(stream),
                Event::RoundTrip(_) => self.answers += 1,
                Event::Carrier(Carrier::Finish) => self.finished = true,
                Event::Carrier(Carrier::Abort(error)) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn release(&mut self, call: Key) {
        // It may be gone already.
        let _ = self.tunnel.release(call);
        self.call = None;
        self.buffer = ReceiveBuffer::new();
        (self.message, self.half_closed, self.code) = (false, false, None);
    }

    fn send(&mut self, message: impl Iterator<Item = u8>) -> Outcome {
        self.outgoing.clear();
        self.outgoing.extend(message);
        let len = self.outgoing.len() as u32;
        let call = self.call.ok_or("no call")?;
        Ok(self
            .tunnel
            .stream(call)?
            .send_message(Envelope::new(len), len)?)
    }
}

impl End<Client> {
    fn open(&mut self, now: Time) -> Outcome {
        self.head.clear();
        let none = std::iter::empty();
        let head: Encoded =
            wire::encode_open(&mut self.head, METHOD, none, &HeadOptions::default())?;
        let options = OpenOptions {
            deadline: Some(now.saturating_add(Duration::from_secs(60))),
            kind: MethodKind::Unary,
        };
        let call = self.tunnel.open(now, head, options)?;
        self.call = Some(call);
        self.send((0..MESSAGE).map(|number| number as u8))?;
        Ok(self.tunnel.stream(call)?.half_close()?)
    }
}

impl End<Server> {
    /// Sends the request back the other way round, with the status OK behind it.
    fn answer(&mut self, now: Time) -> Outcome {
        let Some(call) = self.call.filter(|_| self.message && self.half_closed) else {
            return Ok(());
        };
        self.message = false;
        let request = self.gatherer.take();
        self.send(request.iter().rev().copied())?;
        self.close.clear();
        let none = std::iter::empty();
        let options = HeadOptions::default();
        let close = wire::encode_close(&mut self.close, StatusHead::default(), none, &options)?;
        Ok(self.tunnel.stream(call)?.close(now, close, None)?)
    }
}

/// Both ends, and the line between them.
struct World {
    now: Time,
    client: End<Client>,
    server: End<Server>,
    up: Line,
    down: Line,
}

impl World {
    fn step(&mut self) -> Outcome {
        let now = self.now;
        if let Some(byte) = self.up.arrived(now) {
            self.server.arrived(now, byte)?;
        }
        if let Some(byte) = self.down.arrived(now) {
            self.client.arrived(now, byte)?;
        }
        self.server.answer(now)?;
        self.client.tunnel.handle_timeout(now);
        self.server.tunnel.handle_timeout(now);
        self.up.send(now, &mut self.client)?;
        self.down.send(now, &mut self.server)?;
        self.client.events()?;
        self.server.events()?;
        // Behind the last byte the other end sees that this one has finished.
        if self.client.finished && self.up.due.is_none() && !self.up.finished {
            self.up.finished = true;
            self.server.tunnel.handle_end(now, Cause::Finished);
            self.server.events()?;
        }
        if self.server.finished && self.down.due.is_none() && !self.down.finished {
            self.down.finished = true;
            self.client.tunnel.handle_end(now, Cause::Finished);
        }
        Ok(())
    }

    /// Goes on until `done`, or until `until`.
    fn run(&mut self, until: Time, done: impl Fn(&Self) -> bool) -> Outcome {
        loop {
            self.step()?;
            if done(self) {
                return Ok(());
            }
            let timers = [
                self.up.due,
                self.down.due,
                self.client.tunnel.poll_timeout(),
                self.server.tunnel.poll_timeout(),
            ];
            let next = timers.into_iter().flatten().min();
            match next.filter(|next| *next <= until) {
                Some(next) => self.now = self.now.max(next),
                None => {
                    self.now = until;
                    return Ok(());
                }
            }
        }
    }

    /// One call, whose reply is the request the other way round.
    fn call(&mut self) -> Outcome {
        let began = self.now;
        self.client.open(began)?;
        let minute = began.saturating_add(Duration::from_secs(60));
        self.run(minute, |world| world.client.code.is_some())?;
        let reply = self.client.gatherer.message().iter().copied();
        let sent = (0..MESSAGE).rev().map(|number| number as u8);
        if self.client.code != Some(0) || !self.client.message || !reply.eq(sent) {
            return Err("another reply than the request".into());
        }
        let took = self.now.saturating_since(began).as_secs_f64();
        println!("{MESSAGE} bytes there and back in {took:.1} s");
        if let Some(call) = self.client.call {
            self.client.release(call);
        }
        Ok(())
    }
}

fn main() -> Outcome {
    let now = Time::ZERO;
    let mut world = World {
        now,
        client: End::new(now)?,
        server: End::new(now)?,
        up: Line::default(),
        down: Line::default(),
    };
    let later = |world: &World, seconds| world.now.saturating_add(Duration::from_secs(seconds));
    world.run(later(&world, 1), |world| world.client.tunnel.is_open())?;
    world.call()?;
    world.run(later(&world, 120), |_| false)?;
    world.call()?;
    world.client.tunnel.drain(world.now, Duration::from_secs(5));
    world.run(later(&world, 10), |world| {
        world.up.finished && world.down.finished
    })?;

    let longest = world.up.longest.max(world.down.longest);
    println!("the longest frame had {longest} bytes, of {FRAME} at most");
    let answers = world.client.answers;
    println!("asked on the idle line, the server answered {answers} times");
    if answers == 0 || !world.down.finished {
        return Err("the tunnel was not asked, or did not finish".into());
    }
    Ok(())
}
