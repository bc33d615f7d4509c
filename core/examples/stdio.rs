//! A server on standard input and output: it answers as the example `tcp` does, to whoever started it
//! and opened a tunnel on its pipes. `.ci/wasm` puts a client in WebAssembly at the other end.

#[path = "tcp/serve.rs"]
mod serve;

use std::error::Error;
use std::io::{Read as _, Write as _, stdin, stdout};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use grpctunnel_core::bare::{Directions, PipeEnd};
use grpctunnel_core::session::{SessionConfig, SessionEvent};
use grpctunnel_core::{Carrier, Cause, Session, Time};

fn main() -> Result<(), Box<dyn Error>> {
    let (chunks, arrived) = channel();
    // A read cannot be given up, so it has a thread of its own. The end is an empty chunk.
    thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(read) = stdin().read(&mut chunk) {
            let bytes = chunk.get(..read).unwrap_or_default().to_vec();
            if chunks.send(bytes).is_err() || read == 0 {
                break;
            }
        }
    });
    let origin = Instant::now();
    let now = || Time::ZERO.saturating_add(origin.elapsed());
    let config = SessionConfig::default();
    let mut session = Session::bare(Time::ZERO, config, PipeEnd::Acceptor, Directions::Forward)?;
    let mut out = Vec::new();
    loop {
        while let Some(event) = session.poll_event() {
            match event {
                SessionEvent::Carrier(Carrier::Abort(error)) => return Err(error.into()),
                SessionEvent::Carrier(Carrier::Finish) => return Ok(()),
                event => serve::answer(&mut session, &event),
            }
        }
        while session.poll_bytes(now(), &mut out) > 0 {
            stdout().write_all(&out)?;
            stdout().flush()?;
            out.clear();
        }
        let timer = session.poll_timeout().unwrap_or(Time::MAX);
        match arrived.recv_timeout(timer.saturating_since(now())) {
            // An error has ended the session, whose last event says so.
            Ok(bytes) if !bytes.is_empty() => drop(session.handle_bytes(now(), &bytes)),
            Ok(_) => session.handle_end(now(), Cause::Finished),
            Err(RecvTimeoutError::Timeout) => session.handle_timeout(now()),
            Err(RecvTimeoutError::Disconnected) => session.handle_end(now(), Cause::Failed),
        }
    }
}
