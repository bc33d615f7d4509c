//! Tunnels that were accepted.

use std::fmt;

use http::{Extensions, HeaderMap};

use crate::client::Channel;
use crate::peer::TunnelPeer;
use crate::server::ServerHandle;

/// A reverse tunnel that was accepted and may carry calls.
///
/// Its `Debug` form shows no metadata, which may hold credentials.
#[non_exhaustive]
pub struct ReverseTunnel {
    /// To make calls on it. The tunnel is drained when the last clone is dropped.
    pub channel: Channel,
    /// The metadata of the request that opened it, without the protocol's own headers; see
    /// [`TunnelPeer::metadata`].
    pub metadata: HeaderMap,
    /// What the HTTP stack attached to that request: connection info, certificates.
    pub extensions: Extensions,
}

impl fmt::Debug for ReverseTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseTunnel")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// A forward tunnel that was accepted and may carry calls.
///
/// Its `Debug` form shows no metadata, which may hold credentials.
#[non_exhaustive]
pub struct ForwardTunnel {
    /// To drain it, and to learn of its end. The tunnel is drained when this is dropped.
    pub handle: ServerHandle,
    /// What came with its opening.
    pub peer: TunnelPeer,
}

impl fmt::Debug for ForwardTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardTunnel")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}
