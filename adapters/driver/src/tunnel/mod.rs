//! One end of a tunnel under its lock: the core, and what is kept for each stream beside it.

mod batch;
pub(crate) mod call_end;
mod gather;
pub(crate) mod heads;
pub(crate) mod input;
pub(crate) mod send;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod waiting_calls;
