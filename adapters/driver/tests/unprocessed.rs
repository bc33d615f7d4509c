//! Which calls are known never to have been processed, in memory, on a tokio runtime and on smol's.

#[cfg(test)]
mod common;

use std::error::Error;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::frames::{FromServer, server};
use common::play::{to_a_server_by_hand, until_started};
use common::service::{self, Seen, put, status_only};
use common::{
    AnyBody, Function, InMemory, body_of, call_of, channel_body, data, forward, make, next_data,
    on_both, trailers,
};
use grpctunnel_driver::{
    BoxError, Channel, Code, Handler, NeverProcessed, Options, RequestBody, ResponseBody, Runtime,
    Status, TunnelService, connect,
};
use grpctunnel_proto::v1::CloseStream;
use http::{HeaderMap, Request, Response};
use tower_service::Service;

fn unavailable() -> Status {
    Status::new(Code::Unavailable, "no agent")
}

/// What a call gets whose handler responds so, with the mark.
async fn marked(
    runtime: &Runtime,
    response: impl Fn() -> Response<AnyBody> + Clone + Send + Sync + 'static,
) -> common::Done {
    let handler = Function(move |_: Request<RequestBody>| {
        let mut response = response();
        response.extensions_mut().insert(NeverProcessed::new());
        ready(response)
    });
    let channel = forward(runtime, handler).await;
    make(&channel, call_of("t.S/M", body_of(&[]))).await
}

#[test]
fn a_handler_says_that_no_handler_saw_the_call() {
    on_both(|runtime| async move {
        let done = marked(&runtime, || status_only(&unavailable())).await;
        assert_eq!(done.status, unavailable());
        assert!(done.never_processed);
        // A success was processed, and so was a call with a message.
        let done = marked(&runtime, || status_only(&Status::new(Code::Ok, ""))).await;
        assert_eq!(done.status.code(), Code::Ok);
        assert!(!done.never_processed);
        let done = marked(&runtime, || {
            let (frames, body) = channel_body();
            put(&frames, data(b"m"));
            put(&frames, trailers(&unavailable()));
            Response::new(body)
        });
        let done = done.await;
        assert_eq!(done.status, unavailable());
        assert!(!done.never_processed);
    });
}

/// An error of a handler that could not reach what handles the call.
#[derive(Debug)]
struct Unreachable(NeverProcessed);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not reached")
    }
}

impl Error for Unreachable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[derive(Clone)]
struct Failing;

impl Service<Request<RequestBody>> for Failing {
    type Response = Response<AnyBody>;
    type Error = BoxError;
    type Future = Ready<Result<Response<AnyBody>, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<RequestBody>) -> Self::Future {
        ready(Err(Box::new(Unreachable(NeverProcessed::new()))))
    }
}

#[test]
fn an_error_says_that_no_handler_saw_the_call() {
    on_both(|runtime| async move {
        let channel = forward(&runtime, Failing).await;
        let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
        assert_eq!(done.status, Status::new(Code::Unavailable, "not reached"));
        assert!(done.never_processed);
    });
}

/// A proxy: answers with what another tunnel answers.
#[derive(Clone)]
struct Proxy(Channel);

impl Service<Request<RequestBody>> for Proxy {
    type Response = Response<ResponseBody>;
    type Error = grpctunnel_driver::CallError;
    type Future = grpctunnel_driver::ResponseFuture<RequestBody>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        self.0.call(request)
    }
}

#[test]
fn a_proxy_passes_it_on() {
    on_both(|runtime| async move {
        let behind = forward(&runtime, service::sample(Arc::default())).await;
        let channel = forward(&runtime, Proxy(behind.clone())).await;
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.messages, [b"m"]);
        behind.close();
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
    });
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn tunnel_to<H: Handler + Sync>(runtime: &Runtime, service: TunnelService<H>) -> Channel {
    let options = Options::default();
    let channel = connect(InMemory(service), runtime, &options, HeaderMap::new()).await;
    channel.unwrap()
}

#[test]
fn what_the_peer_refuses_before_a_handler_is_known_to_be_unprocessed() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let mut options = Options::default();
        options.limits.max_streams = 1;
        let service = TunnelService::new(runtime.clone())
            .with_options(options)
            .forward(service::sample(seen.clone()));
        let channel = tunnel_to(&runtime, service.clone()).await;
        let mut hanging = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        until_started(&mut hanging, &seen, 1).await;
        // No room at the other end.
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.status.code(), Code::ResourceExhausted);
        assert!(done.never_processed);
        // It drains.
        service.drain(Duration::from_secs(3_600));
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
        // A handler may have seen the one that is open.
        channel.close();
        let done = common::finish(hanging.await.unwrap()).await;
        assert!(!done.never_processed);
    });
}

#[test]
fn a_peer_with_which_the_extension_is_not_agreed_is_not_believed() {
    on_both(|runtime| async move {
        let (channel, mut body, frames) = to_a_server_by_hand(&runtime).await;
        let refuse = async {
            let _ = next_data(&mut body).await;
            let close = CloseStream {
                status: Some(grpctunnel_proto::google::rpc::Status {
                    code: 14,
                    ..Default::default()
                }),
                unprocessed: true,
                ..CloseStream::default()
            };
            put(&frames, server(1, FromServer::CloseStream(close)));
        };
        let call = make(&channel, call_of("t.S/M", body_of(&[])));
        let (done, ()) = futures_util::join!(call, refuse);
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(!done.never_processed);
    });
}
