//! Calls over plain TCP: the core in a transport of one's own, with `std` and threads, no HTTP/2 and
//! nothing async.
//!
//! ```sh
//! cargo run -p grpctunnel-core --features alloc --example tcp -- serve --listen 127.0.0.1:7100
//! cargo run -p grpctunnel-core --features alloc --example tcp -- call --connect 127.0.0.1:7100 hello
//! ```
//!
//! Who opens the connection and who calls on it are two different things: with `call --listen` and
//! `serve --connect` the tunnel is a reverse one.

mod connection;
mod serve;

use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use grpctunnel_core::bare::{Directions, PipeEnd};
use grpctunnel_core::session::{CallKey, OpenCallError, OwnedMetadata, Received};
use grpctunnel_core::{OpenError, OpenOptions};

use connection::{Connection, Outcome};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["serve", way @ ("--listen" | "--connect"), address] => run(way, address, None),
        ["call", way @ ("--listen" | "--connect"), address, text] => run(way, address, Some(text)),
        _ => Err("usage: tcp serve|call --listen|--connect ADDR [TEXT]".into()),
    };
    if let Err(error) = &done {
        eprintln!("tcp: {error}");
    }
    ExitCode::from(u8::from(done.is_err()))
}

/// Calls with a text; without one, serves.
fn run(way: &str, address: &str, text: Option<&str>) -> Outcome {
    // The end that accepts a connection serves its forward tunnel, and calls on a reverse one.
    let listens = way == "--listen";
    let directions = if listens == text.is_none() {
        Directions::Forward
    } else {
        Directions::Reverse
    };
    if !listens {
        let peer = Connection::new(TcpStream::connect(address)?, PipeEnd::Opener, directions)?;
        return text.map_or_else(|| serve(&peer), |text| call(&peer, text));
    }
    let listener = TcpListener::bind(address)?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let peer = Connection::new(listener.accept()?.0, PipeEnd::Acceptor, directions)?;
        if let Some(text) = text {
            return call(&peer, text);
        }
        thread::spawn(move || match serve(&peer) {
            Ok(()) => println!("a tunnel finished"),
            Err(error) => println!("a tunnel broke: {error}"),
        });
    }
}

/// Answers calls until the connection is over.
fn serve(peer: &Connection) -> Outcome {
    while peer.until(|session, _| match session.poll_event() {
        Some(event) => {
            serve::answer(session, &event);
            Some(true)
        }
        None => session.is_closed().then_some(false),
    }) {}
    peer.closed()
}

/// One call that is answered at once, one that streams, and one that fails; then the end.
fn call(peer: &Connection, text: &str) -> Outcome {
    let unary = open(peer, "example.Echo/Echo")?;
    exchange(peer, unary, text.as_bytes())?;
    finish(peer, unary)?;
    println!("echo: {text}");

    let stream = open(peer, "example.Echo/Echo")?;
    // Several windows.
    let bulk: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
    for _ in 0..3 {
        exchange(peer, stream, &bulk)?;
    }
    finish(peer, stream)?;
    println!("streamed: {} bytes there and back", 3 * bulk.len());

    let fail = open(peer, "example.Echo/Fail")?;
    match receive(peer, fail) {
        Ok(_) => return Err("a call that was to fail did not".into()),
        Err(status) => println!("failed: {status}"),
    }
    peer.act(|session, now| session.drain(now, Duration::from_secs(5)));
    peer.closed()
}

/// The message of both methods, `google.protobuf.BytesValue`: a `bytes` field with number 1. The core
/// does not look into messages; any codec will do.
fn message(value: &[u8]) -> Vec<u8> {
    let mut message = vec![0x0a];
    let mut len = value.len();
    while len >= 0x80 {
        message.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    message.push(len as u8);
    message.extend_from_slice(value);
    message
}

/// Opens a call once the tunnel takes one. It ends at the latest after 20 s.
fn open(peer: &Connection, method: &str) -> Outcome<CallKey> {
    let opened = peer.until(|session, now| {
        let options = OpenOptions {
            deadline: Some(now.saturating_add(Duration::from_secs(20))),
            ..OpenOptions::default()
        };
        match session.open(method, &OwnedMetadata::new(), options) {
            Err(OpenCallError::Tunnel(OpenError::NotSettled | OpenError::Full)) => None,
            opened => Some(opened),
        }
    });
    Ok(opened?)
}

/// Sends a message once there is room, and waits for the same one to come back.
fn exchange(peer: &Connection, call: CallKey, value: &[u8]) -> Outcome {
    let message = message(value);
    peer.until(|session, _| {
        // Where the call is over, what is received tells how.
        session.may_send(call).then(|| {
            let _ = session.send(call, &message);
        })
    });
    match receive(peer, call)? {
        Some(reply) if reply == message => Ok(()),
        _ => Err("another reply than the request, or none".into()),
    }
}

/// Half-closes a call, which is to end without a further message.
fn finish(peer: &Connection, call: CallKey) -> Outcome {
    peer.act(|session, _| session.half_close(call))?;
    match receive(peer, call)? {
        Some(_) => Err("more replies than requests".into()),
        None => Ok(()),
    }
}

/// The next message; `None` when the call has ended with OK. Another status is an error.
fn receive(peer: &Connection, call: CallKey) -> Outcome<Option<Vec<u8>>> {
    peer.until(|session, _| {
        // They say when to try again, which is done at every change.
        while session.poll_event().is_some() {}
        loop {
            return Some(match session.recv(call)? {
                Received::Message(message) => Ok(Some(message)),
                Received::Ended(end) if end.status.is_ok() => Ok(None),
                Received::Ended(end) => Err(end.status.into()),
                // Headers, which nobody asks for.
                _ => continue,
            });
        }
    })
}
