//! One end of a tunnel under its lock: the core, and what is kept for each stream beside it.

pub(crate) mod call_end;
pub(crate) mod drain_timeout;
mod gather;
pub(crate) mod handle;
pub(crate) mod heads;
pub(crate) mod id;
pub(crate) mod input;
pub(crate) mod published;
pub(crate) mod send;
pub(crate) mod shared;
pub(crate) mod sibling;
pub(crate) mod silence;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod waiting_calls;
