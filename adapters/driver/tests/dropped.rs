//! Futures and tasks that are dropped wherever they wait, or panic: nothing is left behind.

#[cfg(test)]
mod common;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use allocation_counter::measure;
use bytes::Bytes;
use common::frames::{FromClient, FromServer};
use common::service::{self, Seen, put};
use common::steps::Steps;
use common::{
    AnyFuture, Done, InMemory, body_of, call_of, channel_body, data, finish, make, next_data,
    whole_messages,
};
use futures_util::future::join;
use grpctunnel_driver::{
    CallError, Channel, Code, Options, ReverseTunnel, TransmitBody, TunnelService, connect,
    serve_reverse,
};
use grpctunnel_proto::v1::{ClientToServer, ServerToClient};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tower_service::Service;

/// The bytes that went one way.
type Sent = Arc<Mutex<Vec<u8>>>;

/// A body whose bytes are noted.
struct Tapped<B>(B, Sent);

impl<B: Body<Data = Bytes> + Unpin> Body for Tapped<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let poll = Pin::new(&mut this.0).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Ok(mut sent)) = (&poll, this.1.lock())
            && let Some(data) = frame.data_ref()
        {
            sent.extend_from_slice(data);
        }
        poll
    }
}

/// A carrier in memory whose bytes are noted, those of its client and those of its server.
#[derive(Clone)]
struct Tap<S> {
    service: S,
    client: Sent,
    server: Sent,
}

impl<S> Tap<S> {
    fn new(service: S) -> Self {
        Self {
            service,
            client: Sent::default(),
            server: Sent::default(),
        }
    }
}

impl<S> Service<Request<TransmitBody>> for Tap<S>
where
    S: Service<Request<Tapped<TransmitBody>>, Response = Response<TransmitBody>>,
    S::Future: Send + 'static,
{
    type Response = Response<Tapped<TransmitBody>>;
    type Error = S::Error;
    type Future = AnyFuture<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<TransmitBody>) -> Self::Future {
        let client = self.client.clone();
        let response = self.service.call(request.map(|body| Tapped(body, client)));
        let server = self.server.clone();
        Box::pin(async move { Ok(response.await?.map(|body| Tapped(body, server))) })
    }
}

/// What the frames of a tunnel say about the ends of its calls: (cancels, closes) by stream.
fn ends_of(client: &[u8], server: &[u8]) -> std::collections::BTreeMap<i64, (usize, usize)> {
    let mut ends = std::collections::BTreeMap::<_, (usize, usize)>::new();
    for frame in whole_messages(client).0 {
        let frame = ClientToServer::decode(frame.as_slice()).unwrap_or_default();
        if let Some(FromClient::Cancel(())) = frame.frame {
            ends.entry(frame.stream_id).or_default().0 += 1;
        }
    }
    for frame in whole_messages(server).0 {
        let frame = ServerToClient::decode(frame.as_slice()).unwrap_or_default();
        if let Some(FromServer::CloseStream(_)) = frame.frame {
            ends.entry(frame.stream_id).or_default().1 += 1;
        }
    }
    ends
}

/// A call whose request goes on when its response has begun.
async fn echo(mut channel: Channel) -> Option<Done> {
    let (requests, body) = channel_body();
    put(&requests, data(b"1"));
    let response = channel.call(call_of("t.S/Echo", body)).await.ok()?;
    smol::future::yield_now().await;
    let (parts, mut body) = response.into_parts();
    let first = next_data(&mut body).await?;
    assert!(first.ends_with(b"1"));
    for _ in 0..3 {
        // Nobody takes it where the call has ended.
        let _ = requests.try_send(data(b"2"));
        smol::future::yield_now().await;
    }
    drop(requests);
    Some(finish(Response::from_parts(parts, body)).await)
}

/// A response that is dropped in its middle.
async fn abandoned(mut channel: Channel) -> Option<()> {
    let call = channel.call(call_of("t.S/HeadersThenHang", body_of(&[b"m"])));
    let mut body = call.await.ok()?.into_body();
    let _ = body.frame().await?.ok()?;
    smol::future::yield_now().await;
    Some(())
}

