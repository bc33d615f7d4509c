//! The core alone, measured: no network, no runtime. With the feature `driver` the driver too, both
//! ends in memory.
//!
//! A scenario is something that can be repeated ([`Rounds`]). The same scenarios are timed (beside
//! prost or a memcpy, in turn), counted in instructions under callgrind, and watched for
//! allocations.

mod calls;
mod codec;
mod ends;
mod instructions;
mod measure;
mod relay;
mod report;
mod scenarios;
mod streams;
#[cfg(feature = "driver")]
mod tunnels;

use std::fmt;

use crate::harness::fail;

pub use calls::{cancelled_call, unary_call, window_update};
pub use codec::{Codec, Kind, decode, encode};
pub use ends::open_together;
pub use instructions::{compare, count};
pub use relay::{Copy, Relayed, deframe, memcpy, place, relay};
pub use report::{codec_table, relay_table, sizes_table, streams_table};
pub use streams::{Order, receive, send};
#[cfg(feature = "driver")]
pub use tunnels::{tunnelled_call, tunnelled_chunk};

/// Does the same thing so many times.
pub type Rounds = Box<dyn FnMut(u32)>;

fn rounds(mut once: impl FnMut() + 'static) -> Rounds {
    Box::new(move |rounds| {
        for _ in 0..rounds {
            once();
        }
    })
}

/// A benchmark's own calls are right, or its figures mean nothing.
#[inline]
fn right<T, E: fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => fail(format_args!("{error:?}")),
    }
}

#[inline]
fn there<T>(value: Option<T>) -> T {
    match value {
        Some(value) => value,
        None => fail("nothing where something is due"),
    }
}
