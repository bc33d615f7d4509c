//! The attacks that the core alone cannot hold: on tasks, turns, handlers and patience. Tasks are
//! polled by hand and time is told, where it matters what happens when.

#[cfg(test)]
mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use common::frames::{FromClient, FromServer, client, new_stream, server, settings};
use common::play::{to_old_peer, until_started};
use common::service::{self, Seen};
use common::tasks::Tasks;
use common::{
    AnyBody, FakeClock, Frames, Function, InMemory, body_of, call_of, channel_body, data, forward,
    framed, make, messages, next_data, on_both, read,
};
use futures_util::FutureExt;
use grpctunnel_driver::{
    BoxError, Code, Handler, Options, Runtime, Status, TransmitBody, TunnelService, connect,
    serve_reverse,
};
use grpctunnel_proto::v1::ServerToClient;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tower_service::Service;

/// Opens a tunnel by hand: what its network client sends, and the response.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn open<H: Handler>(
    service: &mut TunnelService<H>,
    method: &str,
    negotiates: bool,
) -> (Frames, Response<TransmitBody>) {
    let (frames, body) = channel_body();
    let mut request = Request::post(format!("/grpctunnel.v1.TunnelService/{method}"));
    if negotiates {
        request = request.header("grpctunnel-negotiate", "on");
    }
    let response = service.call(request.body(body).unwrap()).into_inner();
    (frames, response.unwrap())
}

/// The sample service over forward tunnels.
fn forward_service(
    runtime: &Runtime,
    options: Options,
    seen: &Arc<Seen>,
) -> TunnelService<impl Handler> {
    TunnelService::new(runtime.clone())
        .with_options(options)
        .forward(service::sample(seen.clone()))
}

/// Takes what there is to send now.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn take(carrier: &mut TransmitBody) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = Vec::new();
    while let Poll::Ready(Some(frame)) = Pin::new(&mut *carrier).poll_frame(&mut cx) {
        match frame.unwrap().into_data() {
            Ok(data) => bytes.extend(data),
            Err(_) => break,
        }
    }
    bytes
}

/// The codes of the closes among frames of a tunnel server.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn closes(bytes: &[u8]) -> Vec<i32> {
    let frames = messages(bytes);
    let frames = frames
        .iter()
        .map(|frame| ServerToClient::decode(frame.as_slice()).unwrap());
    frames
        .filter_map(|frame| match frame.frame {
            Some(FromServer::CloseStream(close)) => Some(close.status.unwrap_or_default().code),
            _ => None,
        })
        .collect()
}

fn code(code: Code) -> i32 {
    code.as_i32()
}

#[test]
fn attack_a05_calls_that_are_refused_start_no_task() {
    const CALLS: i64 = 100_000;
    let tasks = Tasks::default();
    let mut options = Options::default();
    options.limits.max_streams = 4;
    let mut service = forward_service(&tasks.runtime(), options, &Arc::default());
    let (frames, response) = open(&mut service, "OpenTunnel", false);
    let mut carrier = response.into_body();
    assert_eq!(tasks.started(), 1, "the tunnel's own");
    let carrier = &mut carrier;
    let flood =
        |carrier: &mut TransmitBody, from: i64, calls: i64, frame: &dyn Fn() -> FromClient| {
            let mut refused = Vec::new();
            for id in from..from + calls {
                frames.try_send(client(id, frame())).unwrap();
                if id % 50 == 0 || id == from + calls - 1 {
                    while !frames.is_empty() {
                        tasks.poll_first();
                    }
                    refused.extend(closes(&take(carrier)));
                }
            }
            refused
        };

    // More than there is room for.
    let refused = flood(carrier, 1, CALLS, &|| new_stream("t.S/Hang", &[]));
    assert_eq!(refused.len(), 99_996);
    assert!(
        refused
            .iter()
            .all(|it| *it == code(Code::ResourceExhausted))
    );
    assert_eq!(tasks.started(), 1 + 4);

    // When those have ended there is room, and what cannot be told to an HTTP handler takes none.
    for id in 1..=4 {
        let cancel = client(id, FromClient::Cancel(()));
        frames.try_send(cancel).unwrap();
    }
    tasks.poll_first();
    tasks.poll_all();
    assert_eq!(tasks.alive(), 1);
    take(carrier);
    for (from, method, headers, why) in [
        (200_000, "t S/M", &[][..], Code::Unimplemented),
        (300_000, "t.S/M", &[("x y", "1")], Code::InvalidArgument),
    ] {
        let refused = flood(carrier, from, 1_000, &|| new_stream(method, headers));
        // Each has a place until its close has left.
        let full = code(Code::ResourceExhausted);
        let whys = refused.iter().filter(|it| **it == code(why)).count();
        assert!(whys >= 4, "{whys}");
        assert!(refused.iter().all(|it| [code(why), full].contains(it)));
        assert_eq!(refused.len(), 1_000);
    }
    assert_eq!(tasks.started(), 1 + 4);
    assert!(flood(carrier, 400_000, 1, &|| new_stream("t.S/Hang", &[])).is_empty());
    assert_eq!(tasks.started(), 1 + 4 + 1);
}

