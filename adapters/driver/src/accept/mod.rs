//! Accepting tunnels that the peer opens.

mod accepted;
mod hooks;
mod service;
mod tunnels;

pub use accepted::{ForwardTunnel, ReverseTunnel};
pub use hooks::AcceptResult;
pub(crate) use hooks::Register;
pub use service::TunnelService;
