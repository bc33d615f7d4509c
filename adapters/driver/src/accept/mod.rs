//! Accepting tunnels that the peer opens.

mod hooks;
mod service;
mod tunnels;

pub use hooks::AcceptResult;
pub(crate) use hooks::Register;
pub use service::{ReverseTunnel, TunnelService};
