//! The attacks that the core alone cannot hold: on tasks, turns, handlers and patience. Tasks are
//! polled by hand and time is told, where it matters what happens when.

#[cfg(test)]
mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use common::frames::{FromClient, FromServer, client, new_stream};
use common::service::{self, Seen};
use common::tasks::Tasks;
use common::{Frames, Function, channel_body, framed, messages};
use grpctunnel_driver::{
    Code, Handler, Options, Runtime, TransmitBody, TunnelService, serve_reverse,
};
use grpctunnel_proto::v1::ServerToClient;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::StreamBody;
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
