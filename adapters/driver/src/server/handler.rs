//! What handles the calls of a tunnel.

use std::convert::Infallible;
use std::future::Ready;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::error::BoxError;
use crate::server::request_body::RequestBody;

/// What handles the calls of a tunnel: any tower service of HTTP requests, for example tonic's
/// `Routes` or a proxy. Implemented for every such service.
///
/// A request is a `POST` of HTTP/2 to `http://{authority}/{service}/{method}`, or to
/// `/{service}/{method}` alone where [`Options::authority`](crate::Options::authority) is `None`,
/// with the headers that gRPC requires. Its extensions hold the [`TunnelPeer`](crate::TunnelPeer), and the
/// [`MethodKind`](crate::MethodKind) where that is known. A `grpc-timeout` is the time that is
/// left, for a proxy to forward; the tunnel itself enforces the deadline.
///
/// A [`NeverProcessed`](crate::NeverProcessed) in the extensions of an error response, or among
/// the sources of an error, tells the caller that no handler saw the call.
///
/// When a call ends early, its future and its response body are dropped. A handler that panics
/// ends its own call with INTERNAL, and nothing else.
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
    type ResponseBody: Body<Error: Into<BoxError>> + Send;
}

impl<S, B> Handler for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Error: Into<BoxError>> + Send,
{
    type ResponseBody = B;
}

/// The handler of a [`TunnelService`](crate::TunnelService) that takes no forward tunnels.
#[derive(Clone, Copy, Debug)]
pub enum NoHandler {}

impl Service<Request<RequestBody>> for NoHandler {
    type Response = Response<RequestBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<RequestBody>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match *self {}
    }

    fn call(&mut self, _request: Request<RequestBody>) -> Self::Future {
        match *self {}
    }
}
