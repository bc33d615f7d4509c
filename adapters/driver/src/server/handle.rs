//! A tunnel whose calls this end handles.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grpctunnel_core::Server;
use grpctunnel_core::wire::ExtensionSet;

use crate::counters::Counters;
use crate::error::TunnelEnd;
use crate::peer::TunnelPeer;
use crate::tunnel::handle::Handle;
use crate::tunnel::id::TunnelId;
use crate::tunnel::published::TunnelState;
use crate::tunnel::shared::Shared;

/// A tunnel whose calls this end handles. It is drained when the handle is dropped: new calls are
/// refused, those that are open go on for as long as they take.
pub struct ServerHandle {
    handle: Arc<Handle<Server>>,
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerHandle").field(&self.state()).finish()
    }
}

impl ServerHandle {
    pub(crate) fn new(shared: Arc<Shared<Server>>) -> Self {
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    pub(crate) const fn handle(&self) -> &Arc<Handle<Server>> {
        &self.handle
    }

    /// Tells this tunnel from any other that this process has or had.
    #[must_use]
    pub fn id(&self) -> TunnelId {
        self.shared().id
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<Server>> {
        &self.handle.shared
    }

    /// Begins to drain: new calls are refused UNAVAILABLE; those that are open may go on for
    /// `limit`, then they end UNAVAILABLE. The tunnel is finished when the last one has ended; see
    /// [`closed`](Self::closed).
    pub fn drain(&self, limit: Duration) {
        self.shared().drain(limit);
    }

    /// Ends the tunnel: open calls end UNAVAILABLE, and the carrier is finished.
    pub fn close(&self) {
        self.shared().drain(Duration::ZERO);
    }

    /// Aborts the tunnel: open calls end, their handlers are dropped, the carrier is reset.
    pub fn abort(&self) {
        self.shared().abort();
    }

    /// Waits for the end of the tunnel. The future does not keep the tunnel from being drained.
    pub fn closed(&self) -> impl Future<Output = TunnelEnd> + Send + 'static + use<> {
        self.shared().closed()
    }

    /// Waits until the tunnel takes no new calls any more: it drains, or is over. The future does
    /// not keep the tunnel from being drained.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.shared().draining()
    }

    /// What the tunnel is doing. Takes no lock.
    #[must_use]
    pub fn state(&self) -> TunnelState {
        self.shared().state()
    }

    /// Calls that have not ended.
    #[must_use]
    pub fn active_calls(&self) -> usize {
        usize::try_from(self.state().calls).unwrap_or(usize::MAX)
    }

    /// The extensions in effect, which tell what the tunnel can carry; see
    /// [`Channel::extensions`](crate::Channel::extensions). None before the peer has named its own,
    /// which it does before its first call.
    #[must_use]
    pub fn extensions(&self) -> ExtensionSet {
        self.shared().read(|state| state.tunnel.extensions())
    }

    /// What the tunnel has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared().counters()
    }

    /// The peer; `None` before an old peer has answered the opening.
    #[must_use]
    pub fn peer(&self) -> Option<&TunnelPeer> {
        self.shared().peer.get()
    }
}
