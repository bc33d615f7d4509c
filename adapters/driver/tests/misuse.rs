//! What a caller may do wrong with the bodies of its calls, in memory, on a tokio runtime and on
//! smol's.

#[cfg(test)]
mod common;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use common::frames::FromClient;
use common::play::to_old_peer;
use common::service::{self, Seen, put};
use common::{
    AnyBody, Function, InMemory, body_of, call_of, channel_body, data, finish, forward, make,
    messages, on_both,
};
use grpctunnel_driver::{
    BoxError, Channel, Code, Options, RequestBody, Runtime, TransmitBody, TunnelService, connect,
};
use grpctunnel_proto::v1::ClientToServer;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use prost::Message;
use tower_service::Service;

type Yield = Option<Result<Frame<Bytes>, BoxError>>;

/// A body that yields what it is told to, also behind its own end. Then it is pending.
struct Unruly(std::vec::IntoIter<Yield>);

impl Unruly {
    fn boxed(yields: Vec<Yield>) -> AnyBody {
        http_body_util::BodyExt::boxed_unsync(Self(yields.into_iter()))
    }
}

impl Body for Unruly {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.next().map_or(Poll::Pending, Poll::Ready)
    }
}

fn trailers() -> Yield {
    Some(Ok(Frame::trailers(HeaderMap::new())))
}

/// The kinds of frames that a call with this body sends, on a tunnel that then carries another.
async fn sent(runtime: &Runtime, yields: Vec<Yield>) -> Vec<(i64, &'static str)> {
    let (channel, mut carrier) = to_old_peer(runtime).await;
    let mut first = channel
        .clone()
        .call(call_of("t.S/M", Unruly::boxed(yields)));
    let mut second = channel.clone().call(call_of("t.S/M", body_of(&[b"2"])));
    let mut cx = Context::from_waker(Waker::noop());
    // The tunnel is asked again and again, as a woken task would.
    let mut bytes = Vec::new();
    for _ in 0..10 {
        assert!(Pin::new(&mut first).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut second).poll(&mut cx).is_pending());
        bytes.extend(take(&mut carrier, &mut cx));
    }
    assert!(channel.is_open());
    messages(&bytes).iter().map(|frame| kind(frame)).collect()
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn take(carrier: &mut TransmitBody, cx: &mut Context<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Poll::Ready(Some(frame)) = Pin::new(&mut *carrier).poll_frame(cx) {
        bytes.extend(frame.unwrap().into_data().unwrap());
    }
    bytes
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn kind(frame: &[u8]) -> (i64, &'static str) {
    let frame = ClientToServer::decode(frame).unwrap();
    let kind = match frame.frame.unwrap() {
        FromClient::NewStream(_) => "new",
        FromClient::RequestMessage(_) => "message",
        FromClient::MoreRequestData(_) => "more",
        FromClient::HalfClose(()) => "half",
        _ => "else",
    };
    (frame.stream_id, kind)
}

/// What is sent for one message, and then for the second call.
const ONE_MESSAGE: [(i64, &str); 6] = [
    (1, "new"),
    (1, "message"),
    (1, "half"),
    (2, "new"),
    (2, "message"),
    (2, "half"),
];

#[test]
fn conf_182_a_body_that_ends_twice_half_closes_once() {
    on_both(|runtime| async move {
        for ends in [
            vec![None, None],
            vec![trailers(), None],
            vec![trailers(), trailers()],
            vec![None, trailers()],
        ] {
            let mut yields = vec![Some(data(b"1"))];
            yields.extend(ends);
            let mut sent = sent(&runtime, yields).await;
            sent.sort_by_key(|(id, _)| *id);
            assert_eq!(sent, ONE_MESSAGE);
        }
    });
}

#[test]
fn conf_183_what_a_body_yields_behind_its_end_is_not_sent() {
    on_both(|runtime| async move {
        for end in [trailers(), None] {
            let yields = vec![Some(data(b"1")), end, Some(data(b"late")), None];
            let mut sent = sent(&runtime, yields).await;
            sent.sort_by_key(|(id, _)| *id);
            assert_eq!(sent, ONE_MESSAGE);
        }
        // Nor does an answer become longer.
        let handler = Function(|_: Request<RequestBody>| async {
            let mut last = HeaderMap::new();
            last.insert("grpc-status", http::HeaderValue::from_static("0"));
            let last = Some(Ok(Frame::trailers(last)));
            Response::new(Unruly::boxed(vec![
                Some(data(b"1")),
                last,
                Some(data(b"late")),
                None,
            ]))
        });
        let channel = forward(&runtime, handler).await;
        let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
        assert_eq!(done.messages, [b"1"]);
        assert_eq!(done.status.code(), Code::Ok);
        assert!(channel.is_open());
    });
}

/// A forward tunnel of ends that take messages of up to 4 MiB.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn with_largest_message(
    runtime: &Runtime,
    handler: impl grpctunnel_driver::Handler + Sync,
) -> Channel {
    let mut options = Options::default();
    options.limits.max_message = 4 << 20;
    let service = TunnelService::new(runtime.clone())
        .with_options(options.clone())
        .forward(handler);
    let channel = connect(InMemory(service), runtime, &options, HeaderMap::new()).await;
    channel.unwrap()
}