/// A call that waits for room, and is dropped while it does.
async fn waiting(mut channel: Channel) {
    let mut call = channel.call(call_of("t.S/Unary", body_of(&[b"m"])));
    for _ in 0..3 {
        let _ = futures_util::poll!(&mut call);
        smol::future::yield_now().await;
    }
}

/// Everything that is done with a tunnel. At most two calls have room.
async fn uses(channel: Channel) {
    let both = join(echo(channel.clone()), abandoned(channel.clone()));
    join(both, waiting(channel.clone())).await;
    let done = make(&channel, call_of("t.S/Unary", body_of(&[b"last"]))).await;
    if done.status.code() == Code::Ok {
        assert_eq!(done.messages, [b"last"]);
    }
    let mut closed = Box::pin(channel.closed());
    let _ = futures_util::poll!(&mut closed);
    smol::future::yield_now().await;
    drop(channel);
    closed.await;
}

fn two_calls_at_once() -> Options {
    let mut options = Options::default();
    options.limits.max_streams = 2;
    options
}

/// A forward tunnel that is opened and used by one task. What is polled when is always the same, so
/// a cut by number is a cut at a certain place.
fn forward(steps: &Steps) -> Checked {
    let seen: Arc<Seen> = Arc::default();
    let service = TunnelService::new(steps.runtime()).forward(service::sample(seen.clone()));
    let tap = Tap::new(service.clone());
    let (client, server) = (tap.client.clone(), tap.server.clone());
    let runtime = steps.runtime();
    steps.spawn(async move {
        let options = two_calls_at_once();
        let opened = connect(tap, &runtime, &options, HeaderMap::new()).await;
        if let Ok(channel) = opened {
            uses(channel).await;
        }
    });
    let drained = service.clone();
    steps.spawn(async move { drained.drained().await });
    steps.run();
    Checked {
        tunnels: service.tunnels(),
        handlers: Arc::strong_count(&seen) - 2,
        client,
        server,
    }
}

/// The same in reverse: a task opens the tunnel and serves, another uses it.
fn reversed(steps: &Steps) -> Checked {
    let seen: Arc<Seen> = Arc::default();
    let handler = service::sample(seen.clone());
    let service = TunnelService::new(steps.runtime())
        .with_options(two_calls_at_once())
        .reverse(|tunnel: ReverseTunnel| uses(tunnel.channel));
    let tap = Tap::new(service.clone());
    // The tunnel client is the network server.
    let (client, server) = (tap.server.clone(), tap.client.clone());
    let runtime = steps.runtime();
    steps.spawn(async move {
        let options = Options::default();
        let opened = serve_reverse(tap, handler, &runtime, &options, HeaderMap::new()).await;
        if let Ok(handle) = opened {
            handle.closed().await;
        }
    });
    steps.run();
    Checked {
        tunnels: service.tunnels(),
        handlers: Arc::strong_count(&seen) - 1,
        client,
        server,
    }
}

/// What there is when nothing goes on any more.
struct Checked {
    tunnels: usize,
    /// Handlers that are alive.
    handlers: usize,
    client: Sent,
    server: Sent,
}

