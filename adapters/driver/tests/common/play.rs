//! What several tests do with tunnels.

use std::sync::Arc;

use futures_util::future::{Either, select};
use grpctunnel_driver::{
    Channel, Code, Handler, NoHandler, Options, ReverseTunnel, Runtime, ServerHandle, TransmitBody,
    TunnelService, connect, serve_reverse,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use tower_service::Service;

use super::service::{Seen, failure};
use super::{AnyBody, Function, InMemory, body_of, call_of, channel_body, make, next_data, until};

/// Polls a call until the handler runs.
pub async fn until_started<F: Future + Unpin>(call: &mut F, seen: &Seen, started: usize) {
    let both = select(call, Box::pin(until(|| seen.started() == started)));
    match both.await {
        Either::Left(_) => panic!("the call has ended"),
        Either::Right(_) => {}
    }
}

/// One of fifty calls: number 7 is cancelled, number 23 fails.
pub async fn mixed(channel: Channel, number: u32) {
    let text = vec![number.to_le_bytes()[0]; 30_000];
    match number {
        7 => {
            let request = call_of("t.S/HeadersThenHang", body_of(&[]));
            let response = channel.clone().call(request).await.unwrap();
            let mut body = response.into_body();
            next_data(&mut body).await.unwrap();
        }
        23 => {
            let done = make(&channel, call_of("t.S/Fail", body_of(&[&text]))).await;
            assert_eq!(done.status, failure());
        }
        _ => {
            let method = match number % 4 {
                0 => "t.S/Unary",
                1 => "t.S/Echo",
                2 => "t.S/Collect",
                _ => "t.S/Count",
            };
            let count = number.to_string();
            let body = match method {
                "t.S/Count" => body_of(&[count.as_bytes()]),
                _ => body_of(&[&text, b"", &text]),
            };
            let done = make(&channel, call_of(method, body)).await;
            assert_eq!(done.status.code(), Code::Ok);
            match method {
                "t.S/Count" => assert_eq!(done.messages.len(), number.try_into().unwrap()),
                "t.S/Collect" => assert_eq!(done.messages, [b"30000,0,30000"]),
                _ => assert!(done.messages == [&text[..], b"", &text[..]]),
            }
        }
    }
}

/// A carrier that answers with one response, whose body never ends.
pub fn answering(
    response: impl Fn() -> http::response::Builder + Clone + Send + 'static,
) -> impl Service<
    Request<TransmitBody>,
    Response = Response<AnyBody>,
    Error = std::convert::Infallible,
    Future: Send,
> + Send
+ 'static {
    Function(move |request: Request<TransmitBody>| {
        let response = response();
        async move {
            std::mem::forget(request);
            let (frames, body) = channel_body();
            std::mem::forget(frames);
            response.body(body).unwrap()
        }
    })
}

/// A reverse tunnel in memory: its two ends.
pub async fn reverse(
    runtime: &Runtime,
    handler: impl Handler,
) -> (TunnelService<NoHandler>, ReverseTunnel, ServerHandle) {
    let (sender, tunnels) = smol::channel::bounded(1);
    let service = TunnelService::new(runtime.clone()).reverse(move |tunnel| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(tunnel).await;
        }
    });
    let carrier = InMemory(service.clone());
    let options = Options::default();
    let metadata = metadata("x-name", "agent");
    let handle = serve_reverse(carrier, handler, runtime, &options, metadata);
    let handle = handle.await.unwrap();
    (service, tunnels.recv().await.unwrap(), handle)
}

pub fn metadata(name: &'static str, value: &'static str) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    metadata.insert(name, HeaderValue::from_static(value));
    metadata
}

/// A forward tunnel's network client, by hand: what it sends, and the response's body.
pub fn by_hand(
    runtime: &Runtime,
    options: Options,
    seen: &Arc<Seen>,
) -> (TunnelService<impl Handler>, super::Frames, TransmitBody) {
    let mut service = TunnelService::new(runtime.clone())
        .with_options(options)
        .forward(super::service::sample(seen.clone()));
    let (frames, body) = channel_body();
    let request = Request::post("/grpctunnel.v1.TunnelService/OpenTunnel")
        .body(body)
        .unwrap();
    let response = service.call(request).into_inner().unwrap();
    (service, frames, response.into_body())
}

/// A tunnel client to an old peer, and the body that it sends.
pub async fn to_old_peer(runtime: &Runtime) -> (Channel, TransmitBody) {
    let mut options = Options::default();
    options.old_peer = true;
    let (sender, bodies) = smol::channel::bounded(1);
    let carrier = Function(move |request: Request<TransmitBody>| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(request.into_body()).await;
            std::future::pending::<Response<AnyBody>>().await
        }
    });
    let channel = connect(carrier, runtime, &options, HeaderMap::new()).await;
    (channel.unwrap(), bodies.recv().await.unwrap())
}

/// A forward tunnel's network server, by hand: the channel, what it gets of it, and what it sends.
/// It does not negotiate.
pub async fn to_a_server_by_hand(runtime: &Runtime) -> (Channel, TransmitBody, super::Frames) {
    let (sender, bodies) = smol::channel::bounded(1);
    let (frames, body) = channel_body();
    let body = std::sync::Mutex::new(Some(body));
    let carrier = Function(move |request: Request<TransmitBody>| {
        let _ = sender.try_send(request.into_body());
        let body = body.lock().unwrap().take().unwrap();
        let response = Response::builder().header("content-type", "application/grpc");
        std::future::ready(response.body(body).unwrap())
    });
    let options = Options::default();
    let channel = connect(carrier, runtime, &options, HeaderMap::new()).await;
    (channel.unwrap(), bodies.recv().await.unwrap(), frames)
}
