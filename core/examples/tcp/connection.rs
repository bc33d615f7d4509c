//! One TCP connection with a tunnel on it: what every transport has to do for the core.
//!
//! Two threads share the pipe behind a lock. One reads the socket and feeds the pipe; the other
//! writes what the pipe has to send, and is woken by the pipe's timers. No thread holds the lock
//! while it waits for the network, and the reader never waits for the writer: two ends that both
//! only write would wait for each other for ever.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use grpctunnel_core::bare::{Directions, End, Event, Pipe};
use grpctunnel_core::wire::{Deframer, Piece};
use grpctunnel_core::{
    Body, Carrier, Cause, Config, Event as TunnelEvent, Growing, Input, Key, Part, Reason, Time,
    Transmit, TunnelError,
};

/// How something ends here.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes that are written, or read, at once.
const BATCH: usize = 64 * 1024;
/// A peer that accepts no byte for so long is gone.
const STALL: Duration = Duration::from_secs(60);

/// What lives on the tunnel: it holds the bytes, which the core only counts.
pub(crate) trait App: Send {
    /// A frame came, and means this.
    fn input(&mut self, pipe: &mut Pipe<Growing>, now: Time, input: Input<'_>);
    /// Something happened that no frame said.
    fn event(&mut self, pipe: &mut Pipe<Growing>, now: Time, event: TunnelEvent);
    /// The memory that a transmit names.
    fn part(&self, stream: Key, part: Part) -> &[u8];
}

/// What both threads, and whoever makes calls, share.
pub(crate) struct State<A> {
    /// The core.
    pub(crate) pipe: Pipe<Growing>,
    /// What lives on it.
    pub(crate) app: A,
    carrier: Option<Carrier>,
    /// The reader has ended.
    read_all: bool,
}

/// A connection.
pub(crate) struct Connection<A> {
    state: Mutex<State<A>>,
    changed: Condvar,
    socket: TcpStream,
    origin: Instant,
    max_frame: u32,
}

impl<A: App> Connection<A> {
    /// A tunnel on a connection. Both ends must mean the same by it: one is the opener, and they
    /// agree on the directions.
    pub(crate) fn new(
        socket: TcpStream,
        end: End,
        directions: Directions,
        app: A,
    ) -> Outcome<Self> {
        // Small frames must not wait for the acknowledgement of others.
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(STALL))?;
        let config = Config::default();
        let max_frame = config.limits.max_frame;
        let pipe = Pipe::new(Time::ZERO, config, end, directions)?;
        Ok(Self {
            max_frame,
            state: Mutex::new(State {
                pipe,
                app,
                carrier: None,
                read_all: false,
            }),
            changed: Condvar::new(),
            socket,
            origin: Instant::now(),
        })
    }

