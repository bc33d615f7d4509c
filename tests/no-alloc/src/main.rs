//! Both ends of a tunnel over byte pipes in memory, in a program with neither std nor an
//! allocator: that it links is the proof that the core needs none, that it exits with 0 is a test.
//! It prints what tunnels and streams take of memory, and a hash of all frames.
//!
//! For Linux on x86-64, and for a Cortex-M with semihosting. Any other exit code says what went wrong: the number of a fault of the
//! scenario, 1 where nothing can be printed, or 101 for a panic.

#![no_std]
#![no_main]

#[cfg_attr(target_os = "none", path = "cortex_m.rs")]
#[cfg_attr(not(target_os = "none"), path = "linux.rs")]
mod bare;
mod scenario;

use core::fmt::{self, Write as _};
use core::mem::size_of;

use grpctunnel_core::{Fixed, TunnelClient, TunnelServer};

/// Bytes that a tunnel client for four streams may take, without buffers.
const CLIENT_OF_FOUR: usize = 2_048;
/// Bytes that a stream may take in a tunnel, everything counted but its buffers.
const A_STREAM: usize = 128;

const _: () = assert!(size_of::<TunnelClient<Fixed<4, 1>>>() <= CLIENT_OF_FOUR);
// From four to twenty, so that rounding does not count.
const _: () = assert!(
    size_of::<TunnelClient<Fixed<20, 1>>>()
        <= size_of::<TunnelClient<Fixed<4, 1>>>() + 16 * A_STREAM
);

/// The exit code.
fn run() -> i32 {
    match scenario::run::<scenario::InPlace>() {
        Ok(trace) => i32::from(report(trace).is_err()),
        Err(fault) => fault,
    }
}

fn report(trace: u64) -> fmt::Result {
    let out = &mut bare::Output;
    let client = size_of::<TunnelClient<Fixed<4, 1>>>();
    let server = size_of::<TunnelServer<Fixed<4, 1>>>();
    let stream = (size_of::<TunnelClient<Fixed<20, 1>>>() - client) / 16;
    let none = client.saturating_sub(4 * stream);
    writeln!(out, "RAM, without buffers:")?;
    writeln!(out, "  a tunnel without streams    {none:6} bytes")?;
    writeln!(
        out,
        "  each stream                 {stream:6} bytes, at most {A_STREAM}"
    )?;
    writeln!(
        out,
        "  a client for 4 streams      {client:6} bytes, at most {CLIENT_OF_FOUR}"
    )?;
    writeln!(out, "  a server for 4 streams      {server:6} bytes")?;
    writeln!(out, "trace {trace:016x}")
}
