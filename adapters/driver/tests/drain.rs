//! Tunnels that are drained: by a limit, and without one.

#[cfg(test)]
mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use common::frames::{client, new_stream};
use common::play::{by_hand, reverse, to_old_peer, until_started};
use common::service::{self, Seen};
use common::{
    FakeClock, Frames, InMemory, body_of, call_of, channel_body, data, finish, make, next_data,
    on_both, until, with_clock,
};
use grpctunnel_driver::{
    Code, Handler, Options, RequestBody, ResponseBody, Runtime, Status, TunnelReason,
    TunnelService, connect,
};
use http::{HeaderMap, Request, Response};
use tower_service::Service;

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// An echo that goes on for a minute. In small steps, so that each end is heard in time.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn goes_on(
    clock: &FakeClock,
    requests: &Frames,
    call: Response<ResponseBody>,
) -> ResponseBody {
    let mut body = call.into_body();
    for _ in 0..12 {
        clock.advance(5 * SECOND);
        requests.try_send(data(b"still here")).unwrap();
        let echoed = next_data(&mut body).await.unwrap();
        assert!(echoed.ends_with(b"still here"));
    }
    body
}

#[test]
fn a_channel_that_is_dropped_leaves_open_calls_the_time_they_need() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let mut channel = common::forward(&runtime, service::sample(Arc::default())).await;
        let closed = channel.closed();
        let (requests, body) = channel_body();
        let call = channel.call(call_of("t.S/Echo", body)).await.unwrap();
        drop(channel);
        let body = goes_on(&clock, &requests, call).await;
        drop(requests);
        assert!(common::read(body).await.is_ok());
        assert!(closed.await.is_clean());
    });
}

#[test]
fn a_server_handle_that_is_dropped_leaves_open_calls_the_time_they_need() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let (service, tunnel, handle) = reverse(&runtime, service::sample(Arc::default())).await;
        let (requests, body) = channel_body();
        let mut channel = tunnel.channel;
        let call = channel.call(call_of("t.S/Echo", body)).await.unwrap();
        drop(handle);
        let body = goes_on(&clock, &requests, call).await;
        // It drains all the same.
        let refused = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(refused.status.code(), Code::Unavailable);
        drop(requests);
        assert!(common::read(body).await.is_ok());
        service.drained().await;
    });
}

/// What is to be done once.
type Act = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A handler that does something when it is cloned, once.
struct OnClone<H> {
    handler: H,
    act: Act,
}

impl<H: Clone> Clone for OnClone<H> {
    fn clone(&self) -> Self {
        let act = self.act.lock().ok().and_then(|mut act| act.take());
        if let Some(act) = act {
            act();
        }
        Self {
            handler: self.handler.clone(),
            act: self.act.clone(),
        }
    }
}

impl<H: Handler> Service<Request<RequestBody>> for OnClone<H> {
    type Response = H::Response;
    type Error = H::Error;
    type Future = H::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), H::Error>> {
        self.handler.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> H::Future {
        self.handler.call(request)
    }
}

#[test]
fn an_accepted_forward_tunnel_is_drained_by_its_handle() {
    on_both(|runtime| async move {
        let kept = Arc::new(Mutex::new(None));
        let to_keep = kept.clone();
        let service = TunnelService::new(runtime.clone())
            .forward(service::sample(Arc::default()))
            .keep_forward(move |tunnel| {
                *to_keep.lock().unwrap() = Some(tunnel);
                std::future::ready(())
            });
        let carrier = InMemory(service.clone());
        let metadata = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-name"),
            http::HeaderValue::from_static("caller"),
        )]);
        let options = Options::default();
        let channel = connect(carrier, &runtime, &options, metadata);
        let mut channel = channel.await.unwrap();
        until(|| kept.lock().unwrap().is_some()).await;
        let tunnel = kept.lock().unwrap().take().unwrap();
        assert_eq!(tunnel.peer.metadata()["x-name"], "caller");
        let (requests, body) = channel_body();
        let call = channel.call(call_of("t.S/Echo", body)).await.unwrap();
        tunnel.handle.drain(HOUR);
        channel.draining().await;
        let refused = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(refused.status.code(), Code::Unavailable);
        drop(requests);
        assert!(common::read(call.into_body()).await.is_ok());
        assert!(tunnel.handle.closed().await.is_clean());
        assert!(channel.closed().await.is_clean());
    });
}

#[test]
fn a_tunnel_that_comes_while_its_service_begins_to_drain_is_refused_or_drained() {
    on_both(|runtime| async move {
        let act = Act::default();
        let handler = OnClone {
            handler: service::sample(Arc::default()),
            act: act.clone(),
        };
        let service = TunnelService::new(runtime.clone()).forward(handler);
        let drains = service.clone();
        let drained = Arc::new(AtomicBool::new(false));
        let noted = drained.clone();
        // In the middle of the acceptance of the tunnel.
        *act.lock().unwrap() = Some(Box::new(move || {
            drains.drain(HOUR);
            noted.store(true, Ordering::SeqCst);
        }));
        // The carrier's service is the first clone, the tunnel's handler the second.
        let held = act.lock().unwrap().take();
        let carrier = InMemory(service.clone());
        *act.lock().unwrap() = held;
        let options = Options::default();
        let opened = connect(carrier, &runtime, &options, HeaderMap::new()).await;
        assert!(drained.load(Ordering::SeqCst));
        match &opened {
            Ok(channel) => assert!(channel.closed().await.is_clean()),
            Err(error) => assert_eq!(error.code(), Code::Unavailable),
        }
        service.drained().await;
    });
}

