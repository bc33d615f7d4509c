//! The settings of a session.

use crate::limits::ReceiveWindowPolicy;
use crate::types::Config;
use crate::wire::{BinDialect, ExtensionSet};

/// The settings of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionConfig {
    /// Those of its tunnels. By default receive windows grow, and every extension but `TRANSPARENT`
    /// is offered; that one is never used, because a session does not know compressed messages.
    pub tunnel: Config,
    /// Bytes of messages of one call that may wait to be sent: while there are fewer, `send` takes one
    /// more, however large it is. Default 65,536.
    pub send_buffer: usize,
    /// How `-bin` values travel to and from a peer without `RAW_METADATA`.
    pub bin_dialect: BinDialect,
}

impl Default for SessionConfig {
    fn default() -> Self {
        let mut tunnel = Config::default();
        tunnel.limits.receive_window = ReceiveWindowPolicy {
            initial: 65_536,
            max: 16 << 20,
            growth_budget: 64 << 20,
        };
        tunnel.extensions = ExtensionSet::ALL;
        Self {
            tunnel,
            send_buffer: 65_536,
            bin_dialect: BinDialect::default(),
        }
    }
}
