//! Accepting tunnels that the peer opens.

mod hooks;
mod service;
mod tunnels;

pub use hooks::AcceptResult;
pub(crate) use hooks::{Accept, Accepted};
pub use service::{ReverseTunnel, TunnelService};
