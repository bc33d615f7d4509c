//! Bytes on a TCP connection: what the link itself carries.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::row::{Load, Row};
use super::words::{begins, say};
use crate::interop::Outcome;

/// Bytes that are read at once.
const READ: usize = 256 << 10;
const MIB: f64 = 1_048_576.0;

/// Writes to a connection and says how fast that was.
pub(super) fn send(address: SocketAddr, rows: &[Row], time: Duration) -> Outcome {
    for row in rows {
        let Load::Tcp(size) = row.load else {
            return Err("not a row of TCP".into());
        };
        write(address, size, time.min(super::load::WARM_UP))?;
        begins(row);
        let start = Instant::now();
        let rate = write(address, size, time)?;
        say(row, start.elapsed(), &[("MiB/s".to_owned(), rate)]);
    }
    Ok(())
}

fn write(address: SocketAddr, size: usize, time: Duration) -> Outcome<f64> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let bytes = vec![0; size];
    let start = Instant::now();
    let mut writes = 0_u32;
    while start.elapsed() < time {
        socket.write_all(&bytes)?;
        writes += 1;
    }
    socket.shutdown(Shutdown::Write)?;
    // The reader closes when it has read everything.
    let _ = socket.read(&mut [0])?;
    let bytes = f64::from(writes) * f64::from(u32::try_from(size)?);
    Ok(bytes / MIB / start.elapsed().as_secs_f64())
}

/// Reads all connections, one after the other.
pub(super) fn receive() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    let mut buffer = vec![0; READ];
    loop {
        let (mut socket, _) = listener.accept()?;
        while socket.read(&mut buffer)? > 0 {}
    }
}
