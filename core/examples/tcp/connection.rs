//! A session on a TCP connection, in one thread. Two more read and write the socket, each with one
//! buffer that goes back and forth: a peer that does not read holds up the writer alone, and memory
//! stays bounded.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use grpctunnel_core::bare::{Directions, PipeEnd};
use grpctunnel_core::session::SessionConfig;
use grpctunnel_core::{Cause, Session, Time};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A peer that accepts no byte for so long is gone.
const STALL: Duration = Duration::from_secs(60);
const BUFFER: usize = 64 * 1024;

/// What the two threads report.
enum Input {
    Read(Vec<u8>),
    Written(Vec<u8>),
    Ended(Cause),
}

pub(crate) struct Connection {
    session: Session,
    socket: TcpStream,
    inputs: Receiver<Input>,
    /// To each thread, with its buffer while that is here.
    reader: (Sender<Vec<u8>>, Option<Vec<u8>>),
    writer: (Sender<Vec<u8>>, Option<Vec<u8>>),
    origin: Instant,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, end: PipeEnd, directions: Directions) -> Outcome<Self> {
        // Small frames must not wait for the acknowledgement of others.
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(STALL))?;
        let (input, inputs) = channel();
        let (mut source, mut sink) = (socket.try_clone()?, socket.try_clone()?);
        let reader = spawn(input.clone(), move |buffer| read(&mut source, buffer));
        let writer = spawn(input, move |batch| write(&mut sink, batch));
        Ok(Self {
            session: Session::bare(Time::ZERO, SessionConfig::default(), end, directions)?,
            socket,
            inputs,
            reader: (reader, Some(vec![0; BUFFER])),
            writer: (writer, Some(Vec::new())),
            origin: Instant::now(),
        })
    }

    /// Tries something now, and again after whatever happens on the connection, until it returns
    /// something. It may poll the events that it has a use for.
    pub(crate) fn until<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Session, Time) -> Option<T>,
    ) -> Outcome<T> {
        loop {
            let now = Time::ZERO.saturating_add(self.origin.elapsed());
            self.session.handle_timeout(now);
            let done = attempt(&mut self.session, now);
            while self.session.poll_event().is_some() {}
            self.transmit(now);
            if let Some(done) = done {
                return Ok(done);
            }
            if let Some(error) = self.session.error() {
                return Err(error.clone().into());
            }
            self.receive(now);
        }
    }

    /// Hands the writer the next batch, once it has written the last one.
    fn transmit(&mut self, now: Time) {
        let Some(mut batch) = self.writer.1.take() else {
            return;
        };
        batch.clear();
        if self.session.poll_bytes(now, &mut batch) > 0 {
            let _ = self.writer.0.send(batch);
            return;
        }
        self.writer.1 = Some(batch);
        if self.session.is_ended() {
            // Our direction is over; the reader sees the end of the other one.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// Waits for one input, at the longest until the next timer.
    fn receive(&mut self, now: Time) {
        if let Some(buffer) = self.reader.1.take_if(|_| self.session.wants_read()) {
            let _ = self.reader.0.send(buffer);
        }
        let timer = self.session.poll_timeout().unwrap_or(Time::MAX);
        let input = self.inputs.recv_timeout(timer.saturating_since(now));
        let now = Time::ZERO.saturating_add(self.origin.elapsed());
        match input {
            Ok(Input::Read(bytes)) => {
                // An error has ended the session, which keeps it.
                let _ = self.session.handle_bytes(now, &bytes);
                self.reader.1 = Some(bytes);
            }
            Ok(Input::Written(batch)) => self.writer.1 = Some(batch),
            Ok(Input::Ended(cause)) => self.session.handle_end(now, cause),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.session.handle_end(now, Cause::Failed),
        }
    }
}

/// Ends both threads.
impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A thread that does one thing with each buffer that it is handed.
fn spawn(
    inputs: Sender<Input>,
    mut step: impl FnMut(Vec<u8>) -> Input + Send + 'static,
) -> Sender<Vec<u8>> {
    let (buffers, handed) = channel();
    thread::spawn(move || {
        for buffer in handed {
            let _ = inputs.send(step(buffer));
        }
    });
    buffers
}

fn read(socket: &mut TcpStream, mut buffer: Vec<u8>) -> Input {
    buffer.resize(BUFFER, 0);
    match socket.read(&mut buffer) {
        Ok(0) => return Input::Ended(Cause::Finished),
        Ok(read) => buffer.truncate(read),
        Err(error) if error.kind() == ErrorKind::Interrupted => buffer.clear(),
        Err(_) => return Input::Ended(Cause::Failed),
    }
    Input::Read(buffer)
}

fn write(socket: &mut TcpStream, batch: Vec<u8>) -> Input {
    match socket.write_all(&batch) {
        Ok(()) => Input::Written(batch),
        Err(_) => Input::Ended(Cause::Failed),
    }
}
