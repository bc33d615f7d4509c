//! What the application has to say to tunnels that are opened.

use std::fmt;
use std::sync::Arc;

use grpctunnel_core::Code;
use http::{Extensions, HeaderMap};

use crate::client::Channel;
use crate::error::TunnelEnd;
use crate::grpc::status::Status;
use crate::panics::contain;
use crate::peer::TunnelPeer;
use crate::runtime::Task;

/// What the task of a reverse tunnel returns, see
/// [`TunnelService::reverse`](crate::TunnelService::reverse): nothing, or a result. An error refuses
/// the tunnel.
pub trait AcceptResult {
    /// The status that refuses the tunnel.
    fn refusal(self) -> Option<Status>;
}

impl AcceptResult for () {
    fn refusal(self) -> Option<Status> {
        None
    }
}

impl<T> AcceptResult for Result<T, Status> {
    fn refusal(self) -> Option<Status> {
        self.err()
    }
}

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

/// Called with each reverse tunnel that may carry calls.
pub(crate) type Accept = Arc<dyn Fn(ReverseTunnel) -> Task + Send + Sync>;
/// Called with the peer of a reverse tunnel that is being opened.
pub(crate) type Register = Arc<dyn Fn(&mut TunnelPeer) -> Result<OnRegister, Status> + Send + Sync>;
/// Called with the tunnel when it may carry calls; dropped if it never does. What it returns is
/// dropped when the tunnel is over.
pub(crate) type OnRegister = Box<dyn FnOnce(Channel) -> Box<dyn Send> + Send>;

type OnOpen = dyn Fn(&TunnelPeer) -> Result<(), Status> + Send + Sync;
type OnClose = dyn Fn(&TunnelPeer, &TunnelEnd) + Send + Sync;

/// The hooks of a service.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_open: Option<Arc<OnOpen>>,
    pub(crate) on_close: Option<Arc<OnClose>>,
}

impl Hooks {
    pub(crate) fn open(&self, peer: &TunnelPeer) -> Result<(), Status> {
        self.on_open
            .as_ref()
            .map_or(Ok(()), |hook| asked(|| hook(peer)))
    }

    pub(crate) fn close(&self, peer: &TunnelPeer, end: &TunnelEnd) {
        if let Some(hook) = &self.on_close {
            // What it panics with is the application's.
            contain(|| hook(peer, end));
        }
    }
}

/// Asks the application, which refuses what it panics at.
pub(crate) fn asked<T>(hook: impl FnOnce() -> Result<T, Status>) -> Result<T, Status> {
    let panicked = || Err(Status::new(Code::Internal, "the server's hook panicked"));
    contain(hook).unwrap_or_else(panicked)
}
