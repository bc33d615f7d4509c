//! Connections in memory, with raw peers where a peer misbehaves.

mod calls;
mod interop;
mod life;
mod limits;
mod small_frames;
mod support;
