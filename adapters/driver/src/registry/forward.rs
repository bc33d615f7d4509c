//! Passing calls on.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use grpctunnel_core::Code;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use crate::client::ResponseBody;
use crate::error::BoxError;
use crate::group::{GroupResponseFuture, TunnelGroup};
use crate::grpc::headers::is_grpc;
use crate::grpc::status::Status;

/// A tower service that passes any call on, unparsed, to a tunnel of the group that `look_up` names.
///
/// `look_up` sees the head of the request, and may change it, for example take out the metadata that
/// named the group. Its error is the answer to the call. A request that is not gRPC is answered with
/// HTTP's 415; a call whose request body fails ends CANCELLED.
///
/// ```
/// use grpctunnel_driver::{Code, Forwarder, Registry, Status};
/// use http::request::Parts;
///
/// /// Calls go to the agent whose name is in their metadata.
/// fn gateway(
///     registry: Registry<String>,
/// ) -> Forwarder<impl Fn(&mut Parts) -> Result<grpctunnel_driver::TunnelGroup, Status>> {
///     Forwarder::new(move |call: &mut Parts| {
///         let name = call.headers.remove("x-agent");
///         let name = name.as_ref().and_then(|name| name.to_str().ok()).unwrap_or_default();
///         registry.get(name).ok_or_else(|| {
///             Status::new(Code::Unavailable, format!("agent {name} is not connected"))
///         })
///     })
/// }
/// ```
pub struct Forwarder<F> {
    look_up: Arc<F>,
}

impl<F: Fn(&mut Parts) -> Result<TunnelGroup, Status>> Forwarder<F> {
    /// The service. Clones share `look_up`.
    pub fn new(look_up: F) -> Self {
        Self {
            look_up: Arc::new(look_up),
        }
    }
}

impl<F> Clone for Forwarder<F> {
    fn clone(&self) -> Self {
        Self {
            look_up: self.look_up.clone(),
        }
    }
}

impl<F> fmt::Debug for Forwarder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").finish_non_exhaustive()
    }
}

impl<F, B> Service<Request<B>> for Forwarder<F>
where
    F: Fn(&mut Parts) -> Result<TunnelGroup, Status>,
    B: Body<Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ForwardFuture<B>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        if !is_grpc(&head.headers) {
            let mut response = Response::new(ResponseBody::default());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return ForwardFuture(Forwarding::Answered(Some(response)));
        }
        ForwardFuture(match (self.look_up)(&mut head) {
            Ok(mut group) => Forwarding::Passed(group.call(Request::from_parts(head, body))),
            Err(status) => Forwarding::Answered(Some(answer(&status))),
        })
    }
}

fn answer(status: &Status) -> Response<ResponseBody> {
    status.trailers_only(ResponseBody::default())
}

/// A call that a [`Forwarder`] passes on. Dropping it cancels the call.
#[derive(Debug)]
pub struct ForwardFuture<B>(Forwarding<B>);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all calls are passed on")]
enum Forwarding<B> {
    Passed(GroupResponseFuture<B>),
    /// Unless the answer was taken.
    Answered(Option<Response<ResponseBody>>),
}

impl<B: Body<Error: Into<BoxError>> + Send + 'static> Future for ForwardFuture<B> {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Forwarding::Passed(call) => {
                let response = ready!(Pin::new(call).poll(cx));
                // Nobody reads this: the caller has gone or reset its stream.
                Poll::Ready(Ok(response.unwrap_or_else(|error| {
                    answer(&Status::new(Code::Cancelled, error.to_string()))
                })))
            }
            Forwarding::Answered(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled again after it was ready.
                None => Poll::Pending,
            },
        }
    }
}