#[test]
fn a_server_whose_carrier_takes_nothing_is_cut_after_limit_and_grace() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let grace = Options::default().limits.finish_grace;
        let seen: Arc<Seen> = Arc::default();
        let options = Options::default();
        // Nobody reads the response's body.
        let (service, frames, body) = by_hand(&with_clock(&runtime, &clock), options, &seen);
        frames
            .try_send(client(1, new_stream("t.S/Hang", &[])))
            .unwrap();
        until(|| seen.started() == 1).await;
        service.drain(SECOND);
        until(|| clock.is_awaited(SECOND)).await;
        assert_eq!(seen.dropped(), 0);
        clock.advance(SECOND);
        until(|| seen.dropped() == 1).await;
        until(|| clock.is_awaited(grace)).await;
        assert_eq!(service.tunnels(), 1);
        clock.advance(grace);
        service.drained().await;
        until(|| frames.is_closed()).await;
        drop(body);
    });
}

#[test]
fn a_client_whose_carrier_takes_nothing_is_cut_after_limit_and_grace() {
    on_both(|runtime| async move {
        for (sends, reason) in [
            (true, TunnelReason::DrainLimit),
            (false, TunnelReason::GraceExpired),
        ] {
            client_is_cut(&runtime, sends, reason).await;
        }
    });
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn client_is_cut(runtime: &Runtime, sends: bool, reason: TunnelReason) {
    let clock = FakeClock::new();
    let grace = Options::default().limits.finish_grace;
    let runtime = with_clock(runtime, &clock);
    let (channel, mut body) = to_old_peer(&runtime).await;
    let mut call = channel.clone().call(call_of("t.S/M", body_of(&[b"m"])));
    assert!(futures_util::poll!(&mut call).is_pending());
    if sends {
        // Then its end is to be sent, too.
        next_data(&mut body).await.unwrap();
    }
    channel.drain(SECOND);
    until(|| clock.is_awaited(SECOND)).await;
    clock.advance(SECOND);
    let done = finish(call.await.unwrap()).await;
    assert_eq!(done.status.code(), Code::Unavailable);
    until(|| clock.is_awaited(grace)).await;
    clock.advance(grace);
    let end = channel.closed().await;
    assert_eq!(end.error().unwrap().reason(), reason);
    drop(body);
}

#[test]
fn a_drained_tunnel_whose_process_slept_is_not_cut() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let seen: Arc<Seen> = Arc::default();
        let runtime = with_clock(&runtime, &clock);
        let channel = common::forward(&runtime, service::sample(seen.clone())).await;
        let mut call = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        until_started(&mut call, &seen, 1).await;
        channel.drain(SECOND);
        // Limit and grace pass at once.
        clock.advance(HOUR);
        let done = finish(call.await.unwrap()).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        let end = channel.closed().await;
        assert!(end.is_clean(), "{end:?}");
    });
}

#[test]
fn a_carrier_is_not_stalled_because_its_process_slept() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let stall = Options::default().stall_revision_zero;
        let runtime = with_clock(&runtime, &clock);
        let (channel, body) = to_old_peer(&runtime).await;
        let mut call = channel.clone().call(call_of("t.S/M", body_of(&[b"m"])));
        assert!(futures_util::poll!(&mut call).is_pending());
        until(|| clock.is_awaited(stall)).await;
        clock.advance(HOUR);
        // The carrier gets its time from now on, and takes nothing.
        until(|| clock.is_awaited(stall)).await;
        assert!(futures_util::poll!(&mut call).is_pending());
        clock.advance(stall);
        let done = finish(call.await.unwrap()).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        let end = channel.closed().await;
        assert_eq!(end.error().unwrap().reason(), TunnelReason::Stalled);
        drop(body);
    });
}

#[test]
fn a_second_drain_shortens_the_limit_also_of_one_without() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let seen: Arc<Seen> = Arc::default();
        let options = Options::default();
        let (service, frames, body) = by_hand(&with_clock(&runtime, &clock), options, &seen);
        frames
            .try_send(client(1, new_stream("t.S/Hang", &[])))
            .unwrap();
        until(|| seen.started() == 1).await;
        for limit in [Duration::MAX, HOUR, SECOND, HOUR] {
            service.drain(limit);
        }
        until(|| clock.is_awaited(SECOND)).await;
        clock.advance(SECOND);
        until(|| seen.dropped() == 1).await;
        let (_, trailers) = common::read(body).await.unwrap();
        let status = Status::from_headers(&trailers).unwrap();
        assert_eq!(status.code(), Code::Ok);
        drop(frames);
        service.drained().await;
    });
}