/// Cuts each task of a scenario at each place where it waits.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn cut_everywhere(scenario: fn(&Steps) -> Checked) {
    let whole = Steps::default();
    scenario(&whole);
    let tasks = whole.started();
    assert!(tasks >= 7, "{tasks} tasks");
    let mut cuts = 0;
    for task in 0..tasks {
        for polls in 0.. {
            let mut cut = true;
            let info = measure(|| {
                let steps = Steps::cutting(task, polls);
                let end = scenario(&steps);
                cut = steps.was_cut();
                let at = format!("task {task} after {polls} polls");
                assert_eq!(steps.alive(), 0, "tasks, {at}");
                assert_eq!(end.tunnels, 0, "tunnels, {at}");
                assert_eq!(end.handlers, 0, "handlers, {at}");
                let client = end.client.lock().unwrap();
                let server = end.server.lock().unwrap();
                for (stream, (cancels, closes)) in ends_of(&client, &server) {
                    assert!(cancels <= 1, "stream {stream}: {cancels} cancels, {at}");
                    assert!(closes <= 1, "stream {stream}: {closes} closes, {at}");
                }
            });
            let left = (info.count_current, info.bytes_current);
            assert_eq!(left, (0, 0), "allocations, task {task} after {polls} polls");
            if !cut {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 40, "{cuts} cuts");
}

#[test]
fn a_task_of_a_forward_tunnel_that_is_dropped_anywhere_leaves_nothing() {
    cut_everywhere(forward);
}

#[test]
fn a_task_of_a_reverse_tunnel_that_is_dropped_anywhere_leaves_nothing() {
    cut_everywhere(reversed);
}

/// One of three calls at a time: what it is, and how far both ends come before it is dropped.
#[derive(Clone, Copy)]
struct Plan {
    kind: usize,
    steps: usize,
}

const KINDS: usize = 4;
/// Steps: none, opened and not sent, everything that can happen, read in part.
const STEPS: usize = 4;
const PLANS: usize = KINDS * STEPS;

impl Plan {
    const fn new(number: usize) -> Self {
        Self {
            kind: number % KINDS,
            steps: number / KINDS % STEPS,
        }
    }
}

/// What is held of a call that is under way.
type UnderWay = Box<dyn Send>;

/// Opens a call and takes it as far as its plan says. What still sends its request is returned.
fn open(steps: &Steps, channel: &Channel, plan: Plan) -> (UnderWay, Option<common::Frames>) {
    let (method, body, requests) = match plan.kind {
        0 => ("t.S/Unary", body_of(&[b"m"]), None),
        1 => ("t.S/HeadersThenHang", body_of(&[]), None),
        2 => ("t.S/Hang", body_of(&[b"m"]), None),
        _ => {
            let (requests, body) = channel_body();
            put(&requests, data(b"m"));
            ("t.S/Echo", body, Some(requests))
        }
    };
    let mut call = Box::new(channel.clone().call(call_of(method, body)));
    match plan.steps {
        0 => return (call, requests),
        1 => {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let _ = Pin::new(&mut call).poll(&mut cx);
            return (call, requests);
        }
        _ => {}
    }
    let Some(Ok(response)) = steps.drive(&mut call) else {
        return (call, requests);
    };
    let mut body = response.into_body();
    if plan.steps == 3 {
        let _ = steps.drive(&mut body.frame());
    }
    (Box::new(body), requests)
}

/// The orders in which three things can be dropped.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Three calls by their plans, dropped in this order.
fn three_calls(steps: &Steps, channel: &Channel, plans: [Plan; 3], number: usize) {
    let mut calls = plans.map(|plan| Some(open(steps, channel, plan)));
    let order = ORDERS.iter().cycle().nth(number).into_iter().flatten();
    for index in order {
        if let Some((call, requests)) = calls.get_mut(*index).and_then(Option::take) {
            if number.is_multiple_of(2) {
                drop(requests);
                drop(call);
            } else {
                drop(call);
                drop(requests);
            }
        }
        if number.is_multiple_of(3) {
            steps.run();
        }
    }
    steps.run();
}

/// Calls with every plan beside every other. Returns how many there were.
fn every_order(steps: &Steps, channel: &Channel, orders: std::ops::Range<usize>) -> usize {
    let mut calls = 0;
    for number in orders {
        for first in 0..PLANS {
            for second in 0..PLANS {
                for third in 0..PLANS {
                    let plans = [first, second, third].map(Plan::new);
                    three_calls(steps, channel, plans, number);
                    calls += plans.len();
                }
            }
        }
    }
    calls
}

#[test]
fn a_hundred_thousand_calls_dropped_in_every_order_leave_nothing() {
    let steps = Steps::default();
    let seen: Arc<Seen> = Arc::default();
    let (sender, tunnels) = smol::channel::unbounded();
    let service = TunnelService::new(steps.runtime()).reverse(move |tunnel: ReverseTunnel| {
        let _ = sender.try_send(tunnel.channel);
        std::future::ready(())
    });
    let runtime = steps.runtime();
    let options = Options::default();
    let handler = service::sample(seen.clone());
    let carrier = InMemory(service.clone());
    let opening = serve_reverse(carrier, handler, &runtime, &options, HeaderMap::new());
    let handle = steps.drive(&mut Box::pin(opening)).unwrap().unwrap();
    steps.run();
    let channel = tunnels.try_recv().unwrap();
    let mine = Arc::strong_count(&seen);
    // The tunnel's own lists grow to what they need.
    every_order(&steps, &channel, 0..1);
    let mut calls = 0;
    let info = measure(|| calls = every_order(&steps, &channel, 1..10));
    assert!(calls >= 100_000, "{calls} calls");
    // Each end may have the memory for its next frames, or not.
    assert!(info.count_current.abs() <= 2, "{info:?}");
    assert_eq!(steps.alive(), 2, "the tasks of the two ends");
    assert_eq!((channel.active_calls(), handle.active_calls()), (0, 0));
    assert_eq!(Arc::strong_count(&seen), mine, "handlers");
    assert!(seen.dropped() > 0);
    // It is as good as new.
    let mut last = Box::pin(make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))));
    let done = steps.drive(&mut last).unwrap();
    assert_eq!(done.messages, [b"m"]);
    assert_eq!(channel.counters().violations, 0);
    drop(last);
    drop((channel, handle));
    steps.run();
    assert_eq!((steps.alive(), service.tunnels()), (0, 0));
}

