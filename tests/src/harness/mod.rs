//! Two ends of a tunnel without a network: frames in, frames and events out.
//!
//! - [`frames`] writes frames byte by byte, as any peer might; [`SentFrame`] is a frame of ours, read
//!   by the reference decoder.
//! - [`Endpoint`] is one end with an application on it, which holds the bytes that the core only
//!   counts and reads through the core's receive buffer.
//! - [`Script`] plays the catalogue's rows against one end.
//! - [`Pair`] joins two ends by queues that can be held and cut, and [`run`] drives it by [`Op`]s
//!   while a model and a strict validator watch. Property tests and fuzz targets share it.

pub mod any_peer;
pub mod frames;
pub mod link;
#[cfg(feature = "arbitrary")]
pub mod sessions;
#[cfg(feature = "arbitrary")]
pub mod targets;
pub mod wire;

#[cfg(feature = "arbitrary")]
mod arbitrary;
mod call;
mod endpoint;
mod lent;
mod model;
mod op;
mod pair;
mod play;
mod script;
mod seen;
mod sent;
mod store;
mod validator;

use std::fmt;

use grpctunnel_core::{Config, Opening, Role, Storage, Time, Tunnel};

pub use endpoint::{ClientEnd, Endpoint, Pairs, ServerEnd};
pub use op::{At, Kind, Op};
pub use pair::{Pair, Setup, Window, extension_set};
pub use play::{Play, run};
pub use script::{
    Script, client, client_agreed, client_window, client_with, client_zero, config, config_with,
    extension_numbers, server, server_agreed, server_unnegotiated, server_with,
};
pub use seen::{Over, Seen};
pub use sent::{Headers, SentFrame, Status, code_name};
pub use store::{InPlace, OnHeap, Store};

/// A tunnel with settings that are in order.
#[must_use]
pub fn tunnel<R: Role, S: Storage>(now: Time, config: Config, opening: Opening) -> Tunnel<R, S> {
    Tunnel::new(now, config, opening).unwrap_or_else(|error| fail(error))
}

/// Stops the test: something does not hold.
#[expect(
    clippy::panic,
    reason = "this crate states what must hold; a failure there is meant to stop the test"
)]
#[track_caller]
pub(crate) fn fail(what: impl fmt::Display) -> ! {
    panic!("{what}")
}
