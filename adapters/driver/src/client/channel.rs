//! A tunnel to make calls on.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use grpctunnel_core::Client;
use grpctunnel_core::wire::ExtensionSet;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::client::response_body::ResponseBody;
use crate::client::response_future::ResponseFuture;
use crate::counters::Counters;
use crate::error::{BoxError, CallError, TunnelEnd};
use crate::grpc::status::Status;
use crate::peer::TunnelPeer;
use crate::tunnel::handle::Handle;
use crate::tunnel::id::TunnelId;
use crate::tunnel::published::TunnelState;
use crate::tunnel::shared::Shared;

/// A tunnel to make calls on: a tower service of HTTP requests, for generated clients and proxies.
///
/// It is always ready: a call for which the tunnel has no room waits in order, under its own
/// deadline; see [`Options::max_waiting`](crate::Options::max_waiting) and
/// [`Options::max_wait`](crate::Options::max_wait). A call that fails has a response with a gRPC status; see [`CallError`] for the only
/// exception. If no handler saw it and it may succeed at another try, the response's extensions hold
/// [`NeverProcessed`](crate::NeverProcessed); if it was lost with the tunnel, they hold the
/// [`TunnelEnd`].
///
/// A call's `grpc-timeout` header is its deadline, counted from [`call`](Service::call), enforced
/// here and at the other end. Its
/// [`MethodKind`](crate::MethodKind), where that is known, is taken from the request's extensions,
/// or from the [`MethodKinds`](crate::MethodKinds) of the tunnel.
///
/// Where there are several tunnels to the same peer, a [`TunnelGroup`](crate::TunnelGroup) picks one
/// for each call; [`draining`](Self::draining) tells when to open another.
///
/// The tunnel is drained when the last clone is dropped: the calls that are open go on for as long
/// as they take, and with the last one the tunnel is finished.
#[derive(Clone)]
pub struct Channel {
    handle: Arc<Handle<Client>>,
}

impl Channel {
    pub(crate) fn new(shared: Arc<Shared<Client>>) -> Self {
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    pub(crate) const fn handle(&self) -> &Arc<Handle<Client>> {
        &self.handle
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<Client>> {
        &self.handle.shared
    }

    /// Makes a call whose deadline counts from `made`.
    pub(crate) fn call_made<B>(&self, request: Request<B>, made: Instant) -> ResponseFuture<B> {
        ResponseFuture::new(self.handle.clone(), request, made)
    }

    /// Tells this tunnel from any other that this process has or had.
    #[must_use]
    pub fn id(&self) -> TunnelId {
        self.shared().id
    }

    /// Begins to drain: no new calls; those that are open may go on for `limit`, then they end
    /// UNAVAILABLE. The tunnel is finished when the last one has ended; see
    /// [`closed`](Self::closed).
    pub fn drain(&self, limit: Duration) {
        self.shared().drain(limit);
    }

    /// Ends the tunnel: open calls end UNAVAILABLE, and the carrier is finished.
    pub fn close(&self) {
        self.shared().drain(Duration::ZERO);
    }

    /// As [`drain`](Self::drain), and tells the peer why: it finds `status` as
    /// [`TunnelEnd::peer_status`] when the tunnel is over. ABORTED says that another tunnel has taken
    /// its place. Of several statuses the first counts. A status can be told where this end accepted
    /// the tunnel; where it opened it, this is a drain and no more.
    pub fn dismiss(&self, status: Status, limit: Duration) {
        self.shared().dismiss(status, limit);
    }

    /// Waits for the end of the tunnel. The future does not keep the tunnel from being drained.
    pub fn closed(&self) -> impl Future<Output = TunnelEnd> + Send + 'static + use<> {
        self.shared().closed()
    }

    /// Waits until the tunnel takes no new calls any more: it drains, begun by this end or by the
    /// peer, or is over. The future does not keep the tunnel from being drained.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.shared().draining()
    }

    /// What the tunnel is doing. Takes no lock.
    #[must_use]
    pub fn state(&self) -> TunnelState {
        self.shared().state()
    }

    /// Whether a new call would be taken at once: see
    /// [`TunnelState::takes_calls`](crate::TunnelState::takes_calls). Takes no lock.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state().takes_calls()
    }

    /// Calls that have not ended.
    #[must_use]
    pub fn active_calls(&self) -> usize {
        usize::try_from(self.state().calls).unwrap_or(usize::MAX)
    }

    /// The extensions in effect, which tell what the tunnel can carry: with `RAW_METADATA` any bytes
    /// in `-bin` metadata, with `TRANSPARENT` compressed messages, content types and authorities. A
    /// call that needs more fails, so it may be sent elsewhere instead. They do not change.
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

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.state()).finish()
    }
}

impl<B: Body<Error: Into<BoxError>> + Send + 'static> Service<Request<B>> for Channel {
    type Response = Response<ResponseBody>;
    type Error = CallError;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<B> {
        let now = self.shared().runtime.now();
        self.call_made(request, now)
    }
}
