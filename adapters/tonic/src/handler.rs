//! tonic services as handlers of calls.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpctunnel_driver::RequestBody;
use http::Request;
use http_body::{Body, Frame};
use tower_service::Service;

use crate::status::to_tonic;

/// A tonic service as the handler of a tunnel's calls.
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

impl<S> Service<Request<RequestBody>> for TonicHandler<S>
where
    S: Service<Request<tonic::body::Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> S::Future {
        self.service
            .call(request.map(|body| tonic::body::Body::new(StatusBody(body))))
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
