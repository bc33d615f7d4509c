//! A tunnel as a tonic channel.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use grpctunnel_driver::{
    BoxError, CallError, Counters, ExtensionSet, NeverProcessed, ResponseBody, TunnelEnd, TunnelId,
    TunnelState,
};
use http::{Request, Response};
use http_body::Body;
use tonic::Status;
use tower_service::Service;

use crate::status::from_tonic;

/// A tunnel to make calls on: give it, or a clone, to any generated client.
///
/// A call that no handler saw, and that may succeed at another try, fails with a status whose
/// [`source`](std::error::Error::source) is a [`NeverProcessed`]; one that was lost with the tunnel
/// has a [`TunnelEnd`] among its sources.
///
/// The tunnel is drained when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: grpctunnel_driver::Channel,
}

impl Channel {
    /// The channel beneath, which speaks HTTP bodies of any kind and knows no tonic.
    #[must_use]
    pub const fn raw(&self) -> &grpctunnel_driver::Channel {
        &self.inner
    }

    /// Begins to drain: no new calls; those that are open may go on for `limit`, then they end
    /// UNAVAILABLE. The tunnel is finished when the last one has ended; see
    /// [`closed`](Self::closed).
    pub fn drain(&self, limit: Duration) {
        self.inner.drain(limit);
    }

    /// Ends the tunnel: open calls end UNAVAILABLE, and the carrier is finished.
    pub fn close(&self) {
        self.inner.close();
    }

    /// As [`drain`](Self::drain), and tells the peer why: it finds `status` as
    /// [`TunnelEnd::peer_status`] when the tunnel is over. ABORTED says that another tunnel has taken
    /// its place. For tunnels that this end accepted; for others this is a drain and no more.
    pub fn dismiss(&self, status: &Status, limit: Duration) {
        self.inner.dismiss(from_tonic(status), limit);
    }

    /// Tells this tunnel from any other that this process has or had.
    #[must_use]
    pub fn id(&self) -> TunnelId {
        self.inner.id()
    }

    /// Waits for the end of the tunnel. The future holds no handle of it.
    pub fn closed(&self) -> impl Future<Output = TunnelEnd> + Send + 'static + use<> {
        self.inner.closed()
    }

    /// Waits until the tunnel takes no new calls any more: it drains, begun by this end or by the
    /// peer, or is over. The future holds no handle of it.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.draining()
    }

    /// What the tunnel is doing, to pick one of several. Takes no lock.
    #[must_use]
    pub fn state(&self) -> TunnelState {
        self.inner.state()
    }

    /// Whether a new call would be taken at once: see
    /// [`TunnelState::takes_calls`](grpctunnel_driver::TunnelState::takes_calls).
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.is_open()
    }

    /// Calls that have not ended.
    #[must_use]
    pub fn active_calls(&self) -> usize {
        self.inner.active_calls()
    }

    /// The extensions in effect, which tell what the tunnel can carry: with
    /// [`Extension::RawMetadata`](grpctunnel_driver::Extension) any bytes in `-bin` metadata, with
    /// [`Extension::Transparent`](grpctunnel_driver::Extension) compressed messages, content types and
    /// authorities. They do not change.
    #[must_use]
    pub fn extensions(&self) -> ExtensionSet {
        self.inner.extensions()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.counters()
    }
}

impl From<grpctunnel_driver::Channel> for Channel {
    fn from(inner: grpctunnel_driver::Channel) -> Self {
        Self { inner }
    }
}

impl<B> Service<Request<B>> for Channel
where
    B: Body<Data: bytes::Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = ResponseFuture<grpctunnel_driver::ResponseFuture<B>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::new(self.inner.call(request))
    }
}

/// A call on a [`Channel`] or a [`TunnelGroup`](crate::TunnelGroup) that has no response yet.
/// Dropping it cancels the call.
#[derive(Debug)]
pub struct ResponseFuture<F> {
    inner: F,
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn new(inner: F) -> Self {
        Self { inner }
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, CallError>> + Unpin,
{
    type Output = Result<Response<ResponseBody>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = Pin::new(&mut self.get_mut().inner);
        let response = ready!(inner.poll(cx)).map_err(call_status)?;
        if let Some(source) = source_of(&response)
            && let Some(mut status) = Status::from_header_map(response.headers())
        {
            status.set_source(source);
            return Poll::Ready(Err(status));
        }
        Poll::Ready(Ok(response))
    }
}

/// The status of a call whose request body failed: the body's own, if it is one.
fn call_status(error: CallError) -> Status {
    Status::from_error(Box::new(error))
}

/// Why a call failed, as far as its status does not tell.
fn source_of(response: &Response<ResponseBody>) -> Option<Arc<dyn Error + Send + Sync>> {
    let extensions = response.extensions();
    if let Some(mark) = extensions.get::<NeverProcessed>() {
        return Some(Arc::new(mark.clone()));
    }
    let end = extensions.get::<TunnelEnd>()?;
    Some(Arc::new(end.clone()))
}
