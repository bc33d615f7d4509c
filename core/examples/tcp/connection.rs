//! A session on a TCP connection: one thread reads the socket, another writes it and runs the timers,
//! and whoever makes or answers calls waits for a change. No thread holds the lock while it waits
//! for the network, and the reader never waits for the writer: two ends that both only write would
//! wait for each other for ever.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use grpctunnel_core::bare::{Directions, PipeEnd};
use grpctunnel_core::session::{
    CallKey, OpenCallError, OwnedMetadata, Received, SendError, SessionConfig, SessionEvent,
};
use grpctunnel_core::{Carrier, Cause, OpenError, OpenOptions, Session, Time};

/// How something ends here.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A peer that accepts no byte for so long is gone.
const STALL: Duration = Duration::from_secs(60);

/// What all threads share.
struct State {
    session: Session,
    carrier: Option<Carrier>,
}

pub(crate) struct Connection {
    state: Mutex<State>,
    changed: Condvar,
    writable: Condvar,
    socket: TcpStream,
    origin: Instant,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, end: PipeEnd, directions: Directions) -> Outcome<Self> {
        // Small frames must not wait for the acknowledgement of others.
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(STALL))?;
        let session = Session::bare(Time::ZERO, SessionConfig::default(), end, directions)?;
        let carrier = None;
        Ok(Self {
            state: Mutex::new(State { session, carrier }),
            changed: Condvar::new(),
            writable: Condvar::new(),
            socket,
            origin: Instant::now(),
        })
    }

    fn now(&self) -> Time {
        Time::ZERO.saturating_add(self.origin.elapsed())
    }

    /// Tries something now, and again whenever something has changed. The writer alone waits for
    /// timers, and is woken alone when there may be something to write.
    fn wait<T>(&self, writes: bool, mut attempt: impl FnMut(&mut State, Time) -> Option<T>) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = self.now();
            let done = attempt(&mut state, now);
            if writes || done.is_some() {
                self.changed.notify_all();
            }
            if !writes && (done.is_some() || state.session.wants_transmit()) {
                self.writable.notify_one();
            }
            if let Some(done) = done {
                return done;
            }
            let timer = state.session.poll_timeout().filter(|_| writes);
            let wait = timer.unwrap_or(Time::MAX).saturating_since(now);
            let changed = if writes {
                &self.writable
            } else {
                &self.changed
            };
            let waited = changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for<T>(&self, attempt: impl FnMut(&mut State, Time) -> Option<T>) -> T {
        self.wait(false, attempt)
    }

    /// Does something with the session at once.
    pub(crate) fn with<T>(&self, mut act: impl FnMut(&mut Session, Time) -> T) -> T {
        self.wait_for(|it, now| Some(act(&mut it.session, now)))
    }

    /// Carries the session until it is over.
    pub(crate) fn run(&self) -> Outcome {
        thread::scope(|scope| {
            scope.spawn(|| self.read());
            self.write()
        })
    }

    fn read(&self) {
        let mut chunk = vec![0; 64 * 1024];
        let cause = loop {
            self.wait_for(|it, _| (it.session.wants_read() || it.session.is_ended()).then_some(()));
            match (&self.socket).read(&mut chunk) {
                Ok(0) => break Cause::Finished,
                // An error has ended the session, whose last event says so.
                Ok(read) => drop(self.with(|session, now| {
                    session.handle_bytes(now, chunk.get(..read).unwrap_or_default())
                })),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break Cause::Failed,
            }
        };
        self.with(|session, now| session.handle_end(now, cause));
    }

    fn write(&self) -> Outcome {
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let (carrier, closed) = self.wait(true, |State { session, carrier }, now| {
                session.poll_bytes(now, &mut batch);
                let (carrier, closed) = (carrier.take(), session.is_closed());
                let something = !batch.is_empty() || carrier.is_some() || closed;
                something.then_some((carrier, closed))
            });
            if (&self.socket).write_all(&batch).is_err() {
                self.with(|session, now| session.handle_end(now, Cause::Failed));
            }
            match carrier {
                // Our direction is over; the reader sees the end of the other one.
                Some(Carrier::Finish) => drop(self.socket.shutdown(Shutdown::Write)),
                Some(Carrier::Abort(error)) => {
                    let _ = self.socket.shutdown(Shutdown::Both);
                    return Err(error.into());
                }
                None if closed => return Ok(()),
                None => {}
            }
        }
    }

    /// The next event about calls; `None` when the session is over.
    pub(crate) fn event(&self) -> Option<SessionEvent> {
        self.wait_for(|State { session, carrier }, _| {
            while let Some(event) = session.poll_event() {
                match event {
                    SessionEvent::Carrier(told) => *carrier = Some(told),
                    event => return Some(Some(event)),
                }
                self.writable.notify_one();
            }
            session.is_closed().then_some(None)
        })
    }

    /// Begins a call once the tunnel takes one. It ends at the latest after `timeout`.
    pub(crate) fn open(&self, method: &str, timeout: Duration) -> Outcome<CallKey> {
        let options = OpenOptions {
            deadline: Some(self.now().saturating_add(timeout)),
            ..OpenOptions::default()
        };
        let full = |error| matches!(error, OpenError::NotSettled | OpenError::Full);
        self.wait_for(
            |it, _| match it.session.open(method, &OwnedMetadata::new(), options) {
                Err(OpenCallError::Tunnel(error)) if full(error) => None,
                opened => Some(opened.map_err(Into::into)),
            },
        )
    }

    /// Sends a message once there is room. To a call that is over it sends nothing: `receive` says
    /// how it ended.
    pub(crate) fn send(&self, call: CallKey, message: &[u8]) -> Outcome {
        self.wait_for(|it, _| match it.session.send(call, message) {
            Err(SendError::Full) => None,
            Ok(()) | Err(SendError::Gone) => Some(Ok(())),
            Err(error) => Some(Err(error.into())),
        })
    }

    /// The next message, once it is here; `None` when the call has ended well.
    pub(crate) fn receive(&self, call: CallKey) -> Outcome<Option<Vec<u8>>> {
        self.wait_for(|it, _| {
            loop {
                return Some(match it.session.recv(call)? {
                    Received::Message(message) => Ok(Some(message)),
                    Received::Ended(end) if end.status.is_ok() => Ok(None),
                    Received::Ended(end) => Err(end.status.into()),
                    // Headers, which nobody asks for.
                    _ => continue,
                });
            }
        })
    }
}
