//! What the tests with real peers are made of: our ends as programs, theirs as processes, and the
//! calls between them.

pub mod calls;
mod client;
mod peers;
pub mod probe;
mod process;
mod server;

pub use client::{connection, open, status_of};
pub use peers::Peers;
pub use process::Process;
pub use server::{InteropServer, options};
