//! A session on a TCP connection, shared by threads: one reads the socket, one writes it, any others call
//! and serve. A peer that does not read holds up the writer alone, and memory stays bounded.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use grpctunnel_core::bare::{Directions, PipeEnd};
use grpctunnel_core::session::SessionConfig;
use grpctunnel_core::{Cause, Session, Time};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A peer that accepts no byte for so long is gone.
const STALL: Duration = Duration::from_secs(60);

pub(crate) struct Connection {
    session: Mutex<Session>,
    /// Some thread has done something to the session.
    changed: Condvar,
    origin: Instant,
}

impl Connection {
    pub(crate) fn new(
        socket: TcpStream,
        end: PipeEnd,
        directions: Directions,
    ) -> Outcome<Arc<Self>> {
        // Small frames must not wait for the acknowledgement of others.
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(STALL))?;
        let session = Session::bare(Time::ZERO, SessionConfig::default(), end, directions)?;
        let connection = Arc::new(Self {
            session: Mutex::new(session),
            changed: Condvar::new(),
            origin: Instant::now(),
        });
        let (reader, source) = (Arc::clone(&connection), socket.try_clone()?);
        thread::spawn(move || reader.read(&source));
        let writer = Arc::clone(&connection);
        thread::spawn(move || writer.write(&socket));
        Ok(connection)
    }

    /// Tries something now, and again after whatever is done to the session, until it returns something.
    pub(crate) fn until<T>(&self, mut attempt: impl FnMut(&mut Session, Time) -> Option<T>) -> T {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let idle = !session.wants_transmit();
            let now = Time::ZERO.saturating_add(self.origin.elapsed());
            session.handle_timeout(now);
            let done = attempt(&mut session, now);
            // To take in part of a message gives credit, which the writer has to send.
            if done.is_some() || (idle && session.wants_transmit()) {
                self.changed.notify_all();
            }
            if let Some(done) = done {
                return done;
            }
            let timer = session.poll_timeout().unwrap_or(Time::MAX);
            let waited = self
                .changed
                .wait_timeout(session, timer.saturating_since(now));
            session = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Does something to the session now.
    pub(crate) fn act<T>(&self, mut act: impl FnMut(&mut Session, Time) -> T) -> T {
        self.until(|session, now| Some(act(session, now)))
    }

    /// Waits until the session is over. An error has ended it, or nothing is left to be done.
    pub(crate) fn closed(&self) -> Outcome {
        let error = self.until(|session, _| session.is_closed().then(|| session.error().cloned()));
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The thread that reads, while the session wants to.
    fn read(&self, mut socket: &TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.until(|session, _| session.wants_read().then_some(()));
            let read = match socket.read(&mut buffer) {
                Ok(0) => Err(Cause::Finished),
                Ok(read) => Ok(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => Err(Cause::Failed),
            };
            self.act(|session, now| match read {
                // An error has ended the session, which keeps it.
                Ok(bytes) => drop(session.handle_bytes(now, bytes)),
                Err(cause) => session.handle_end(now, cause),
            });
            if read.is_err() {
                return;
            }
        }
    }

    /// The thread that writes, until there will be nothing more.
    fn write(&self, mut socket: &TcpStream) {
        let mut batch = Vec::new();
        while self.until(|session, now| {
            let polled = session.poll_bytes(now, &mut batch) > 0;
            (polled || session.is_ended()).then_some(polled)
        }) {
            if socket.write_all(&batch).is_err() {
                self.act(|session, now| session.handle_end(now, Cause::Failed));
            }
            batch.clear();
        }
        // The reader sees the end of the peer's direction; after an error nobody waits for that.
        let failed = self.act(|session, _| session.error().is_some());
        let _ = socket.shutdown(if failed {
            Shutdown::Both
        } else {
            Shutdown::Write
        });
    }
}