/// The beginning of a message of 2^32-1 bytes. A prefix can announce no more.
fn largest() -> Yield {
    let bytes = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    Some(Ok(Frame::data(bytes)))
}

#[test]
fn conf_185_a_message_that_is_announced_as_four_gibibytes_fails_its_call() {
    on_both(|runtime| async move {
        let echo = service::sample(Arc::new(Seen::default()));
        let channel = with_largest_message(&runtime, echo).await;
        let body = Unruly::boxed(vec![largest()]);
        let done = make(&channel, call_of("t.S/Collect", body)).await;
        assert_eq!(done.status.code(), Code::ResourceExhausted);
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.messages, [b"m"]);

        // A body that ends there was not a message.
        let body = Unruly::boxed(vec![largest(), None]);
        let done = make(&channel, call_of("t.S/Collect", body)).await;
        assert_eq!(done.status.code(), Code::Internal);
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.messages, [b"m"]);

        let handler = Function(|request: Request<RequestBody>| async move {
            let mut yields = match request.uri().path() {
                "/t.S/Small" => vec![Some(data(&[7]))],
                _ => return Response::new(Unruly::boxed(vec![largest()])),
            };
            let ok = grpctunnel_driver::Status::new(Code::Ok, "");
            yields.push(Some(common::trailers(&ok)));
            Response::new(Unruly::boxed(yields))
        });
        let channel = with_largest_message(&runtime, handler).await;
        let done = make(&channel, call_of("t.S/Large", body_of(&[]))).await;
        assert_eq!(done.status.code(), Code::ResourceExhausted);
        let done = make(&channel, call_of("t.S/Small", body_of(&[]))).await;
        assert_eq!(done.messages, [[7]]);
    });
}

#[test]
fn conf_186_when_the_ids_are_used_up_calls_are_refused_and_the_tunnel_lives() {
    on_both(|runtime| async move {
        let service =
            TunnelService::new(runtime.clone()).forward(service::sample(Arc::new(Seen::default())));
        let mut options = Options::default();
        options.first_stream_id = i64::MAX - 1;
        let channel = connect(InMemory(service), &runtime, &options, HeaderMap::new()).await;
        let channel = channel.unwrap();
        let (requests, body) = channel_body();
        let echo = channel.clone().call(call_of("t.S/Echo", body)).await;
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"last"]))).await;
        assert_eq!(done.messages, [b"last"]);
        for _ in 0..2 {
            let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
            assert_eq!(done.status.code(), Code::Unavailable);
            assert!(done.never_processed);
        }
        // The call that is open goes on.
        put(&requests, data(b"still here"));
        drop(requests);
        let done = finish(echo.unwrap()).await;
        assert_eq!(done.messages, [b"still here"]);
        assert_eq!(done.status.code(), Code::Ok);
        assert_eq!(channel.counters().opened, 2);
    });
}