/// What one poll of a tunnel's task takes of these chunks at most: how many, and how many bytes.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn taken_in_one_poll(chunks: Vec<Bytes>) -> (usize, usize) {
    let tasks = Tasks::default();
    let taken = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let count = taken.clone();
    let total = chunks.len();
    let mut chunks = chunks.into_iter();
    let body = futures_util::stream::poll_fn(move |_| match chunks.next() {
        Some(chunk) => {
            count.0.fetch_add(1, Ordering::SeqCst);
            count.1.fetch_add(chunk.len(), Ordering::SeqCst);
            Poll::Ready(Some(Ok::<_, std::io::Error>(Frame::data(chunk))))
        }
        None => Poll::Pending,
    });
    let mut service = forward_service(&tasks.runtime(), Options::default(), &Arc::default());
    let request = Request::post("/grpctunnel.v1.TunnelService/OpenTunnel");
    let _response = service.call(request.body(StreamBody::new(body)).unwrap());
    let (mut most, mut before) = ((0, 0), (0, 0));
    while before.0 < total {
        tasks.poll_first();
        assert_eq!(tasks.alive(), 1, "the tunnel has ended");
        let now = (
            taken.0.load(Ordering::SeqCst),
            taken.1.load(Ordering::SeqCst),
        );
        assert!(now.0 > before.0, "nothing was taken in");
        most = (most.0.max(now.0 - before.0), most.1.max(now.1 - before.1));
        before = now;
    }
    most
}

/// Endless input does not keep others from their turn.
#[test]
fn attack_a15_one_poll_takes_in_a_bounded_number_of_frames() {
    let tasks = Tasks::default();
    let mut options = Options::default();
    options.old_peer = true;
    // Frames that mean nothing: half_close of stream -5.
    let frame = framed(b"\x08\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01\x32\x00");
    let (frames, body) = channel_body();
    let chunk: Vec<u8> = std::iter::repeat_n(frame, 1_000).flatten().collect();
    frames.try_send(Ok(Frame::data(chunk.into()))).unwrap();
    let body = std::sync::Mutex::new(Some(body));
    let carrier = Function(move |request: Request<TransmitBody>| {
        std::mem::forget(request);
        let body = body.lock().unwrap().take().unwrap();
        let response = Response::builder().header("content-type", "application/grpc");
        std::future::ready(response.body(body).unwrap())
    });
    let handler = service::sample(Arc::new(Seen::default()));
    let runtime = tasks.runtime();
    let opening = serve_reverse(carrier, handler, &runtime, &options, HeaderMap::new());
    let handle = smol::future::block_on(opening).unwrap();
    let mut before = 0;
    for _ in 0..1_000 {
        tasks.poll_first();
        let ignored = handle.counters().ignored;
        assert!(ignored - before <= 64, "{ignored}");
        before = ignored;
        if ignored == 1_000 {
            return;
        }
    }
    panic!("the frames were not taken in");
}

/// A frame that means nothing, with so many bytes of a field that nobody knows.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn padded(len: usize) -> Bytes {
    let mut frame = b"\x08\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01\x32\x00\x7a".to_vec();
    prost::encode_length_delimiter(len, &mut frame).unwrap();
    frame.resize(frame.len() + len, 0);
    framed(&frame)
}

