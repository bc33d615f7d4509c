//! tonic services as handlers of calls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpctunnel_driver::{NeverProcessed, RequestBody};
use http::{Request, Response};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::peer::TunnelPeer;
use crate::status::{is_never_processed, to_tonic};

/// A tonic service as the handler of a tunnel's calls.
///
/// A call's extensions hold the [`TunnelPeer`]. A handler that fails with a status among whose
/// sources is a [`NeverProcessed`], such as a [`Channel`](crate::Channel) gives, tells its caller
/// that the call was not processed.
#[derive(Clone, Debug)]
pub struct TonicHandler<S> {
    service: S,
}

impl<S> TonicHandler<S> {
    /// The handler that calls `service`: tonic's `Routes`, or one generated server.
    pub const fn new(service: S) -> Self {
        Self { service }
    }
}

impl<S, B> Service<Request<RequestBody>> for TonicHandler<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Handling<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let peer = request.extensions().get().cloned().map(TunnelPeer::new);
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let request = request.map(|body| tonic::body::Body::new(StatusBody(body)));
        Handling {
            handling: self.service.call(request),
        }
    }
}

pin_project! {
    /// A call that a [`TonicHandler`] handles.
    pub struct Handling<F> {
        #[pin]
        handling: F,
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Handling<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut response = ready!(self.project().handling.poll(cx))?;
        // Generated servers leave the status of a handler that failed in the response's extensions.
        let status = response.extensions().get();
        if status.is_some_and(is_never_processed) {
            response.extensions_mut().insert(NeverProcessed::new());
        }
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for Handling<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handling").finish_non_exhaustive()
    }
}

/// A request body whose errors are tonic's, so that a service sees their codes.
struct StatusBody(RequestBody);

impl Body for StatusBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = ready!(Pin::new(&mut self.get_mut().0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| to_tonic(error.status()))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

impl fmt::Debug for StatusBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
