//! The tunnel server: calls come out, as HTTP requests.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use grpctunnel_core::Counters;
use http::{Extensions, HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;

use crate::client::Channel;
use crate::error::{BoxError, ConnectError, RequestError, TunnelEnd};
use crate::options::Options;
use crate::runtime::Runtime;
use crate::transmit::TransmitBody;

/// What handles the calls of a tunnel: any tower service over HTTP requests, for example tonic's
/// `Routes`. Implemented for all that fit; not to be implemented otherwise.
pub trait Handler:
    Service<
        Request<RequestBody>,
        Response = Response<Self::ResponseBody>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data: Buf, Error: Into<BoxError>> + Send;
}

impl<S, B> Handler for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Buf, Error: Into<BoxError>> + Send,
{
    type ResponseBody = B;
}

/// The body of a request that came through a tunnel.
#[derive(Debug)]
pub struct RequestBody {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        Poll::Ready(None)
    }
}

/// Who is at the other end of the tunnel that a call came through, in the call's
/// `http::Extensions`.
///
/// It comes from the opening of the tunnel alone, never from a call, so a caller on the tunnel
/// cannot forge it.
#[derive(Clone, Debug)]
pub struct TunnelPeer {
    metadata: HeaderMap,
    extensions: Extensions,
}

impl TunnelPeer {
    /// The metadata of the tunnel's opening: of the request where this end accepted the tunnel, of
    /// the response where it opened it.
    #[must_use]
    pub fn metadata(&self) -> &HeaderMap {
        &self.metadata
    }

    /// What the HTTP stack attached to it: connection info, certificates.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

/// A tunnel whose calls this end handles.
#[derive(Clone, Debug)]
pub struct ServerHandle {}

impl ServerHandle {
    /// Begins to drain: new calls are refused UNAVAILABLE; those that are open may go on for
    /// `limit`, then they end UNAVAILABLE. The tunnel is finished when the last one has ended.
    pub fn drain(&self, _limit: Duration) {}

    /// Gives the tunnel up: open calls end, their handlers are dropped, the carrier is reset.
    pub fn abort(&self) {}

    /// Waits for the end of the tunnel. The future holds no handle of it.
    pub fn closed(&self) -> impl Future<Output = TunnelEnd> + Send + 'static + use<> {
        std::future::pending()
    }

    /// Calls that have not ended.
    #[must_use]
    pub fn active_calls(&self) -> usize {
        0
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// Opens a reverse tunnel: this end handles the calls.
///
/// # Errors
/// See [`ConnectError`]. A tunnel that is refused is not started.
pub async fn serve_reverse<C, B, H>(
    _carrier: C,
    _handler: H,
    _runtime: &Runtime,
    _options: &Options,
    _metadata: HeaderMap,
) -> Result<ServerHandle, ConnectError>
where
    C: Service<Request<TransmitBody>, Response = Response<B>, Error: Into<BoxError>>,
    C::Future: Send + 'static,
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
    H: Handler,
{
    std::future::pending().await
}

/// A reverse tunnel that was accepted and is settled.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReverseTunnel {
    /// To make calls on it. The tunnel is drained when the last clone is gone.
    pub channel: Channel,
    /// The metadata of the request that opened it.
    pub metadata: HeaderMap,
    /// What the HTTP stack attached to that request: connection info, certificates.
    pub extensions: Extensions,
}

/// The handler of a [`TunnelService`] that takes no forward tunnels.
#[derive(Clone, Copy, Debug)]
pub enum NoHandler {}

/// Accepts tunnels: the service `grpctunnel.v1.TunnelService`, to be mounted in an HTTP/2 server.
#[derive(Clone, Debug)]
pub struct TunnelService<H = NoHandler> {
    _handler: Option<H>,
}

impl TunnelService {
    /// The full name of the service.
    pub const NAME: &'static str = "grpctunnel.v1.TunnelService";

    /// A service that takes no tunnels yet: both openings answer UNIMPLEMENTED.
    #[must_use]
    pub fn new(_runtime: Runtime) -> Self {
        Self { _handler: None }
    }
}

impl<H> TunnelService<H> {
    /// The settings of all tunnels.
    #[must_use]
    pub fn with_options(self, _options: Options) -> Self {
        self
    }

    /// Takes forward tunnels, whose calls `handler` handles.
    #[must_use]
    pub fn forward<S: Handler>(self, handler: S) -> TunnelService<S> {
        TunnelService {
            _handler: Some(handler),
        }
    }

    /// Takes reverse tunnels: `accept` is called with each one that has settled, and what it
    /// returns runs as a task.
    #[must_use]
    pub fn reverse<F, T>(self, _accept: F) -> Self
    where
        F: Fn(ReverseTunnel) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self
    }

    /// Begins to drain every tunnel, and refuses new ones UNAVAILABLE. Clones drain too.
    pub fn drain(&self, _limit: Duration) {}

    /// Waits until there is no tunnel.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + 'static + use<H> {
        std::future::ready(())
    }

    /// Tunnels that are not over.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        0
    }
}

impl<H: Handler, B> Service<Request<B>> for TunnelService<H>
where
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<TransmitBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<TransmitBody>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        std::future::ready(Ok(Response::new(TransmitBody {})))
    }
}

impl Service<Request<RequestBody>> for NoHandler {
    type Response = Response<RequestBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<RequestBody>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match *self {}
    }

    fn call(&mut self, _request: Request<RequestBody>) -> Self::Future {
        match *self {}
    }
}