#[test]
fn attack_a15_one_poll_takes_in_a_bounded_number_of_bytes() {
    const MOST: usize = 256 << 10;
    let whole = padded(60_000);
    let (_, bytes) = taken_in_one_poll(vec![whole.clone(); 100]);
    assert!(bytes <= MOST + whole.len(), "{bytes}");
    // Chunks of which none is a whole frame.
    let large = padded((4 << 20) - 100);
    for size in [100, 16 << 10] {
        let pieces = large.chunks(size).map(Bytes::copy_from_slice);
        let (chunks, bytes) = taken_in_one_poll(pieces.collect());
        // One of them is the prefix's.
        assert!(chunks <= 64 + 1, "{chunks} of {size}");
        assert!(bytes <= MOST + size, "{bytes} in chunks of {size}");
    }
}

/// The places of tunnels that have not settled are bounded whatever comes, and come free again.
#[test]
fn attack_a20_ten_thousand_openings_that_never_settle() {
    let tasks = Tasks::default();
    let mut service = TunnelService::new(tasks.runtime()).reverse(|_| std::future::pending::<()>());
    let mut open = || open(&mut service, "OpenReverseTunnel", true);
    let refused = |response: &Response<TransmitBody>| {
        let status = Status::from_headers(response.headers());
        if let Some(status) = &status {
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(status.message().contains("max_unsettled"), "{status}");
        }
        status.is_some()
    };
    let mut waiting = Vec::new();
    for _ in 0..10_000 {
        let (frames, response) = open();
        if !refused(&response) {
            waiting.push((frames, response));
        }
    }
    assert_eq!(waiting.len(), 1_024);
    assert_eq!(tasks.started(), 1_024);
    // One settles, and another goes.
    let (settled, _response) = waiting.pop().unwrap();
    settled.try_send(server(-1, settings(&[0, 1]))).unwrap();
    drop(waiting.pop());
    tasks.poll_all();
    for free in [true, true, false] {
        let (frames, response) = open();
        assert_eq!(refused(&response), !free);
        waiting.push((frames, response));
    }
    // The tunnels' tasks and that of the one that was settled.
    assert_eq!(tasks.started(), 1_024 + 2 + 1);
}

/// A forward tunnel whose time is told, with a client that speaks one of the revisions.
struct Slow {
    tasks: Tasks,
    clock: FakeClock,
    service: Box<dyn Fn() -> usize>,
    frames: Frames,
    carrier: TransmitBody,
    revision: i32,
}

impl Slow {
    fn new(revision: i32) -> Self {
        let (tasks, clock) = (Tasks::default(), FakeClock::new());
        let runtime = tasks.runtime_with(clock.clone());
        let mut service = forward_service(&runtime, Options::default(), &Arc::default());
        let (frames, response) = open(&mut service, "OpenTunnel", revision == 1);
        Self {
            tasks,
            clock,
            service: Box::new(move || service.tunnels()),
            frames,
            carrier: response.into_body(),
            revision,
        }
    }

    /// Makes a call of a method that answers with a status alone.
    #[expect(
        clippy::unwrap_used,
        reason = "a helper of tests states what must hold"
    )]
    fn call(&self, id: i64) {
        let mut call = new_stream("t.S/None", &[]);
        if let FromClient::NewStream(new) = &mut call {
            new.protocol_revision = self.revision;
        }
        self.frames.try_send(client(id, call)).unwrap();
        self.tasks.poll_first();
        self.tasks.poll_all();
    }

    /// Time passes, and the tunnel's task is woken. Whether the tunnel is still there.
    fn lives_after(&self, time: Duration) -> bool {
        self.clock.advance(time);
        self.tasks.poll_all();
        (self.service)() == 1
    }
}

const INSTANT: Duration = Duration::from_millis(1);

#[test]
fn attack_a21_a_peer_that_accepts_nothing_is_given_up() {
    for (revision, patience) in [(1, 60), (0, 600)] {
        let patience = Duration::from_secs(patience);
        let slow = Slow::new(revision);
        slow.call(1);
        assert!(slow.lives_after(patience - INSTANT), "{revision}");
        assert!(!slow.lives_after(INSTANT), "{revision}");
        let body = slow.carrier.collect().now_or_never().unwrap().unwrap();
        let status = Status::from_headers(body.trailers().unwrap()).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("accepted no byte"), "{status}");
    }
}

