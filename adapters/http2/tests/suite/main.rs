//! Connections in memory, with raw peers where a peer misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod byte_stream;
mod calls;
mod interop;
mod life;
mod limits;
mod small_frames;
mod support;
mod tunnel;
