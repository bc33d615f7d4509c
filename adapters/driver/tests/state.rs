//! What a tunnel tells about itself, so that one of several can be picked for a call.

#[cfg(test)]
mod common;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::frames::{FromServer, close_ok, server};
use common::play::{reverse, to_a_server_by_hand, to_old_peer, until_started};
use common::service::{self, Seen};
use common::steps::Steps;
use common::{
    FakeClock, InMemory, body_of, call_of, finish, make, messages, next_data, on_both, until,
    with_clock,
};
use grpctunnel_driver::{
    Channel, Code, Options, Sleep, Timer, TunnelService, TunnelState, connect,
};
use grpctunnel_proto::v1::{ClientToServer, client_to_server::Frame};
use http::HeaderMap;
use prost::Message;
use tower_service::Service;

const SECOND: Duration = Duration::from_secs(1);
const PROBE: &str = "grpctunnel.v1.Liveness/Probe";

#[test]
fn the_state_tells_how_much_room_there_is() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let service = TunnelService::new(runtime.clone()).forward(service::sample(seen.clone()));
        let mut options = Options::default();
        options.limits.max_streams = 2;
        let carrier = InMemory(service);
        let channel = connect(carrier, &runtime, &options, HeaderMap::new());
        let channel = channel.await.unwrap();
        let mut calls = Vec::new();
        for started in 0..=2 {
            let state = channel.state();
            assert_eq!((state.calls, state.room), (started, 2 - started));
            assert!(state.open && state.settled && state.responsive && !state.draining);
            assert_eq!(channel.is_open(), state.room > 0);
            if started == 2 {
                break;
            }
            let mut call = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
            until_started(&mut call, &seen, calls.len() + 1).await;
            calls.push(call);
        }
        calls.clear();
        until(|| channel.state().room == 2).await;
        assert!(channel.is_open());
    });
}

#[test]
fn a_tunnel_whose_ids_are_used_up_is_not_to_be_picked() {
    on_both(|runtime| async move {
        let service = TunnelService::new(runtime.clone()).forward(service::sample(Arc::default()));
        let mut options = Options::default();
        options.first_stream_id = i64::MAX;
        let channel = connect(InMemory(service), &runtime, &options, HeaderMap::new()).await;
        let channel = channel.unwrap();
        assert_eq!(channel.state().room, 1);
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"last"]))).await;
        assert_eq!(done.status.code(), Code::Ok);
        assert_eq!(channel.state().room, 0);
        assert!(!channel.is_open());
    });
}

#[test]
fn the_state_tells_of_a_drain_and_of_the_end() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let channel = common::forward(&runtime, service::sample(seen.clone())).await;
        let mut call = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        until_started(&mut call, &seen, 1).await;
        let mut draining = Box::pin(channel.draining());
        assert!(futures_util::poll!(&mut draining).is_pending());
        channel.drain(Duration::from_secs(3_600));
        draining.await;
        let state = channel.state();
        assert!(state.open && state.draining && !channel.is_open());
        assert_eq!((state.calls, state.room), (1, 0));
        drop(call);
        assert!(channel.closed().await.is_clean());
        let state = channel.state();
        assert!(!state.open);
        assert_eq!(state.calls, 0);
        channel.draining().await;
    });
}

#[test]
fn the_drain_of_the_peer_is_told_while_open_calls_go_on() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let service = TunnelService::new(runtime.clone()).forward(service::sample(seen.clone()));
        let options = Options::default();
        let carrier = InMemory(service.clone());
        let channel = connect(carrier, &runtime, &options, HeaderMap::new()).await;
        let channel = channel.unwrap();
        let mut call = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        until_started(&mut call, &seen, 1).await;
        let draining = channel.draining();
        service.drain(Duration::from_secs(3_600));
        draining.await;
        let state = channel.state();
        assert!(state.open && state.draining && !channel.is_open());
        assert_eq!(state.calls, 1);
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
        drop(call);
        service.drained().await;
    });
}

#[test]
fn a_tunnel_that_is_lost_is_not_waited_for() {
    on_both(|runtime| async move {
        let (service, tunnel, handle) = reverse(&runtime, service::sample(Arc::default())).await;
        assert!(handle.state().takes_calls());
        let both = (handle.draining(), tunnel.channel.draining());
        tunnel.channel.close();
        futures_util::join!(both.0, both.1);
        assert!(!handle.state().takes_calls() && !tunnel.channel.state().takes_calls());
        service.drained().await;
        let (channel, body) = to_old_peer(&runtime).await;
        let draining = channel.draining();
        drop(body);
        channel.close();
        draining.await;
    });
}

