//! Calls over plain TCP: the core embedded in a transport of one's own, with `std` and threads, no
//! HTTP/2 and nothing async.
//!
//! ```sh
//! cargo run -p grpctunnel-core --features alloc --example tcp -- serve --listen 127.0.0.1:7100
//! cargo run -p grpctunnel-core --features alloc --example tcp -- call --connect 127.0.0.1:7100 hello
//! ```
//!
//! Who opens the connection and who calls on it are two different things. These two use a reverse
//! tunnel, because the end that opened the connection is the one that serves:
//!
//! ```sh
//! cargo run -p grpctunnel-core --features alloc --example tcp -- call --listen 127.0.0.1:7100 hello
//! cargo run -p grpctunnel-core --features alloc --example tcp -- serve --connect 127.0.0.1:7100
//! ```
//!
//! - `connection.rs` carries a session, and makes calls in functions that wait.
//! - `serve.rs` answers calls.

mod connection;
mod message;
mod serve;

use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use grpctunnel_core::bare::{Directions, PipeEnd};

use connection::{Connection, Outcome};
use serve::Echo;

const USAGE: &str = "usage: tcp serve|call --listen|--connect ADDR [TEXT]";
/// Bytes that are streamed: several windows.
const BULK: usize = 300_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["serve", "--listen", address] => serve_all(address),
        ["serve", "--connect", address] => serve(address),
        ["call", way @ ("--listen" | "--connect"), address] => call(way, address, "hello"),
        ["call", way @ ("--listen" | "--connect"), address, text] => call(way, address, text),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tcp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says where the first peer may come to.
fn listen(address: &str) -> Outcome<TcpListener> {
    let listener = TcpListener::bind(address)?;
    println!("listening {}", listener.local_addr()?);
    Ok(listener)
}

/// Serves everybody who connects: a forward tunnel each.
fn serve_all(address: &str) -> Outcome {
    let listener = listen(address)?;
    for socket in listener.incoming() {
        let socket = socket?;
        thread::spawn(
            move || match serve_on(socket, PipeEnd::Acceptor, Directions::Forward) {
                Ok(()) => println!("a tunnel finished"),
                Err(error) => println!("a tunnel broke: {error}"),
            },
        );
    }
    Ok(())
}

/// Opens a connection and serves on it: a reverse tunnel.
fn serve(address: &str) -> Outcome {
    serve_on(
        TcpStream::connect(address)?,
        PipeEnd::Opener,
        Directions::Reverse,
    )
}

fn serve_on(socket: TcpStream, end: PipeEnd, directions: Directions) -> Outcome {
    let connection = Connection::new(socket, end, directions)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut echo = Echo::default();
            while let Some(event) = connection.event() {
                connection.with(|session, _| echo.event(session, &event));
            }
        });
        connection.run()
    })
}

/// Calls over one connection, and ends it.
fn call(way: &str, address: &str, text: &str) -> Outcome {
    let (socket, end, directions) = match way {
        "--listen" => {
            let (socket, _) = listen(address)?.accept()?;
            (socket, PipeEnd::Acceptor, Directions::Reverse)
        }
        _ => {
            let socket = TcpStream::connect(address)?;
            (socket, PipeEnd::Opener, Directions::Forward)
        }
    };
    let connection = Connection::new(socket, end, directions)?;
    thread::scope(|scope| {
        let carrier = scope.spawn(|| connection.run());
        // What happens wakes whoever waits for it.
        scope.spawn(|| while connection.event().is_some() {});
        let called = calls(&connection, text);
        connection.with(|session, now| session.drain(now, Duration::from_secs(5)));
        let ended = carrier
            .join()
            .map_err(|_| "the carrier's thread panicked")?;
        called.and(ended)
    })
}

/// One call that is answered at once, one that streams, and one that fails.
fn calls(connection: &Connection, text: &str) -> Outcome {
    let time = Duration::from_secs(20);
    let echo = connection.open("example.Echo/Echo", time)?;
    connection.send(echo, &message::encode(text.as_bytes()))?;
    connection.with(|session, _| session.half_close(echo))?;
    let reply = connection.receive(echo)?.ok_or("no reply")?;
    let reply = message::decode(&reply).ok_or("a reply that is no message")?;
    println!("echo: {}", String::from_utf8_lossy(reply));
    if connection.receive(echo)?.is_some() {
        return Err("a second reply".into());
    }

    let stream = connection.open("example.Echo/Echo", time)?;
    let bulk: Vec<u8> = (0..=u8::MAX).cycle().take(BULK).collect();
    let mut bytes = 0;
    for _ in 0..3 {
        connection.send(stream, &message::encode(&bulk))?;
        let reply = connection.receive(stream)?.ok_or("no reply")?;
        if message::decode(&reply) != Some(&bulk[..]) {
            return Err("another reply than the request".into());
        }
        bytes += bulk.len();
    }
    connection.with(|session, _| session.half_close(stream))?;
    if connection.receive(stream)?.is_some() {
        return Err("more replies than requests".into());
    }
    println!("streamed: {bytes} bytes there and back");

    let fail = connection.open("example.Echo/Fail", time)?;
    match connection.receive(fail) {
        Ok(_) => Err("a call that was to fail did not".into()),
        Err(status) => {
            println!("failed: {status}");
            Ok(())
        }
    }
}