#[test]
fn attack_a21_a_peer_that_accepts_little_or_has_nothing_to_accept_is_kept() {
    for (revision, patience) in [(1, 60), (0, 600)] {
        let patience = Duration::from_secs(patience);
        let mut slow = Slow::new(revision);
        // A frame at the last moment, again and again.
        for id in 1..50 {
            slow.call(id);
            assert!(slow.lives_after(patience - INSTANT), "{revision}");
            assert!(!take(&mut slow.carrier).is_empty());
        }
        // Nothing to send for long, and then something: the time begins there.
        for id in 50..60 {
            assert!(slow.lives_after(2 * patience), "{revision}, idle");
            slow.call(id);
            assert!(slow.lives_after(patience - INSTANT), "{revision}");
            assert!(!take(&mut slow.carrier).is_empty());
        }
    }
}

#[test]
fn attack_a25_of_a_thousand_calls_the_one_that_panics_ends_alone() {
    on_both(|runtime| async move {
        for method in ["t.S/PanicAtOnce", "t.S/Panic", "t.S/PanicInBody"] {
            let channel = forward(&runtime, service::panicking(Arc::default())).await;
            let mut others = Vec::new();
            for _ in 0..999 {
                let (requests, body) = channel_body();
                let response = channel.clone().call(call_of("t.S/Echo", body)).await;
                others.push((requests, response.unwrap().into_body()));
            }
            let done = make(&channel, call_of(method, body_of(&[b"m"]))).await;
            assert_eq!(done.status.code(), Code::Internal, "{method}");
            for (requests, mut body) in others {
                requests.send(data(b"unharmed")).await.unwrap();
                drop(requests);
                assert_eq!(next_data(&mut body).await.unwrap(), framed(b"unharmed"));
                let (_, trailers) = read(body).await.unwrap();
                assert_eq!(trailers["grpc-status"], "0");
            }
            assert_eq!(channel.active_calls(), 0);
            assert!(channel.is_open());
        }
    });
}

#[test]
fn attack_a25_a_handler_that_panics_as_it_is_dropped_gives_its_place_back() {
    on_both(|runtime| async move {
        let mut options = Options::default();
        options.limits.max_streams = 1;
        let seen = Arc::<Seen>::default();
        let handler = service::panicking(seen.clone());
        let service = TunnelService::new(runtime.clone())
            .with_options(options.clone())
            .forward(handler);
        let channel = connect(InMemory(service), &runtime, &options, HeaderMap::new()).await;
        let channel = channel.unwrap();
        let mut call = channel
            .clone()
            .call(call_of("t.S/PanicAtItsEnd", body_of(&[])));
        until_started(&mut call, &seen, 1).await;
        drop(call);
        // Until the handler has ended its place is taken.
        loop {
            let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
            if done.status.code() == Code::Ok {
                return assert_eq!(done.messages, [b"m"]);
            }
            assert_eq!(done.status.code(), Code::ResourceExhausted);
        }
    });
}

#[test]
fn attack_a25_a_handler_counts_until_it_has_ended() {
    let tasks = Tasks::default();
    let mut options = Options::default();
    options.limits.max_streams = 4;
    let seen = Arc::<Seen>::default();
    let mut service = forward_service(&tasks.runtime(), options, &seen);
    let (frames, response) = open(&mut service, "OpenTunnel", false);
    let mut carrier = response.into_body();
    let full = code(Code::ResourceExhausted);
    for round in 0..1_000 {
        let first = round * 10;
        let calls = |ids: std::ops::Range<i64>, frame: &dyn Fn() -> FromClient| {
            for id in ids {
                frames.try_send(client(id, frame())).unwrap();
            }
        };
        calls(first..first + 4, &|| new_stream("t.S/Hang", &[]));
        tasks.poll_first();
        tasks.poll_all();
        assert_eq!(seen.started(), tasks.started() - 1);
        calls(first..first + 4, &|| FromClient::Cancel(()));
        // The calls are over for their caller, and the handlers know nothing of it yet.
        calls(first + 4..first + 8, &|| new_stream("t.S/Hang", &[]));
        tasks.poll_first();
        let refused = closes(&take(&mut carrier));
        assert_eq!(refused.iter().filter(|it| **it == full).count(), 4);
        assert_eq!(tasks.alive(), 1 + 4);
        tasks.poll_all();
        assert_eq!(tasks.alive(), 1);
    }
    assert_eq!(tasks.started(), 1 + 4_000);
    assert_eq!(seen.dropped(), 4_000);
}

