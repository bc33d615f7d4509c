//! What calls and chunks cost beside their instructions: locks, wakes, allocations. Both ends are in
//! this process, on one thread, and each reads the body of the other.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use allocation_counter::measure;
use bytes::Bytes;
use grpctunnel_core::Side;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use tower_service::Service;

use crate::{
    Channel, Executor, MethodKind, Options, RequestBody, Runtime, Sleep, Task, Timer,
    TunnelService, connect,
};

thread_local! {
    static CLIENT_LOCKS: Cell<usize> = const { Cell::new(0) };
    static SERVER_LOCKS: Cell<usize> = const { Cell::new(0) };
    static WAKES: Cell<usize> = const { Cell::new(0) };
}

/// Counts an acquisition of the lock of a tunnel's end.
pub(crate) fn count_lock(side: Side) {
    let counter = match side {
        Side::Client => &CLIENT_LOCKS,
        Side::Server => &SERVER_LOCKS,
    };
    counter.set(counter.get() + 1);
}

/// Counts a task that is woken.
pub(crate) fn count_wake() {
    WAKES.set(WAKES.get() + 1);
}

struct Tokio;

impl Executor for Tokio {
    fn execute(&self, task: Task) {
        tokio::spawn(task);
    }
}

impl Timer for Tokio {
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

/// Reads the request, and answers with a message.
#[derive(Clone)]
struct Handler;

type Body = BoxBody<Bytes, Infallible>;

impl Service<Request<RequestBody>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                frame.unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(message(16)).with_trailers(async { Some(Ok(trailers)) });
            Ok(Response::new(body.boxed()))
        })
    }
}

/// A message with gRPC's prefix.
fn message(size: usize) -> Bytes {
    let mut bytes = vec![0; 5 + size];
    bytes[1..5].copy_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
    Bytes::from(bytes)
}

async fn call(channel: &mut Channel, request: Request<Body>) {
    let response = channel.call(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
}

fn request(body: Body, kind: MethodKind) -> Request<Body> {
    let mut request = Request::post("http://somewhere/t.S/M").body(body).unwrap();
    request.extensions_mut().insert(kind);
    request
}

/// What something cost, each time.
struct Costs {
    client_locks: f64,
    server_locks: f64,
    wakes: f64,
    allocations: f64,
}

impl Costs {
    fn of(name: &str, count: usize, act: impl FnOnce()) -> Self {
        let counters = [&CLIENT_LOCKS, &SERVER_LOCKS, &WAKES];
        let before = counters.map(|counter| counter.get());
        let info = measure(act);
        let each = |count_all: usize| count_all as f64 / count as f64;
        let [client_locks, server_locks, wakes] =
            [0, 1, 2].map(|index| each(counters[index].get() - before[index]));
        let costs = Self {
            client_locks,
            server_locks,
            wakes,
            allocations: each(usize::try_from(info.count_total).unwrap()),
        };
        println!(
            "{name}: {client_locks:.2} locks at the client, {server_locks:.2} at the server, \
             {wakes:.2} wakes, {:.2} allocations at both ends",
            costs.allocations
        );
        costs
    }
}

#[test]
fn calls_and_chunks_take_few_locks_and_allocations() {
    const CALLS: usize = 1_000;
    const CHUNKS: usize = 4_000;
    const CHUNK: usize = 16 << 10;
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let runtime = Runtime::new(Tokio, Tokio);
    let mut channel = tokio.block_on(async {
        let service = TunnelService::new(runtime.clone()).forward(Handler);
        connect(service, &runtime, &Options::default(), HeaderMap::new())
            .await
            .unwrap()
    });
    let unary = |channel: &mut Channel, count: usize| {
        let message = message(16);
        tokio.block_on(async {
            for _ in 0..count {
                let body = Full::new(message.clone()).boxed();
                call(channel, request(body, MethodKind::Unary)).await;
            }
        });
    };
    let upload = |channel: &mut Channel, count: usize| {
        let message = message(CHUNK);
        let frames = (0..count).map(move |_| Ok(Frame::data(message.clone())));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let request = request(BodyExt::boxed(body), MethodKind::ClientStreaming);
        tokio.block_on(call(channel, request));
    };
    // Memory that is kept is there then.
    unary(&mut channel, 10);
    let call = Costs::of("a unary call", CALLS, || unary(&mut channel, CALLS));
    upload(&mut channel, 100);
    let chunk = Costs::of("a chunk of 16 KiB", CHUNKS, || upload(&mut channel, CHUNKS));

    // A timeout of the tunnel adds one now and then.
    assert!(call.client_locks < 4.1 && call.server_locks < 4.1);
    assert!(chunk.client_locks <= 2.0 && chunk.server_locks <= 2.0);
    assert!(call.wakes <= 6.0 && chunk.wakes <= 2.0);
    // Headers as maps at both ends, boxes of bodies and tasks: none of them can be kept.
    let most = if cfg!(feature = "metrics") {
        48.0
    } else {
        40.0
    };
    assert!(call.allocations <= most && chunk.allocations <= 4.0);
}