    /// The core's clock.
    pub(crate) fn now(&self) -> Time {
        let nanos = self.origin.elapsed().as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the tunnel as soon as it can be done: `attempt` is tried now, and again
    /// whenever something has changed.
    pub(crate) fn wait_for<T>(
        &self,
        mut attempt: impl FnMut(&mut State<A>, Time) -> Option<T>,
    ) -> T {
        let mut state = self.lock();
        loop {
            let done = attempt(&mut state, self.now());
            self.dispatch(&mut state);
            if done.is_some() || state.pipe.wants_transmit() {
                self.changed.notify_all();
            }
            match done {
                Some(done) => return done,
                None => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Takes no new calls; the connection ends when the last one has, or after `limit`.
    pub(crate) fn drain(&self, limit: Duration) {
        self.wait_for(|state, now| {
            state.pipe.drain(now, limit);
            Some(())
        });
    }

    /// Carries the tunnel until it is over.
    pub(crate) fn run(&self) -> Outcome {
        thread::scope(|scope| {
            scope.spawn(|| self.read());
            self.write()
        })
    }

    /// Hands what the core has to say to where it belongs.
    fn dispatch(&self, state: &mut State<A>) {
        while let Some(event) = state.pipe.poll_event() {
            match event {
                Event::Tunnel(_, event) => {
                    state.app.event(&mut state.pipe, self.now(), event);
                    self.changed.notify_all();
                }
                Event::Carrier(carrier) => {
                    state.carrier = Some(carrier);
                    self.changed.notify_all();
                }
            }
        }
    }

    /// The reader: bytes to frames, frames to the core.
    fn read(&self) {
        let mut frames = Frames::new(self.max_frame);
        let mut chunk = vec![0; BATCH];
        let cause = loop {
            // The core asks for this only of readers without flow control.
            self.wait_for(|state, _| {
                (state.pipe.wants_read() || state.pipe.is_ended()).then_some(())
            });
            match (&self.socket).read(&mut chunk) {
                Ok(0) => break frames.end(),
                Ok(read) => self.receive(&mut frames, chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break Err(Reason::CarrierFailed),
            }
        };
        self.wait_for(|state, now| {
            match cause {
                Ok(()) => state.pipe.handle_end(now, Cause::Finished),
                Err(Reason::CarrierFailed) => state.pipe.handle_end(now, Cause::Failed),
                Err(reason) => drop(state.pipe.abort(now, reason)),
            }
            state.read_all = true;
            Some(())
        });
    }

    fn receive(&self, frames: &mut Frames, bytes: &[u8]) {
        let mut state = self.lock();
        let State { pipe, app, .. } = &mut *state;
        let done = frames.split(bytes, |flags, frame| {
            let now = self.now();
            // An error has ended the pipe, which its events tell.
            let (_, input) = pipe.handle_frame(now, flags, frame)?;
            app.input(pipe, now, input);
            Ok(())
        });
        if let Err(reason) = done {
            pipe.abort(self.now(), reason);
        }
        self.dispatch(&mut state);
        self.changed.notify_all();
    }

    /// The writer: frames of the core to bytes, and the core's timers.
    fn write(&self) -> Outcome {
        let mut batch = Vec::with_capacity(2 * BATCH);
        loop {
            batch.clear();
            let carrier = self.next_batch(&mut batch);
            if (&self.socket).write_all(&batch).is_err() {
                self.wait_for(|state, now| {
                    drop(state.pipe.abort(now, Reason::CarrierFailed));
                    Some(())
                });
            }
            match carrier {
                None => {}
                // Our direction is over; the reader sees the end of the other one.
                Some(Carrier::Finish) => drop(self.socket.shutdown(Shutdown::Write)),
                Some(Carrier::Abort(error)) => {
                    let _ = self.socket.shutdown(Shutdown::Both);
                    return Err(error.into());
                }
            }
            let state = self.lock();
            if state.read_all && state.pipe.is_ended() && state.carrier.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to write, or something to do with the connection.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<Carrier> {
        let mut state = self.lock();
        loop {
            let now = self.now();
            state.pipe.handle_timeout(now);
            while batch.len() < BATCH {
                let Some((_, transmit)) = state.pipe.poll_transmit(now) else {
                    break;
                };
                append(batch, &state.app, &transmit);
                // A message that has left makes room for the next one.
                self.dispatch(&mut state);
            }
            self.dispatch(&mut state);
            let carrier = state.carrier.take();
            let over = state.read_all && state.pipe.is_ended();
            if carrier.is_some() || over || !batch.is_empty() {
                return carrier;
            }
            let due = state.pipe.poll_timeout().unwrap_or(Time::MAX);
            let wait = due.saturating_since(self.now());
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A frame, as it goes out.
fn append<A: App>(batch: &mut Vec<u8>, app: &A, transmit: &Transmit) {
    batch.extend_from_slice(&transmit.prefix);
    match &transmit.body {
        Body::None => {}
        Body::Static(text) => batch.extend_from_slice(text.as_bytes()),
        Body::Caller {
            stream,
            part,
            range,
        } => {
            let bytes = app.part(*stream, *part);
            let range = range.start as usize..range.end as usize;
            batch.extend_from_slice(bytes.get(range).unwrap_or_default());
        }
    }
}

/// Puts frames together from bytes.
struct Frames {
    deframer: Deframer,
    flags: u8,
    frame: Vec<u8>,
}

impl Frames {
    fn new(max: u32) -> Self {
        Self {
            deframer: Deframer::new(max),
            flags: 0,
            frame: Vec::new(),
        }
    }

    /// Hands each whole frame on, until one ends the pipe.
    fn split(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(u8, &[u8]) -> Result<(), TunnelError>,
    ) -> Result<(), Reason> {
        loop {
            let next = self.deframer.next(bytes);
            let (taken, piece) = next.map_err(|_| Reason::FrameTooLarge)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            match piece {
                None => return Ok(()),
                Some(Piece::Begin { flags, .. }) => {
                    self.flags = flags;
                    self.frame.clear();
                }
                Some(Piece::Data { bytes, ends }) => {
                    self.frame.extend_from_slice(bytes);
                    if ends {
                        take(self.flags, &self.frame).map_err(|error| error.reason())?;
                    }
                }
            }
        }
    }

    /// The bytes are at their end, which must be one between two frames.
    fn end(&self) -> Result<(), Reason> {
        match self.deframer.is_between_messages() {
            true => Ok(()),
            false => Err(Reason::FrameTruncated),
        }
    }
}