/// A request whose body panics when the response has begun.
#[test]
fn a_request_body_that_panics_behind_the_response_cancels_its_call() {
    let steps = Steps::default();
    let seen: Arc<Seen> = Arc::default();
    let service = TunnelService::new(steps.runtime()).forward(service::sample(seen.clone()));
    let runtime = steps.runtime();
    let options = Options::default();
    let opening = connect(InMemory(service), &runtime, &options, HeaderMap::new());
    let mut channel = steps.drive(&mut Box::pin(opening)).unwrap().unwrap();
    let (requests, first) = channel_body();
    put(&requests, data(b"1"));
    let frames = http_body_util::BodyStream::new(first);
    let frames = futures_util::StreamExt::chain(
        frames,
        futures_util::stream::poll_fn(|_| panic!("a request body that panics")),
    );
    let body = StreamBody::new(frames).boxed_unsync();
    let mut call = channel.call(call_of("t.S/Echo", body));
    let response = steps.drive(&mut call).unwrap().unwrap();
    drop(requests);
    steps.run();
    let read = steps.drive(&mut Box::pin(common::read(response.into_body())));
    let CallError::RequestBody(error) = read.unwrap().unwrap_err() else {
        panic!("another error");
    };
    assert!(error.to_string().contains("panicked"), "{error}");
    assert_eq!(channel.active_calls(), 0);
    // The task of the call at the other end has ended, too.
    assert_eq!(steps.alive(), 2);
}

/// A handler that panics when it is cloned for its second call.
struct PanicsWhenCloned<H>(H, Arc<std::sync::atomic::AtomicUsize>);

impl<H: Clone> Clone for PanicsWhenCloned<H> {
    fn clone(&self) -> Self {
        let left = self.1.load(std::sync::atomic::Ordering::SeqCst);
        assert_ne!(left, 1, "a handler that panics when it is cloned");
        self.1
            .store(left.saturating_sub(1), std::sync::atomic::Ordering::SeqCst);
        Self(self.0.clone(), self.1.clone())
    }
}

impl<H: grpctunnel_driver::Handler> Service<Request<grpctunnel_driver::RequestBody>>
    for PanicsWhenCloned<H>
{
    type Response = H::Response;
    type Error = H::Error;
    type Future = H::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), H::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<grpctunnel_driver::RequestBody>) -> H::Future {
        self.0.call(request)
    }
}

#[test]
fn a_handler_that_panics_when_it_is_cloned_ends_its_own_call_only() {
    let steps = Steps::default();
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let handler = PanicsWhenCloned(service::sample(Arc::default()), left.clone());
    let service = TunnelService::new(steps.runtime()).forward(handler);
    let runtime = steps.runtime();
    let options = Options::default();
    let opening = connect(InMemory(service), &runtime, &options, HeaderMap::new());
    let channel = steps.drive(&mut Box::pin(opening)).unwrap().unwrap();
    left.store(1, std::sync::atomic::Ordering::SeqCst);
    let code = || {
        let mut call = Box::pin(make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))));
        steps.drive(&mut call).unwrap().status.code()
    };
    assert_eq!(code(), Code::Internal);
    left.store(0, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(code(), Code::Ok);
    assert_eq!((channel.active_calls(), steps.alive()), (0, 2));
}
