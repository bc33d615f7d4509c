//! The tunnel client: calls go in, as HTTP requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use grpctunnel_core::Counters;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;

use crate::error::{BoxError, CallError, ConnectError, TunnelEnd};
use crate::options::Options;
use crate::runtime::Runtime;
use crate::transmit::TransmitBody;

/// A tunnel to make calls on.
#[derive(Clone, Debug)]
pub struct Channel {}

impl Channel {
    /// Begins to drain: no new calls; those that are open may go on for `limit`, then they end
    /// UNAVAILABLE. The tunnel is finished when the last one has ended; see [`closed`](Self::closed).
    pub fn drain(&self, _limit: Duration) {}

    /// Ends the tunnel: open calls end UNAVAILABLE, and the carrier is finished.
    pub fn close(&self) {}

    /// Waits for the end of the tunnel. The future holds no handle of it.
    pub fn closed(&self) -> impl Future<Output = TunnelEnd> + Send + 'static + use<> {
        std::future::pending()
    }

    /// Whether new calls are taken: the tunnel is neither draining nor over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        true
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

impl<B> Service<Request<B>> for Channel
where
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = CallError;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<B> {
        ResponseFuture {
            _request: Box::new(request),
        }
    }
}

/// A call on a [`Channel`] that has no response yet. Dropping it cancels the call.
#[derive(Debug)]
pub struct ResponseFuture<B> {
    _request: Box<Request<B>>,
}

impl<B> Future for ResponseFuture<B>
where
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody>, CallError>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

/// The body of a response that came through a tunnel. Dropping it before its end cancels the call.
#[derive(Debug, Default)]
pub struct ResponseBody {}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        Poll::Ready(None)
    }
}

/// Opens a forward tunnel: this end makes the calls.
///
/// `carrier` is any HTTP client that speaks HTTP/2. `metadata` goes with the request that opens
/// the tunnel.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect<C, B>(
    _carrier: C,
    _runtime: &Runtime,
    _options: &Options,
    _metadata: HeaderMap,
) -> Result<Channel, ConnectError>
where
    C: Service<Request<TransmitBody>, Response = Response<B>, Error: Into<BoxError>>,
    C::Future: Send + 'static,
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    std::future::pending().await
}
