//! What the tests with real peers are made of: our ends as programs, theirs as processes, and the
//! calls between them.

pub mod calls;
mod carrier;
mod client;
mod peers;
pub mod probe;
mod process;
mod program;
mod server;

use std::error::Error;

pub use carrier::{FrameReader, FrameWriter};
pub use client::{connection, open, serve_reverse, status_of};
pub use peers::Peers;
pub use process::Process;
pub use program::{grpctunnel, tcp_example};
pub use server::{InteropServer, Running, options};

/// What a test of real peers ends with.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;
