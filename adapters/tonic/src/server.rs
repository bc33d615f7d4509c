//! Accepting tunnels in a server.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::{
    BoxError, Executor, Handler, NoHandler, Options, RegistryKey, Runtime, Timer, TransmitBody,
    TunnelEnd, TunnelService,
};
use http::{Extensions, Request, Response};
use http_body::Body;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tower_service::Service;

use crate::channel::Channel;
use crate::fallback::WithFallback;
use crate::handler::TonicHandler;
use crate::peer::TunnelPeer;
use crate::registry::Registry;
use crate::status::{from_tonic, with_tonic_statuses};

/// What the task of a reverse tunnel returns, see [`TunnelServer::reverse`]: nothing, or a result. An
/// error refuses the tunnel.
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
    /// To make calls on it. The tunnel is drained when the last clone is gone.
    pub channel: Channel,
    /// The metadata of the request that opened it, without the protocol's own headers.
    pub metadata: MetadataMap,
    /// What the server attached to that request: connection info, certificates.
    pub extensions: Extensions,
}

impl fmt::Debug for ReverseTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseTunnel")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Accepts tunnels: the service `grpctunnel.v1.TunnelService`, for the `Server` of a
/// runtime's crate, or for `add_service` of tonic's.
///
/// A new one takes no tunnels: say with [`forward`](TunnelServer::forward) and
/// [`reverse`](TunnelServer::reverse) which it takes. Clones share their tunnels.
///
/// `R` is the runtime that the tunnels run on. The crates of runtimes name theirs.
pub struct TunnelServer<R, H = NoHandler> {
    inner: TunnelService<H>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Executor + Timer + Default> TunnelServer<R> {
    /// A service that takes no tunnels yet: both openings answer UNIMPLEMENTED.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: TunnelService::new(Runtime::new(R::default(), R::default()))
                .with_options(with_tonic_statuses(Options::default())),
            runtime: PhantomData,
        }
    }
}

impl<R: Executor + Timer + Default> Default for TunnelServer<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R, H> TunnelServer<R, H> {
    /// The settings of all tunnels.
    #[must_use]
    pub fn with_options(self, options: Options) -> Self {
        Self {
            inner: self.inner.with_options(with_tonic_statuses(options)),
            runtime: PhantomData,
        }
    }

    /// Takes forward tunnels, whose calls `handler` handles: tonic's `Routes`, or one generated
    /// server. A call's extensions hold the [`TunnelPeer`](crate::TunnelPeer).
    #[must_use]
    pub fn forward<S, B>(self, handler: S) -> TunnelServer<R, TonicHandler<S>>
    where
        S: Service<Request<tonic::body::Body>, Response = Response<B>, Error: Into<BoxError>>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        TunnelServer {
            inner: self.inner.forward(TonicHandler::new(handler)),
            runtime: PhantomData,
        }
    }

    /// Takes reverse tunnels: `accept` is called with each one that may carry calls, and what it
    /// returns runs as a task of its own. The tunnel lives as long as its channel or a clone.
    ///
    /// An error of the task refuses the tunnel: it ends, and the agent finds the status in
    /// [`TunnelEnd::peer_status`]. [`on_open`](Self::on_open) refuses it earlier.
    #[must_use]
    pub fn reverse<F, T>(self, accept: F) -> Self
    where
        F: Fn(ReverseTunnel) -> T + Send + Sync + 'static,
        T: Future<Output: AcceptResult> + Send + 'static,
    {
        let accept = move |tunnel: grpctunnel_driver::ReverseTunnel| {
            let task = accept(ReverseTunnel {
                channel: tunnel.channel.into(),
                metadata: MetadataMap::from_headers(tunnel.metadata),
                extensions: tunnel.extensions,
            });
            async move {
                let refusal = task.await.refusal();
                refusal.map_or(Ok(()), |status| Err(from_tonic(&status)))
            }
        };
        Self {
            inner: self.inner.reverse(accept),
            runtime: PhantomData,
        }
    }

    /// Takes reverse tunnels, which are found in `registry` until they are over. With
    /// [`reverse`](Self::reverse) beside it, that is called with each one that has been registered.
    #[must_use]
    pub fn register<K: RegistryKey>(self, registry: &Registry<K>) -> Self {
        Self {
            inner: self.inner.register(registry.raw()),
            runtime: PhantomData,
        }
    }

    /// Calls `hook` with each tunnel, of either direction, that is being opened. It sees what came
    /// with the opening: metadata, the connection's addresses and certificates, what interceptors
    /// have added. An error refuses the tunnel, and the peer gets the status.
    #[must_use]
    pub fn on_open(
        self,
        hook: impl Fn(&TunnelPeer) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        let hook = move |peer: &grpctunnel_driver::TunnelPeer| {
            hook(&TunnelPeer::new(peer.clone())).map_err(|status| from_tonic(&status))
        };
        Self {
            inner: self.inner.on_open(hook),
            runtime: PhantomData,
        }
    }

    /// Calls `hook` with each tunnel, of either direction, that is over: once for each that
    /// [`on_open`](Self::on_open) has let in.
    #[must_use]
    pub fn on_close(self, hook: impl Fn(&TunnelPeer, &TunnelEnd) + Send + Sync + 'static) -> Self {
        let hook = move |peer: &grpctunnel_driver::TunnelPeer, end: &TunnelEnd| {
            hook(&TunnelPeer::new(peer.clone()), end);
        };
        Self {
            inner: self.inner.on_close(hook),
            runtime: PhantomData,
        }
    }

    /// The tunnels, with another service beside them, which gets what does not open a tunnel:
    /// tonic's `Routes`, or any other. It works on HTTP bodies of any kind.
    #[must_use]
    pub fn with_fallback<S>(&self, service: S) -> WithFallback<H, S>
    where
        H: Clone,
    {
        WithFallback::new(self.inner.clone(), service)
    }

    /// Begins to drain every tunnel, and refuses new ones UNAVAILABLE. Open calls may go on for
    /// `limit`. See [`drained`](Self::drained).
    pub fn drain(&self, limit: Duration) {
        self.inner.drain(limit);
    }

    /// Waits until there is no tunnel.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + 'static + use<R, H> {
        self.inner.drained()
    }

    /// Tunnels that are not over.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.inner.tunnels()
    }
}

impl<R, H: Clone> Clone for TunnelServer<R, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            runtime: PhantomData,
        }
    }
}

impl<R, H> fmt::Debug for TunnelServer<R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TunnelServer").field(&self.inner).finish()
    }
}

impl<R, H> NamedService for TunnelServer<R, H> {
    const NAME: &'static str = TunnelService::NAME;
}

impl<R, H, B> Service<Request<B>> for TunnelServer<R, H>
where
    H: Handler,
    B: Body<Data: bytes::Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<tonic::body::Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response: Ready<Result<Response<TransmitBody>, Infallible>> = self.inner.call(request);
        let response = response.into_inner();
        std::future::ready(response.map(|response| response.map(tonic::body::Body::new)))
    }
}
