//! Headers and trailers of a response, set by the handler whatever the outcome of the call.

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

/// The headers and trailers that a handler adds to its response.
///
/// A tonic handler can attach no trailers to a success and no headers to a failure; gRPC knows
/// both. [`WithOutgoing`] puts one of these into the extensions of every request.
#[derive(Clone, Debug, Default)]
pub struct Outgoing(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    headers: HeaderMap,
    trailers: HeaderMap,
}

impl Outgoing {
    /// That of this request; one that leads nowhere when there is no [`WithOutgoing`] around the
    /// service.
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .unwrap_or_default()
    }

    /// Adds headers. They reach the caller when the handler has not answered before.
    pub fn add_headers(&self, headers: HeaderMap) {
        self.with(|parts| append(&mut parts.headers, headers));
    }

    /// Adds trailers. They reach the caller when the response has not ended before.
    pub fn add_trailers(&self, trailers: HeaderMap) {
        self.with(|parts| append(&mut parts.trailers, trailers));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Parts) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_headers(&self) -> HeaderMap {
        self.with(|parts| mem::take(&mut parts.headers))
    }

    fn take_trailers(&self) -> HeaderMap {
        self.with(|parts| mem::take(&mut parts.trailers))
    }
}

fn append(to: &mut HeaderMap, from: HeaderMap) {
    let mut last = None;
    for (name, value) in from {
        last = name.or(last);
        if let Some(name) = &last {
            to.append(name.clone(), value);
        }
    }
}

/// A service whose handlers can use [`Outgoing`].
#[derive(Clone, Debug)]
pub struct WithOutgoing<S>(pub S);

impl<S: NamedService> NamedService for WithOutgoing<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<http::Request<B>> for WithOutgoing<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let outgoing = Outgoing::default();
        request.extensions_mut().insert(outgoing.clone());
        let response = self.0.call(request);
        Box::pin(async move { Ok(complete(response.await?, outgoing)) })
    }
}

/// Adds what the handler has set to its response.
fn complete(mut response: http::Response<Body>, outgoing: Outgoing) -> http::Response<Body> {
    let headers = outgoing.take_headers();
    if !response.headers().contains_key("grpc-status") {
        append(response.headers_mut(), headers);
        return response.map(|body| Body::new(WithTrailers { body, outgoing }));
    }
    let trailers = outgoing.take_trailers();
    append(response.headers_mut(), trailers);
    if headers.is_empty() {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let mut trailers = mem::replace(&mut parts.headers, headers);
    trailers.remove(CONTENT_LENGTH);
    let content_type = trailers.remove(CONTENT_TYPE);
    parts.headers.insert(
        CONTENT_TYPE,
        content_type.unwrap_or(HeaderValue::from_static("application/grpc")),
    );
    http::Response::from_parts(parts, Body::new(TrailersAlone(Some(trailers))))
}

struct WithTrailers {
    body: Body,
    outgoing: Outgoing,
}

impl HttpBody for WithTrailers {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let mut frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            append(trailers, self.outgoing.take_trailers());
        }
        Poll::Ready(frame)
    }
}

struct TrailersAlone(Option<HeaderMap>);

impl HttpBody for TrailersAlone {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
