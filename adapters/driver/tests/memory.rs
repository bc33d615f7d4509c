//! What a tunnel allocates, and what it keeps.

#[cfg(test)]
mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use common::frames::{FromClient, FromServer, client, new_stream};
use common::play::to_old_peer;
use common::service::{self, Seen};
use common::tasks::Tasks;
use common::{AnyBody, Function, body_of, call_of, channel_body, framed, smol_runtime};
use grpctunnel_driver::{Handler, Options, RequestBody, TransmitBody, TunnelService};
use grpctunnel_proto::v1::{ClientToServer, MessageData, ServerToClient};
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame};
use prost::Message;
use tower_service::Service;

/// What a carrier has to send now, frame by frame.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn ready(carrier: &mut TransmitBody) -> Vec<Bytes> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut frames = Vec::new();
    while let Poll::Ready(frame) = Pin::new(&mut *carrier).poll_frame(&mut cx) {
        frames.push(frame.unwrap().unwrap().into_data().unwrap());
    }
    frames
}

#[test]
fn what_is_sent_is_allocated_once_while_the_http_stack_holds_it() {
    const CHUNK: usize = 100 << 10;
    let (channel, mut carrier) = smol::block_on(to_old_peer(&smol_runtime()));
    let chunk = vec![7; CHUNK];
    let mut held = Vec::new();
    let mut calls: Vec<_> = (0..40)
        .map(|_| {
            let request = call_of("t.S/M", body_of(&[&chunk]));
            Box::pin(channel.clone().call(request))
        })
        .collect();
    let mut cx = Context::from_waker(Waker::noop());
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    let info = measure(|| held.extend(ready(&mut carrier)));
    let sent: usize = held.iter().map(Bytes::len).sum();
    assert!(sent > 40 * CHUNK, "{sent}");
    let allocated = usize::try_from(info.bytes_total).unwrap();
    assert!(allocated < sent + sent / 2, "{allocated} for {sent}");
}

/// A tunnel server, accepted, whose carrier is read as far as there is something.
fn accept(tasks: &Tasks) -> (common::Frames, TransmitBody) {
    let handler = service::sample(Arc::new(Seen::default()));
    accept_with(tasks, Options::default(), handler)
}

/// The same, with these options and this handler.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn accept_with<H: Handler>(
    tasks: &Tasks,
    options: Options,
    handler: H,
) -> (common::Frames, TransmitBody) {
    let mut service = TunnelService::new(tasks.runtime())
        .with_options(options)
        .forward(handler);
    let (frames, body) = channel_body();
    let path = TunnelService::OPEN_TUNNEL;
    let mut request = Request::post(path).body(body).unwrap();
    let negotiates = HeaderValue::from_static("on");
    request
        .headers_mut()
        .insert("grpctunnel-negotiate", negotiates);
    let response = smol::block_on(service.call(request)).unwrap();
    let mut carrier = response.into_body();
    tasks.poll_all();
    assert_eq!(ready(&mut carrier).len(), 1, "the settings");
    (frames, carrier)
}

#[test]
fn an_idle_tunnel_keeps_little() {
    const TUNNELS: usize = 100;
    let tasks = Tasks::default();
    let mut tunnels = Vec::with_capacity(TUNNELS);
    let info = measure(|| tunnels.extend((0..TUNNELS).map(|_| accept(&tasks))));
    let each = usize::try_from(info.bytes_current).unwrap() / TUNNELS;
    assert!(each < 16 << 10, "{each}");
}

#[test]
fn a_tunnel_that_was_busy_keeps_little() {
    let (channel, mut carrier) = smol::block_on(to_old_peer(&smol_runtime()));
    let message = vec![7; 60 << 10];
    let mut one_call = || {
        let request = call_of("t.S/M", body_of(&[&message]));
        let mut call = Box::pin(channel.clone().call(request));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending());
        assert!(!ready(&mut carrier).is_empty());
        drop(call);
        assert!(!ready(&mut carrier).is_empty(), "the cancel");
    };
    let info = measure(&mut one_call);
    assert!(info.bytes_current < 16 << 10, "{}", info.bytes_current);
}

/// Bytes that one step of a reader may hand out, and the peer may replace at once.
const LARGEST_STEP: usize = 128 << 10;

/// Calls whose requests are read by the test.
struct Uploads {
    tasks: Tasks,
    frames: common::Frames,
    carrier: TransmitBody,
    requests: Vec<RequestBody>,
    /// Credit of each call.
    credit: Vec<usize>,
}

const CHUNK: usize = 16 << 10;

/// Lets the tunnel read all that was sent.
fn take_in(tasks: &Tasks, frames: &common::Frames) {
    while !frames.is_empty() {
        tasks.poll_first();
    }
    tasks.poll_first();
}

