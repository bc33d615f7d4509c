//! A tunnel client as a WebAssembly module: it makes two calls on a carrier that its host has.
//!
//! The host (`host.mjs` is one, in Node) puts received bytes where [`input`] says and calls
//! [`receive`], writes what [`output`] has, and calls again when [`timeout`] says so. It tells the
//! time, in milliseconds.

use std::sync::{Mutex, PoisonError};

use grpctunnel_core::bare::{Directions, PipeEnd};
use grpctunnel_core::session::{CallKey, OwnedMetadata, Received, SessionConfig, SessionEvent};
use grpctunnel_core::{Cause, OpenOptions, Session, Time};

/// Bytes that the calls send, and get back: a few, and several windows.
const SENT: [usize; 2] = [10, 300_000];
const RUNNING: i32 = 0;
const DONE: i32 = 1;
const FAILED: i32 = 2;

struct Client {
    session: Session,
    calls: [Option<CallKey>; SENT.len()],
    /// Calls that have ended as they should.
    done: usize,
    failed: bool,
    input: Vec<u8>,
    output: Vec<u8>,
}

static CLIENT: Mutex<Option<Client>> = Mutex::new(None);

fn with<T>(now: f64, act: impl FnOnce(&mut Client, Time) -> T) -> T {
    let now = Time::from_millis(now as u64);
    let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
    let client = client.get_or_insert_with(|| {
        let (config, forward) = (SessionConfig::default(), Directions::Forward);
        Client {
            session: Session::bare(now, config, PipeEnd::Opener, forward)
                .expect("its own defaults"),
            calls: [None; SENT.len()],
            done: 0,
            failed: false,
            input: Vec::new(),
            output: Vec::new(),
        }
    });
    act(client, now)
}

impl Client {
    /// Does all that can be done now.
    fn work(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::MayOpen => self.open(),
                SessionEvent::Readable(key) => self.read(key),
                _ => {}
            }
        }
        self.failed |= self.session.error().is_some();
    }

    fn open(&mut self) {
        for (call, len) in self.calls.iter_mut().zip(SENT) {
            let none = OwnedMetadata::new();
            let opened = self
                .session
                .open("example.Echo/Echo", &none, OpenOptions::default());
            let sent = opened.is_ok_and(|key| {
                *call = Some(key);
                self.session.send(key, &vec![7; len]).is_ok()
                    && self.session.half_close(key).is_ok()
            });
            self.failed |= !sent;
        }
    }

    fn read(&mut self, key: CallKey) {
        let place = self.calls.iter().position(|call| *call == Some(key));
        let sent = place.and_then(|place| SENT.get(place));
        while let Some(received) = self.session.recv(key) {
            match received {
                Received::Message(message) => {
                    self.failed |= sent.map(|len| vec![7; *len]) != Some(message)
                }
                Received::Ended(end) if end.status.is_ok() => self.done += 1,
                Received::Ended(_) => self.failed = true,
                _ => {}
            }
        }
    }
}

/// Room for `len` bytes that were received.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the host calls it by its name")]
pub extern "C" fn input(len: usize) -> *mut u8 {
    with(0.0, |client, _| {
        client.input.resize(len, 0);
        client.input.as_mut_ptr()
    })
}

/// Takes in the bytes that were put there.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the host calls it by its name")]
pub extern "C" fn receive(now: f64) {
    with(now, |client, now| {
        let input = std::mem::take(&mut client.input);
        client.failed |= client.session.handle_bytes(now, &input).is_err();
        client.input = input;
    });
}

/// The carrier has ended.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the host calls it by its name")]
pub extern "C" fn end(now: f64) {
    with(now, |client, now| {
        client.session.handle_end(now, Cause::Finished)
    });
}

/// How many bytes are to be written.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the host calls it by its name")]
pub extern "C" fn output(now: f64) -> usize {
    with(now, |client, now| {
        client.session.handle_timeout(now);
        client.work();
        client.output.clear();
        client.session.poll_bytes(now, &mut client.output)
    })
}

/// Where they are, until the next call of `output`.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the host calls it by its name")]
pub extern "C" fn output_at() -> *const u8 {
    with(0.0, |client, _| client.output.as_ptr())
}

/// In how many milliseconds `output` is to be called at the latest; below zero: never.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the host calls it by its name")]
pub extern "C" fn timeout(now: f64) -> f64 {
    with(now, |client, now| match client.session.poll_timeout() {
        Some(time) => time.saturating_since(now).as_secs_f64() * 1_000.0,
        None => -1.0,
    })
}

/// 0: calls are open; 1: all ended as they should; 2: something failed.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the host calls it by its name")]
pub extern "C" fn state() -> i32 {
    with(0.0, |client, _| match client.done {
        _ if client.failed => FAILED,
        done if done == SENT.len() => DONE,
        _ => RUNNING,
    })
}
