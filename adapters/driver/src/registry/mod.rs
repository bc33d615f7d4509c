//! Reverse tunnels by key.

mod forward;
mod keys;

pub use forward::{ForwardFuture, Forwarder};
pub use keys::{Registry, RegistryKey, TunnelKey};
