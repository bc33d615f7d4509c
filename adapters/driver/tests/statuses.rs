//! Which status and which error an end has, in memory, on a tokio runtime and on smol's.

#[cfg(test)]
mod common;

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use common::service::{self, put};
use common::{
    AnyBody, Function, body_of, call_of, channel_body, data, finish, forward, make, on_both,
};
use grpctunnel_driver::{
    BoxError, Channel, Code, NeverProcessed, Options, RequestBody, RequestError, Runtime, Status,
    TransmitBody, TunnelEnd, TunnelService, connect, error_sources,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tower_service::Service;

/// An error with a source, as HTTP stacks have them.
#[derive(Debug)]
struct Layer(&'static str, BoxError);

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Layer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.1)
    }
}

const SECRET: &str = "10.0.0.7:443";

/// What a transport says.
fn reset() -> BoxError {
    let io = io::Error::new(io::ErrorKind::ConnectionReset, SECRET);
    Box::new(Layer("outermost", Box::new(Layer("between", Box::new(io)))))
}

/// The kind of the `io::Error` at the end of an error's sources.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let last = error_sources(error).last()?;
    last.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// No error of the chain says again what its source says.
fn says_nothing_twice(error: &(dyn Error + 'static)) {
    let texts = error_sources(error).map(ToString::to_string);
    let sources = error_sources(error).skip(1).map(ToString::to_string);
    for (text, source) in texts.zip(sources) {
        assert!(!text.contains(&source), "{text:?}, {source:?}");
        assert!(!text.contains(SECRET), "{text:?}");
    }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    pairs
        .iter()
        .map(pair)
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

/// A response of this head, messages and trailers.
fn respond(
    head: HeaderMap,
    messages: &[&'static [u8]],
    trailers: Option<HeaderMap>,
) -> Response<AnyBody> {
    let (frames, body) = channel_body();
    for message in messages {
        put(&frames, data(message));
    }
    if let Some(trailers) = trailers {
        put(&frames, Ok(Frame::trailers(trailers)));
    }
    let mut response = Response::new(body);
    *response.headers_mut() = head;
    response
}

/// What a call gets whose handler responds so.
async fn responded(
    runtime: &Runtime,
    response: impl Fn() -> Response<AnyBody> + Clone + Send + Sync + 'static,
) -> common::Done {
    let handler = Function(move |_: Request<RequestBody>| ready(response()));
    let channel = forward(runtime, handler).await;
    make(&channel, call_of("t.S/M", body_of(&[]))).await
}

#[test]
fn the_trailers_decide_where_the_head_is_not_the_end() {
    on_both(|runtime| async move {
        let found = || Some(headers(&[("grpc-status", "5"), ("grpc-message", "why")]));
        let ok = || Some(headers(&[("grpc-status", "0")]));
        let done = responded(&runtime, move || respond(ok().unwrap(), &[b"m"], found())).await;
        assert_eq!(done.status, Status::new(Code::NotFound, "why"));
        assert_eq!(done.messages, [b"m"]);
        let done = responded(&runtime, move || respond(found().unwrap(), &[b"m"], ok())).await;
        assert_eq!(done.status, Status::new(Code::Ok, ""));
        assert_eq!(done.messages, [b"m"]);
        // Without trailers messages are no success, whatever the head says.
        let done = responded(&runtime, move || respond(ok().unwrap(), &[b"m"], None)).await;
        assert_eq!(done.status.code(), Code::Unknown);
        // If nothing follows, the head is all of it.
        let done = responded(&runtime, move || respond(found().unwrap(), &[], None)).await;
        assert_eq!(done.status, Status::new(Code::NotFound, "why"));
    });
}

#[test]
fn of_several_statuses_the_last_counts() {
    on_both(|runtime| async move {
        let several = || {
            headers(&[
                ("grpc-status", "0"),
                ("grpc-message", "first"),
                ("grpc-status", "7"),
                ("grpc-message", "last"),
            ])
        };
        let expected = Status::new(Code::PermissionDenied, "last");
        let done = responded(&runtime, move || {
            respond(HeaderMap::new(), &[b"m"], Some(several()))
        });
        assert_eq!(done.await.status, expected);
        let done = responded(&runtime, move || {
            let mut response = service::status_only(&Status::new(Code::Ok, ""));
            *response.headers_mut() = several();
            response
        });
        assert_eq!(done.await.status, expected);
    });
}

/// The opening of a tunnel, too, is refused by a head that is the end, and by no other.
#[test]
fn a_tunnel_opens_on_a_head_that_is_not_the_end() {
    on_both(|runtime| async move {
        let carrier = Function(|request: Request<TransmitBody>| {
            std::mem::forget(request);
            let (frames, body) = channel_body();
            std::mem::forget(frames);
            let mut response = Response::new(body);
            *response.headers_mut() =
                headers(&[("content-type", "application/grpc"), ("grpc-status", "7")]);
            ready(response)
        });
        let options = Options::default();
        let opened = connect(carrier, &runtime, &options, HeaderMap::new()).await;
        assert!(opened.is_ok(), "{opened:?}");

        let carrier = Function(|_: Request<TransmitBody>| {
            let mut response = service::status_only(&Status::new(Code::PermissionDenied, "no"));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", grpc);
            ready(response)
        });
        let refused = connect(carrier, &runtime, &options, HeaderMap::new()).await;
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    });
}

#[test]
fn a_status_replaces_all_of_another() {
    let mut headers = HeaderMap::new();
    let details = Bytes::from_static(&[8, 5]);
    let first = Status::new(Code::NotFound, "why").with_details(details);
    first.write_headers(&mut headers);
    Status::new(Code::Ok, "").write_headers(&mut headers);
    let read = Status::from_headers(&headers);
    assert_eq!(read, Some(Status::new(Code::Ok, "")));
}

#[test]
fn an_error_keeps_its_code_and_text_whatever_its_trailers_are() {
    on_both(|runtime| async move {
        for alone in [false, true] {
            for (name, value) in [
                ("x-bin", "not base64".to_owned()),
                ("x-large", "x".repeat(70_000)),
            ] {
                let response = move || {
                    let mut last = headers(&[("grpc-status", "5"), ("grpc-message", "gone")]);
                    let value = HeaderValue::from_str(&value).unwrap();
                    last.insert(HeaderName::from_static(name), value);
                    if alone {
                        let mut response = service::status_only(&Status::new(Code::Ok, ""));
                        *response.headers_mut() = last;
                        return response;
                    }
                    respond(HeaderMap::new(), &[b"m"], Some(last))
                };
                let done = responded(&runtime, response).await;
                assert_eq!(done.status, Status::new(Code::NotFound, "gone"), "{name}");
            }
        }
    });
}

/// A service that fails.
#[derive(Clone)]
struct Failing<F>(F);

impl<B, F: Fn() -> BoxError> Service<Request<B>> for Failing<F> {
    type Response = Response<AnyBody>;
    type Error = BoxError;
    type Future = Ready<Result<Response<AnyBody>, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        ready(Err((self.0)()))
    }
}

#[test]
fn attack_a32_a_caller_is_told_a_handlers_error_in_one_line_and_no_source_of_it() {
    on_both(|runtime| async move {
        let channel = forward(&runtime, Failing(reset)).await;
        let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
        assert_eq!(done.status, Status::new(Code::Unavailable, "outermost"));
        assert!(!done.never_processed);

        // Nor of its body's.
        let done = responded(&runtime, || {
            let frames = futures_util::stream::iter([Err(reset())]);
            Response::new(http_body_util::BodyExt::boxed_unsync(StreamBody::new(
                frames,
            )))
        });
        let done = done.await;
        assert_eq!(done.status, Status::new(Code::Unavailable, "outermost"));

        let long = || BoxError::from(format!("two\nlines {}", "\u{f6}".repeat(10_000)));
        let channel = forward(&runtime, Failing(long)).await;
        let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
        let text = done.status.message();
        assert!(
            text.starts_with("two\\nlines") && text.len() < 300,
            "{text}"
        );
    });
}

#[test]
fn a_status_among_the_sources_of_a_handlers_error_is_its_status() {
    on_both(|runtime| async move {
        let error = || -> BoxError {
            let status = Status::new(Code::NotFound, "gone");
            Box::new(Layer("outermost", Box::new(status)))
        };
        let channel = forward(&runtime, Failing(error)).await;
        let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
        assert_eq!(done.status, Status::new(Code::NotFound, "gone"));
    });
}

#[test]
fn a_tunnel_that_is_not_opened_keeps_the_errors_of_its_transport() {
    on_both(|runtime| async move {
        let options = Options::default();
        let error = connect(Failing(reset), &runtime, &options, HeaderMap::new());
        let error = error.await.unwrap_err();
        assert_eq!(io_kind(&error), Some(io::ErrorKind::ConnectionReset));
        assert_eq!(error.code(), Code::Unavailable);
        says_nothing_twice(&error);
        assert!(!error.status().message().contains("outermost"));
    });
}

type Failure = smol::channel::Sender<Result<Frame<Bytes>, BoxError>>;

/// A forward tunnel whose carrier fails as it is told to.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn fragile(runtime: &Runtime) -> (Channel, Failure) {
    let handler = service::sample(Arc::default());
    let service = TunnelService::new(runtime.clone()).forward(handler);
    let (failure, failing) = smol::channel::bounded(1);
    let carrier = Breaking { service, failing };
    let options = Options::default();
    let channel = connect(carrier, runtime, &options, HeaderMap::new()).await;
    (channel.unwrap(), failure)
}

#[derive(Clone)]
struct Breaking<S> {
    service: S,
    failing: smol::channel::Receiver<Result<Frame<Bytes>, BoxError>>,
}

impl<S> Service<Request<TransmitBody>> for Breaking<S>
where
    S: Service<
            Request<TransmitBody>,
            Response = Response<TransmitBody>,
            Error = Infallible,
            Future = Ready<Result<Response<TransmitBody>, Infallible>>,
        >,
{
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<AnyBody>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<TransmitBody>) -> Self::Future {
        use futures_util::{StreamExt as _, stream::select};
        let failing = self.failing.clone();
        let response = self.service.call(request).into_inner();
        ready(response.map(|response| {
            response.map(|body| {
                let frames = http_body_util::BodyStream::new(body)
                    .map(|frame| frame.map_err(|error| Box::new(error) as BoxError));
                let frames = select(frames, Box::pin(failing));
                http_body_util::BodyExt::boxed_unsync(StreamBody::new(frames))
            })
        }))
    }
}

