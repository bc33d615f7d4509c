//! What the tests with real peers are made of: our ends as programs, theirs as processes, and the
//! calls between them.

pub mod calls;
#[cfg(feature = "net")]
mod carrier;
pub mod cases;
#[cfg(feature = "net")]
mod client;
#[cfg(feature = "net")]
mod peers;
#[cfg(feature = "net")]
pub mod probe;
#[cfg(feature = "net")]
mod process;
#[cfg(feature = "net")]
mod program;
pub mod reverse_cases;
#[cfg(feature = "net")]
mod server;

use std::error::Error;

#[cfg(feature = "net")]
pub use carrier::{FrameReader, FrameWriter};
#[cfg(feature = "net")]
pub use client::{connection, open, serve_reverse, serve_reverse_with, status_of};
#[cfg(feature = "net")]
pub use peers::Peers;
#[cfg(feature = "net")]
pub use process::Process;
#[cfg(feature = "net")]
pub use program::{grpctunnel, tcp_example, tcp_example_program};
#[cfg(feature = "net")]
pub use server::{InteropServer, Running, options};

/// What a test of real peers ends with.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;