/// The calls that are in what the tunnel client sends next, by their methods.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn methods(bytes: &Bytes) -> Vec<String> {
    let frames = messages(bytes).into_iter();
    let methods =
        frames.filter_map(
            |frame| match ClientToServer::decode(frame.as_slice()).unwrap().frame {
                Some(Frame::NewStream(new)) => {
                    Some(new.method_name.trim_start_matches('/').to_owned())
                }
                _ => None,
            },
        );
    methods.collect()
}

/// Waits for the time, and lets it pass.
async fn pass(clock: &FakeClock, time: Duration) {
    until(|| clock.is_awaited(time)).await;
    clock.advance(time);
}

#[test]
fn a_peer_that_says_nothing_after_a_call_is_asked_once_and_then_not_picked() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let (channel, mut body, frames) = to_a_server_by_hand(&runtime).await;
        for round in 0..2 {
            let id = 1 + 3 * round;
            let call = make(&channel, call_of("t.S/M", body_of(&[])));
            let peer = async {
                let sent = next_data(&mut body).await.unwrap();
                assert_eq!(methods(&sent), ["t.S/M"]);
                pass(&clock, SECOND).await;
                let sent = next_data(&mut body).await.unwrap();
                assert_eq!(methods(&sent), [PROBE]);
                assert!(channel.is_open());
                pass(&clock, 2 * SECOND).await;
                until(|| !channel.state().responsive).await;
                assert!(!channel.is_open() && channel.state().open);
                // The next call is not another question.
                let mut second = Box::pin(make(&channel, call_of("t.S/N", body_of(&[]))));
                assert!(futures_util::poll!(&mut second).is_pending());
                let sent = next_data(&mut body).await.unwrap();
                assert_eq!(methods(&sent), ["t.S/N"]);
                clock.advance(2 * SECOND);
                for _ in 0..100 {
                    smol::future::yield_now().await;
                }
                assert!(futures_util::poll!(Box::pin(next_data(&mut body))).is_pending());
                assert!(!channel.is_open());
                // Whatever comes is an answer, also one to something else.
                frames.try_send(server(id, close_ok())).unwrap();
                until(|| channel.state().responsive).await;
                assert!(channel.is_open());
                frames.try_send(server(id + 1, close_ok())).unwrap();
                frames.try_send(server(id + 2, close_ok())).unwrap();
                assert_eq!(second.await.status.code(), Code::Ok);
            };
            let (done, ()) = futures_util::join!(call, peer);
            assert_eq!(done.status.code(), Code::Ok);
        }
    });
}

#[test]
fn a_peer_that_answers_is_asked_nothing() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let (channel, mut body, frames) = to_a_server_by_hand(&runtime).await;
        let call = channel.clone().call(call_of("t.S/M", body_of(&[])));
        let answer = async {
            let sent = next_data(&mut body).await.unwrap();
            assert_eq!(methods(&sent), ["t.S/M"]);
            let headers = FromServer::ResponseHeaders(grpctunnel_proto::v1::Metadata::default());
            frames.try_send(server(1, headers)).unwrap();
        };
        let (response, ()) = futures_util::join!(call, answer);
        // The rest may take its time.
        clock.advance(10 * SECOND);
        for _ in 0..100 {
            smol::future::yield_now().await;
        }
        assert!(futures_util::poll!(Box::pin(next_data(&mut body))).is_pending());
        assert!(channel.is_open());
        frames.try_send(server(1, close_ok())).unwrap();
        assert_eq!(finish(response.unwrap()).await.status.code(), Code::Ok);
    });
}

/// A clock that looks at the state of a tunnel: it is read with the tunnel's lock held, too.
#[derive(Clone)]
struct Looking(Arc<OnceLock<Channel>>);

impl Timer for Looking {
    fn now(&self) -> Instant {
        if let Some(channel) = self.0.get() {
            let state: TunnelState = channel.state();
            assert!(state.settled);
            let _ = (channel.is_open(), channel.active_calls());
        }
        Instant::now()
    }

    fn sleep_until(&self, _deadline: Instant) -> Sleep {
        Box::pin(std::future::pending())
    }
}

#[test]
fn the_state_is_read_without_the_lock_of_the_tunnel() {
    let steps = Steps::default();
    let clock = Looking(Arc::default());
    let runtime = steps.runtime_with(clock.clone());
    let service = TunnelService::new(steps.runtime()).forward(service::sample(Arc::default()));
    let options = Options::default();
    let opening = connect(InMemory(service), &runtime, &options, HeaderMap::new());
    let channel = steps.drive(&mut Box::pin(opening)).unwrap().unwrap();
    let _ = clock.0.set(channel.clone());
    let mut call = Box::pin(make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))));
    assert_eq!(steps.drive(&mut call).unwrap().messages, [b"m"]);
}