#[test]
fn a_tunnel_that_is_lost_keeps_the_errors_of_its_transport() {
    on_both(|runtime| async move {
        let (channel, failure) = fragile(&runtime).await;
        let request = call_of("t.S/Hang", body_of(&[]));
        let (response, ()) = futures_util::join!(channel.clone().call(request), async {
            common::until(|| channel.active_calls() == 1).await;
            put(&failure, Err(reset()));
        });
        let end = channel.closed().await;
        assert_eq!(io_kind(&end), Some(io::ErrorKind::ConnectionReset));
        assert_eq!(end.transport_error().unwrap().to_string(), "outermost");
        says_nothing_twice(&end);

        // Its calls have the same, and their status says less.
        let response = response.unwrap();
        let end = response.extensions().get::<TunnelEnd>().unwrap();
        assert_eq!(io_kind(end), Some(io::ErrorKind::ConnectionReset));
        let done = finish(response).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(
            !done.status.message().contains("outermost"),
            "{}",
            done.status
        );

        let response = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        let response = response.await.unwrap();
        let mark = response.extensions().get::<NeverProcessed>().unwrap();
        assert_eq!(io_kind(mark), Some(io::ErrorKind::ConnectionReset));
        says_nothing_twice(mark);
    });
}

#[test]
fn a_request_that_ends_early_says_why_once() {
    on_both(|runtime| async move {
        let (sender, bodies) = smol::channel::bounded(1);
        let handler = Function(move |request: Request<RequestBody>| {
            // A task of the handler's own goes on reading.
            sender.try_send(request.into_body()).unwrap();
            std::future::pending::<Response<AnyBody>>()
        });
        let channel = forward(&runtime, handler).await;
        let (_requests, body) = channel_body();
        let mut call = channel.clone().call(call_of("t.S/M", body));
        assert!(futures_util::poll!(&mut call).is_pending());
        let body = bodies.recv().await.unwrap();
        drop(call);
        let error: RequestError = common::read(body).await.unwrap_err();
        assert_eq!(error.status().code(), Code::Aborted);
        let status = error
            .source()
            .and_then(|source| source.downcast_ref::<Status>());
        assert_eq!(status, Some(error.status()));
        says_nothing_twice(&error);
    });
}
