//! A call that sends back what it gets: what `check` and `bench` measure links with.
//!
//! A gateway answers it itself where the way of a call ends there, `grpctunnel bench --listen` in the
//! place of a local server.

use std::{
    convert::Infallible,
    error::Error,
    future::{poll_fn, ready},
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use grpctunnel_driver::{Code, GRPC_CONTENT_TYPE, Status};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio_stream::{Stream, StreamExt};
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// The method.
pub(crate) const PATH: &str = "/grpctunnel.echo.v1.Echo/Echo";

/// Bytes of a message's payload where throughput is measured.
const CHUNK: usize = 16 << 10;
const STATUS: &str = "grpc-status";
const NO_STATUS: &str = "the answer ended without a status";

/// Answers the call.
pub(crate) fn answer<B>(request: Request<B>) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let body = request.into_body().map_err(Into::into);
    let body = body.with_trailers(ready(Some(Ok(trailers))));
    let mut response = Response::new(tonic::body::Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

/// The body of a request of these calls.
pub(crate) type Sent = tonic::body::Body;

/// What was exchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchanged {
    /// Bytes that came back.
    pub(crate) bytes: u64,
    /// How long that took.
    pub(crate) took: Duration,
}

/// Sends messages for `time`, each of which comes back.
pub(crate) async fn exchange<S, B>(
    service: &mut S,
    headers: &HeaderMap,
    time: Duration,
) -> Result<Exchanged, Status>
where
    S: Service<Request<Sent>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let begun = Instant::now();
    let body = Sent::new(StreamBody::new(chunks(begun, time)));
    let mut bytes = 0;
    call(service, PATH, headers, body, |data| {
        bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
    })
    .await?;
    let took = begun.elapsed();
    Ok(Exchanged { bytes, took })
}

fn chunks(
    begun: Instant,
    time: Duration,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let chunk = message(CHUNK);
    tokio_stream::iter(std::iter::repeat(chunk))
        .take_while(move |_| begun.elapsed() < time)
        .map(|chunk| Ok(Frame::data(chunk)))
}

/// A message of zeros, as gRPC writes it.
fn message(size: usize) -> Bytes {
    let mut message = BytesMut::zeroed(1);
    message.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    message.put_bytes(0, size);
    message.freeze()
}

async fn call<S, B>(
    service: &mut S,
    path: &str,
    headers: &HeaderMap,
    body: Sent,
    mut read: impl FnMut(&Bytes),
) -> Result<(), Status>
where
    S: Service<Request<Sent>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, GRPC_CONTENT_TYPE)
        .header(header::TE, "trailers");
    let request = request.body(body).map_err(lost)?;
    let (mut head, body) = request.into_parts();
    let given = headers.iter();
    head.headers
        .extend(given.map(|(name, value)| (name.clone(), value.clone())));
    let request = Request::from_parts(head, body);
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(lost)?;
    let response = service.call(request).await.map_err(lost)?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        let text = format!("the answer was HTTP {}", head.status);
        return Err(Status::new(Code::Unknown, text));
    }
    if head.headers.contains_key(STATUS) {
        return status(&head.headers);
    }
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        match frame.map_err(lost)?.into_data() {
            Ok(data) => read(&data),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => return status(&trailers),
                Err(_) => continue,
            },
        }
    }
    Err(Status::new(Code::Internal, NO_STATUS))
}

/// The status in the trailers of an answer.
fn status(trailers: &HeaderMap) -> Result<(), Status> {
    match Status::from_headers(trailers) {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::new(Code::Internal, NO_STATUS)),
    }
}

fn lost(error: impl Into<BoxError>) -> Status {
    let error = error.into();
    Status::new(Code::Unavailable, crate::words::reason(error.as_ref()))
}
