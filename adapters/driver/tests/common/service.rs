//! A service with a method for each thing that a call can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use futures_util::StreamExt;
use grpctunnel_driver::{Code, RequestBody, Status};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, Empty, StreamBody};

use super::{AnyBody, Frames, Function, channel_body, data, messages, read, trailers};

/// What handlers did that no response tells.
#[derive(Debug, Default)]
pub struct Seen {
    /// Handlers that were started.
    pub started: AtomicUsize,
    /// Handlers and response bodies that were dropped before they had ended.
    pub dropped: AtomicUsize,
}

struct Unfinished(Arc<Seen>, bool);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Seen {
    pub fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// The details of the status of `Fail`: a `google.rpc.Status` with one `Any`.
pub const DETAILS: &[u8] = b"\x08\x05\x12\x04none\x1a\x09\x0a\x03t/x\x12\x02\xff\x00";

pub fn failure() -> Status {
    Status::new(Code::NotFound, "nöthing: 100%\n").with_details(Bytes::from_static(DETAILS))
}

/// The status of `Fail` as it arrives. Code and message are those of the status, the details byte for byte those that were given.
pub fn failure_as_sent() -> Status {
    let mut details = b"\x08\x05\x12\x10n\xc3\xb6thing: 100%\n".to_vec();
    details[3] = u8::try_from(details.len() - 4).unwrap();
    details.extend_from_slice(&DETAILS[8..]);
    failure().with_details(Bytes::from(details))
}

/// The handler. `seen` notes what it does.
pub fn sample(
    seen: Arc<Seen>,
) -> Function<impl Fn(Request<RequestBody>) -> super::AnyFuture<Response<AnyBody>> + Clone + Sync> {
    Function(move |request: Request<RequestBody>| {
        let seen = seen.clone();
        let future = async move {
            seen.started.fetch_add(1, Ordering::SeqCst);
            let mut unfinished = Unfinished(seen.clone(), false);
            let response = dispatch(seen, request).await;
            unfinished.1 = true;
            response
        };
        Box::pin(future) as super::AnyFuture<_>
    })
}

/// The sample service, with handlers that panic wherever one can.
pub fn panicking(
    seen: Arc<Seen>,
) -> Function<impl Fn(Request<RequestBody>) -> super::AnyFuture<Response<AnyBody>> + Clone + Sync> {
    let sample = sample(seen.clone());
    Function(
        move |request: Request<RequestBody>| match request.uri().path() {
            "/t.S/PanicAtOnce" => panic!("a handler that panics at once"),
            "/t.S/PanicInBody" => {
                let frames = futures_util::stream::poll_fn(|_| panic!("a body that panics"));
                let response = Response::new(StreamBody::new(frames).boxed_unsync());
                Box::pin(std::future::ready(response)) as super::AnyFuture<_>
            }
            "/t.S/PanicAtItsEnd" => {
                let end = PanicAtItsEnd;
                seen.started.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    let _end = end;
                    std::future::pending().await
                })
            }
            _ => (sample.0)(request),
        },
    )
}

struct PanicAtItsEnd;

impl Drop for PanicAtItsEnd {
    fn drop(&mut self) {
        panic!("a handler that panics when it is dropped");
    }
}

async fn dispatch(seen: Arc<Seen>, request: Request<RequestBody>) -> Response<AnyBody> {
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        "/t.S/Unary" => unary(parts.headers, body).await,
        "/t.S/Collect" => collect(body).await,
        "/t.S/Count" => count(body).await,
        "/t.S/Echo" => echo(body),
        "/t.S/Fail" => status_only(&failure()),
        "/t.S/FailLate" => {
            let (frames, body) = channel_body();
            put(&frames, data(b"before"));
            put(&frames, trailers(&failure()));
            Response::new(body)
        }
        "/t.S/Panic" => panic!("a handler that panics"),
        "/t.S/Hang" => std::future::pending().await,
        "/t.S/HeadersThenHang" => {
            let unfinished = Unfinished(seen, false);
            let first = futures_util::stream::iter([data(b"first")]);
            let rest = futures_util::stream::poll_fn(move |_| {
                let _ = &unfinished;
                Poll::Pending
            });
            Response::new(StreamBody::new(first.chain(rest)).boxed_unsync())
        }
        "/t.S/NoStatus" => {
            Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync())
        }
        "/t.S/Http" => {
            let mut response = status_only(&Status::new(Code::Ok, ""));
            response.headers_mut().clear();
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            response
        }
        "/t.S/Html" => {
            let mut response = Response::new(super::body_of(&[b"<html>"]));
            let html = HeaderValue::from_static("text/html");
            response.headers_mut().insert("content-type", html);
            response
        }
        path => status_only(&Status::new(Code::Unimplemented, path.to_owned())),
    }
}

pub fn put(frames: &Frames, frame: Result<Frame<Bytes>, grpctunnel_driver::BoxError>) {
    frames.try_send(frame).unwrap();
}

/// A response of headers alone.
pub fn status_only(status: &Status) -> Response<AnyBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    status.write_headers(response.headers_mut());
    response
}

/// Sends the request back, its headers as headers, and again as trailers.
async fn unary(headers: HeaderMap, body: RequestBody) -> Response<AnyBody> {
    let request = match read(body).await {
        Ok((request, _)) => request,
        Err(error) => return status_only(error.status()),
    };
    let mut mine = HeaderMap::new();
    for (name, value) in &headers {
        if name.as_str().starts_with("x-") || name == "te" {
            mine.append(name.clone(), value.clone());
        }
    }
    let (frames, body) = channel_body();
    for message in messages(&request) {
        put(&frames, data(&message));
    }
    let mut last = mine.clone();
    last.insert("grpc-status", HeaderValue::from_static("0"));
    put(&frames, Ok(Frame::trailers(last)));
    let mut response = Response::new(body);
    *response.headers_mut() = mine;
    response
}

/// Reads all requests, and says how many bytes they had.
async fn collect(body: RequestBody) -> Response<AnyBody> {
    let request = match read(body).await {
        Ok((request, _)) => request,
        Err(error) => return status_only(error.status()),
    };
    let sizes: Vec<String> = messages(&request)
        .iter()
        .map(|message| message.len().to_string())
        .collect();
    let (frames, body) = channel_body();
    put(&frames, data(sizes.join(",").as_bytes()));
    put(&frames, trailers(&Status::new(Code::Ok, "")));
    Response::new(body)
}

/// Sends as many messages as the request says.
async fn count(body: RequestBody) -> Response<AnyBody> {
    let (request, _) = read(body).await.unwrap();
    let number = messages(&request).remove(0);
    let number: u32 = String::from_utf8(number).unwrap().parse().unwrap();
    let (frames, body) = channel_body();
    for index in 0..number {
        put(&frames, data(index.to_string().as_bytes()));
    }
    put(&frames, trailers(&Status::new(Code::Ok, "")));
    Response::new(body)
}

/// Sends back what comes, as it comes, whatever its messages are.
fn echo(body: RequestBody) -> Response<AnyBody> {
    let frames = BodyStream::new(body)
        .map(|frame| frame.map_err(|error| Box::new(error) as grpctunnel_driver::BoxError))
        .chain(futures_util::stream::once(async {
            trailers(&Status::new(Code::Ok, ""))
        }));
    Response::new(StreamBody::new(frames).boxed_unsync())
}