#[expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
impl Uploads {
    fn new(calls: usize, options: Options) -> Self {
        let tasks = Tasks::default();
        let (sender, receiver) = smol::channel::unbounded();
        let handler = Function(move |request: Request<RequestBody>| {
            sender.try_send(request.into_body()).unwrap();
            std::future::pending::<Response<AnyBody>>()
        });
        let window = usize::try_from(options.limits.receive_window.initial).unwrap();
        let (frames, carrier) = accept_with(&tasks, options, handler);
        for id in 0..i64::try_from(calls).unwrap() {
            frames
                .try_send(client(id, new_stream("t.S/M", &[])))
                .unwrap();
            let begin = FromClient::RequestMessage(MessageData {
                size: u32::MAX,
                ..MessageData::default()
            });
            frames.try_send(client(id, begin)).unwrap();
        }
        take_in(&tasks, &frames);
        tasks.poll_all();
        Self {
            requests: (0..calls).map(|_| receiver.try_recv().unwrap()).collect(),
            credit: vec![window; calls],
            tasks,
            frames,
            carrier,
        }
    }

    /// Sends on each call as much as its window takes.
    fn send(&mut self) {
        for (id, credit) in self.credit.iter_mut().enumerate() {
            while *credit > 0 {
                let part = CHUNK.min(*credit);
                let data = FromClient::MoreRequestData(vec![7; part].into());
                let id = i64::try_from(id).unwrap();
                self.frames.try_send(client(id, data)).unwrap();
                *credit -= part;
            }
            take_in(&self.tasks, &self.frames);
        }
    }

    /// Reads one step of a call, and notes what credit there is for it.
    fn read(&mut self, call: usize) -> Bytes {
        let mut cx = Context::from_waker(Waker::noop());
        let request = Pin::new(&mut self.requests[call]);
        let Poll::Ready(Some(frame)) = request.poll_frame(&mut cx) else {
            panic!("nothing to read");
        };
        for bytes in ready(&mut self.carrier) {
            for frame in common::messages(&bytes) {
                let frame = ServerToClient::decode(frame.as_slice()).unwrap();
                if let Some(FromServer::WindowUpdate(credit)) = frame.frame {
                    let id = usize::try_from(frame.stream_id).unwrap();
                    self.credit[id] += usize::try_from(credit).unwrap();
                }
            }
        }
        frame.unwrap().into_data().unwrap()
    }
}

fn with_window(window: u32) -> Options {
    let mut options = Options::default();
    options.limits.receive_window.initial = window;
    options.limits.receive_window.max = window;
    options.limits.receive_window.growth_budget = 0;
    options
}

#[test]
fn a_step_of_a_reader_is_small_whatever_waits_for_it() {
    let mut uploads = Uploads::new(1, with_window(8 << 20));
    uploads.send();
    let mut unread = 8 << 20;
    while unread > 0 {
        let step = uploads.read(0).len();
        assert!((1..=LARGEST_STEP).contains(&step), "{step}");
        assert!(uploads.credit[0] + unread <= (8 << 20) + LARGEST_STEP);
        unread = unread.saturating_sub(step);
    }
}

#[test]
fn what_slow_readers_hold_is_within_the_bound() {
    const READERS: usize = 200;
    for window in [64 << 10, 1 << 20] {
        let mut options = with_window(window);
        options.limits.max_streams = u32::try_from(READERS).unwrap();
        let bound = options.memory_bound();
        let mut kept = None;
        let info = measure(|| {
            let mut uploads = Uploads::new(READERS, options.clone());
            let mut steps = Vec::new();
            // Each has read one step, which its HTTP stack holds, and the peer sends what it may.
            uploads.send();
            for call in 0..READERS {
                steps.push(uploads.read(call));
            }
            uploads.send();
            kept = Some((uploads, steps));
        });
        let resident = u64::try_from(info.bytes_current).unwrap();
        let readers = u64::try_from(READERS).unwrap();
        let windows = readers * u64::from(window);
        // Nobody would hold so much by chance.
        assert!(resident >= windows, "{resident} of {windows}");
        assert!(resident <= bound.total_flow_controlled(), "{resident}");
        // The bound's part for message boundaries is not used here.
        let most = windows + readers * bound.stream + bound.tunnel;
        assert!(resident <= most, "{resident} of {most}");
    }
}

/// Sends 60 KiB of a message in one frame, which comes in this many parts.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn send_in_parts(frames: &common::Frames, parts: usize) {
    let frame = ClientToServer {
        stream_id: 0,
        frame: Some(FromClient::MoreRequestData(vec![7; 60 << 10].into())),
    };
    let bytes = framed(&frame.encode_to_vec());
    for part in bytes.chunks(bytes.len().div_ceil(parts)) {
        let part = Bytes::copy_from_slice(part);
        frames.try_send(Ok(Frame::data(part))).unwrap();
    }
}

#[test]
fn what_was_received_is_given_back_when_it_was_read() {
    for parts in [1, 7] {
        let mut uploads = Uploads::new(1, with_window(1 << 20));
        let info = measure(|| {
            send_in_parts(&uploads.frames, parts);
            take_in(&uploads.tasks, &uploads.frames);
            let mut left: usize = 60 << 10;
            while left > 0 {
                left = left.saturating_sub(uploads.read(0).len());
            }
        });
        assert!(info.bytes_current < 8 << 10, "{}", info.bytes_current);
    }
}
