//! The agent's side towards the local server: calls go to it as they are.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tonic::{Code, Status};
use tower_service::Service;

use crate::origin::Origin;

/// Enough for a link without much delay. The connection has room for every stream, so a
/// caller that does not read stops nobody else.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS;
const STREAMS: u32 = 1024;
const MAX_FRAME: u32 = 256 << 10;
const MAX_HEADERS: u32 = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn Error + Send + Sync>;

/// The local server. Connects when there is a call, and again when the connection was lost.
#[derive(Debug)]
pub(crate) struct Local<B> {
    client: Client<HttpConnector, Pin<Box<B>>>,
    origin: Origin,
}

impl<B> Clone for Local<B> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            origin: self.origin.clone(),
        }
    }
}

impl<B> Local<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(origin: Origin) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(None)
            .http2_only(true)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_frame_size(MAX_FRAME)
            .http2_max_header_list_size(MAX_HEADERS)
            .build(connector);
        Self { client, origin }
    }
}

/// What the local server answers, or the status that stands for it.
pub(crate) type Answer = Response<Either<LocalBody, Empty<Bytes>>>;

impl<B> Service<Request<B>> for Local<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
        head.uri = self.origin.with_path(path);
        head.version = Version::HTTP_2;
        let request = Request::from_parts(head, Box::pin(body));
        let origin = self.origin.clone();
        let answer = self.client.request(request);
        Box::pin(async move {
            Ok(match answer.await {
                Ok(response) => response.map(|body| Either::Left(LocalBody::new(body, origin))),
                Err(error) => status_of(&error, &origin).into_http().map(Either::Right),
            })
        })
    }
}

/// The body of an answer. Where the connection breaks, it ends with the trailers that say so.
#[derive(Debug)]
pub(crate) struct LocalBody {
    body: Option<Incoming>,
    origin: Origin,
}

impl LocalBody {
    const fn new(body: Incoming, origin: Origin) -> Self {
        Self {
            body: Some(body),
            origin,
        }
    }
}

impl Body for LocalBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            None => return Poll::Ready(None),
            Some(Err(error)) => {
                self.body = None;
                Frame::trailers(trailers_of(status_of(&error, &self.origin)))
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

fn trailers_of(status: Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // A message that is no header value leaves the code alone.
    if status.add_header(&mut trailers).is_err() {
        let bare = Status::new(status.code(), "");
        let _ = bare.add_header(&mut trailers);
    }
    trailers
}

/// The status of a call that the local server did not answer, or did not finish.
fn status_of(error: &(dyn Error + 'static), origin: &Origin) -> Status {
    let mut last = error;
    let mut reason = None;
    while let Some(source) = last.source() {
        last = source;
        if let Some(reset) = last.downcast_ref::<h2::Error>()
            && reset.is_reset()
        {
            reason = reset.reason();
        }
    }
    match reason {
        Some(reason) => Status::new(
            code_of(reason),
            format!(
                "the local server {origin} reset the call: {}",
                reason.description()
            ),
        ),
        None => Status::unavailable(format!("the local server {origin} is not there: {last}")),
    }
}

/// How gRPC's protocol document maps the reason of a reset.
const fn code_of(reason: h2::Reason) -> Code {
    match reason {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Cancelled,
        h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}
