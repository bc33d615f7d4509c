//! What the tests with real peers are made of: our ends as programs, theirs as processes, and the
//! calls between them.

pub mod calls;
mod peers;
mod process;

pub use peers::Peers;
pub use process::Process;
