//! Accepting tunnels that the peer opens.

mod service;
mod tunnels;

pub use service::{ReverseTunnel, TunnelService};