/// A body without end, of messages of so many bytes, each in a frame of its own, that pauses
/// behind the first `before_pause`. What was read of it is counted.
fn endless(message: usize, before_pause: usize, read: &Arc<AtomicUsize>) -> AnyBody {
    let frame = framed(&vec![0; message]);
    let read = read.clone();
    let mut left = before_pause;
    let frames = futures_util::stream::poll_fn(move |_| {
        if left == 0 {
            left = usize::MAX;
            return Poll::Pending;
        }
        left -= 1;
        read.fetch_add(message, Ordering::SeqCst);
        Poll::Ready(Some(data_frame(&frame)))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn data_frame(frame: &Bytes) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(frame.clone()))
}

/// What is read of the endless bodies of so many calls while the peer reads nothing.
async fn read_for_a_peer_that_does_not(
    runtime: &Runtime,
    calls: usize,
    message: usize,
    before_pause: usize,
) -> usize {
    let read = Arc::<AtomicUsize>::default();
    let (channel, _carrier) = to_old_peer(runtime).await;
    let mut calls: Vec<_> = (0..calls)
        .map(|_| {
            let body = endless(message, before_pause, &read);
            channel.clone().call(call_of("t.S/M", body))
        })
        .collect();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..5 {
        for call in &mut calls {
            assert!(Pin::new(call).poll(&mut cx).is_pending());
        }
    }
    read.load(Ordering::SeqCst)
}

#[test]
fn attack_a21_what_waits_for_a_peer_that_reads_nothing_is_bounded() {
    const MESSAGE: usize = 1_000;
    on_both(|runtime| async move {
        // One stream, whose body comes at once or with a pause.
        for before_pause in [1_000, 1, 60, 64] {
            let read = read_for_a_peer_that_does_not(&runtime, 1, MESSAGE, before_pause).await;
            assert!(read <= (64 << 10) + MESSAGE, "{read}");
        }
        // All streams of a tunnel, and one frame of each.
        for before_pause in [1_000, 1, 60] {
            let read = read_for_a_peer_that_does_not(&runtime, 1_024, MESSAGE, before_pause).await;
            assert!(read <= (4 << 20) + 1_024 * MESSAGE, "{read}");
            assert!(read >= 1_024 * MESSAGE, "{read}");
        }
    });
}

/// Small queues make everybody slow, and stop nobody.
#[test]
fn attack_a21_calls_go_on_where_the_queue_of_the_tunnel_is_full() {
    on_both(|runtime| async move {
        let mut options = Options::default();
        options.tunnel_send_queue = 1;
        let service = forward_service(&runtime, options.clone(), &Arc::default());
        let channel = connect(InMemory(service), &runtime, &options, HeaderMap::new()).await;
        let channel = channel.unwrap();
        // A stream that nobody reads keeps the queue full.
        let stuck = Arc::<AtomicUsize>::default();
        let body = endless(10_000, usize::MAX, &stuck);
        let mut stuck_call = channel.clone().call(call_of("t.S/Hang", body));
        let large = vec![7; 300_000];
        let others = (0..30).map(|number| {
            let (channel, large) = (channel.clone(), large.clone());
            async move {
                let method = ["t.S/Echo", "t.S/Unary", "t.S/Collect"][number % 3];
                let messages: Vec<&[u8]> = std::iter::repeat_n(&b""[..], 500)
                    .chain([&large[..], b"", b"last"])
                    .collect();
                let frames: Vec<_> = messages.iter().map(|message| framed(message)).collect();
                let frames = Bytes::from(frames.concat());
                let frames: Vec<_> = (0..frames.len())
                    .step_by(10_000)
                    .map(|at| data_frame(&frames.slice(at..frames.len().min(at + 10_000))))
                    .collect();
                let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
                let done = make(&channel, call_of(method, body)).await;
                assert_eq!(done.status.code(), Code::Ok);
                if method != "t.S/Collect" {
                    assert!(done.messages == messages);
                }
            }
        });
        let others = futures_util::future::join_all(others);
        let both = futures_util::future::select(&mut stuck_call, Box::pin(others)).await;
        assert!(matches!(both, futures_util::future::Either::Right(_)));
        assert!(stuck.load(Ordering::SeqCst) < 1 << 20);
    });
}
