//! What a tunnel allocates, and what it keeps.

#[cfg(test)]
mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use common::play::to_old_peer;
use common::service::{self, Seen};
use common::tasks::Tasks;
use common::{body_of, call_of, channel_body, smol_runtime};
use grpctunnel_driver::{TransmitBody, TunnelService};
use http::{HeaderValue, Request};
use http_body::Body;
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

/// A reverse tunnel's server end, accepted, whose carrier is read as far as there is something.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn accept(tasks: &Tasks) -> (common::Frames, TransmitBody) {
    let handler = service::sample(Arc::new(Seen::default()));
    let mut service = TunnelService::new(tasks.runtime()).forward(handler);
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
