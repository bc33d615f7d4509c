//! Accepting tunnels that the peer opens.

mod hooks;
mod service;
mod tunnels;

pub(crate) use hooks::Register;
pub use hooks::{AcceptResult, ReverseTunnel};
pub use service::TunnelService;
