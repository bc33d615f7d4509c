//! How calls and tunnels end, in memory, on a tokio runtime and on smol's.

#[cfg(test)]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::play::{mixed, until_started};
use common::service::{self, Seen, failure};
use common::{
    AnyBody, Cuttable, FakeClock, Function, InMemory, body_of, call_of, channel_body, data, finish,
    forward, make, next_data, on_both, read, until, with_clock, without,
};
use futures_util::future::join_all;
use grpctunnel_driver::{Code, ExtensionSet, MethodKind, Options, RequestBody, TunnelService};
use http::{HeaderMap, HeaderValue, Request, Response};
use tower_service::Service;

fn with_timeout(mut request: Request<AnyBody>, timeout: &'static str) -> Request<AnyBody> {
    let value = HeaderValue::from_static(timeout);
    request.headers_mut().insert("grpc-timeout", value);
    request
}

#[test]
fn conf_148_a_deadline_ends_the_call_at_both_ends() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let channel = forward(&runtime, service::sample(seen.clone())).await;
        let request = with_timeout(call_of("t.S/Hang", body_of(&[])), "50m");
        let done = make(&channel, request).await;
        assert_eq!(done.status.code(), Code::DeadlineExceeded);
        until(|| seen.dropped() == 1).await;

        // Behind the beginning of a response too.
        let request = with_timeout(call_of("t.S/HeadersThenHang", body_of(&[])), "50m");
        let done = make(&channel, request).await;
        assert_eq!(done.status.code(), Code::DeadlineExceeded);
        until(|| seen.dropped() == 2).await;

        let request = with_timeout(call_of("t.S/Hang", body_of(&[])), "0n");
        let done = make(&channel, request).await;
        assert_eq!(done.status.code(), Code::DeadlineExceeded);
        assert_eq!(seen.started(), 2);
    });
}

#[test]
fn conf_147_the_server_ends_a_call_at_its_deadline() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let clock = FakeClock::new();
        let service =
            TunnelService::new(with_clock(&runtime, &clock)).forward(service::sample(seen.clone()));
        let carrier = InMemory(service);
        let channel =
            grpctunnel_driver::connect(carrier, &runtime, &Options::default(), HeaderMap::new())
                .await
                .unwrap();
        let request = with_timeout(call_of("t.S/Hang", body_of(&[])), "1H");
        let (done, ()) = futures_util::join!(make(&channel, request), async {
            until(|| seen.started() == 1 && clock.is_awaited(Duration::from_secs(3_600))).await;
            clock.advance(Duration::from_secs(3_600));
        });
        assert_eq!(done.status.code(), Code::DeadlineExceeded);
        until(|| seen.dropped() == 1).await;
    });
}

#[test]
fn conf_149_the_time_that_is_left_is_told_to_the_handler() {
    on_both(|runtime| async move {
        let (sender, receiver) = smol::channel::bounded(1);
        let handler = Function(move |request: Request<RequestBody>| {
            let timeout = request.headers().get("grpc-timeout").cloned();
            sender.try_send(timeout).unwrap();
            async { service::status_only(&failure()) }
        });
        let channel = forward(&runtime, handler).await;
        let request = with_timeout(call_of("t.S/M", body_of(&[])), "10S");
        make(&channel, request).await;
        let left = receiver.recv().await.unwrap().unwrap();
        let left = left.to_str().unwrap();
        let digits = left.trim_end_matches('u');
        let micros: u64 = digits.parse().unwrap();
        assert!((1..=10_000_000).contains(&micros), "{left}");
    });
}

#[test]
fn dropping_a_call_cancels_it() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let channel = forward(&runtime, service::sample(seen.clone())).await;
        let (requests, body) = channel_body();
        let mut call = channel.clone().call(call_of("t.S/Hang", body));
        until_started(&mut call, &seen, 1).await;
        drop(call);
        until(|| seen.dropped() == 1).await;
        until(|| requests.is_closed()).await;

        let (requests, body) = channel_body();
        let request = call_of("t.S/HeadersThenHang", body);
        let response = channel.clone().call(request).await.unwrap();
        let mut body = response.into_body();
        next_data(&mut body).await.unwrap();
        assert!(!requests.is_closed());
        drop(body);
        until(|| seen.dropped() == 2).await;
        until(|| requests.is_closed()).await;
        assert_eq!(channel.active_calls(), 0);
        // What the server says to a cancel comes when the call is over.
        until(|| channel.counters().ignored == 2).await;
    });
}

#[test]
fn a_request_that_its_caller_cancels_is_not_complete() {
    on_both(|runtime| async move {
        let (sender, receiver) = smol::channel::bounded(1);
        let handler = Function(move |request: Request<RequestBody>| {
            // A task of the handler's own goes on reading.
            sender.try_send(request.into_body()).unwrap();
            std::future::pending::<Response<AnyBody>>()
        });
        let channel = forward(&runtime, handler).await;
        let (requests, body) = channel_body();
        requests.send(data(b"half of it")).await.unwrap();
        let mut call = channel.clone().call(call_of("t.S/M", body));
        let mut request = futures_util::select_biased! {
            request = futures_util::FutureExt::fuse(receiver.recv()) => request.unwrap(),
            _ = futures_util::FutureExt::fuse(&mut call) => panic!("the call has ended"),
        };
        next_data(&mut request).await.unwrap();
        drop(call);
        let error = read(request).await.unwrap_err();
        assert_eq!(error.status().code(), Code::Aborted);
    });
}

#[test]
fn conf_188_a_panic_ends_its_own_call() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let channel = forward(&runtime, service::sample(seen.clone())).await;
        let (requests, body) = channel_body();
        let other = channel.clone().call(call_of("t.S/Echo", body)).await;
        let mut other = other.unwrap().into_body();
        let done = make(&channel, call_of("t.S/Panic", body_of(&[b"m"]))).await;
        assert_eq!(done.status.code(), Code::Internal);
        requests.send(data(b"unharmed")).await.unwrap();
        let echo = next_data(&mut other).await.unwrap();
        assert_eq!(echo, common::framed(b"unharmed"));
    });
}

#[test]
fn conf_168_a_cut_carrier_loses_the_tunnel_for_everybody() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let service = TunnelService::new(runtime.clone()).forward(service::sample(seen.clone()));
        let (scissors, carrier) = Cuttable::new(service.clone());
        let options = Options::default();
        let channel = grpctunnel_driver::connect(carrier, &runtime, &options, HeaderMap::new())
            .await
            .unwrap();
        let mut call = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        until_started(&mut call, &seen, 1).await;
        drop(scissors);
        let done = finish(call.await.unwrap()).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(!done.never_processed);
        until(|| seen.dropped() == 1).await;

        // What comes later was never sent, and says so.
        let done = make(&channel, call_of("t.S/Unary", body_of(&[]))).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
        let end = channel.closed().await;
        assert!(!end.is_clean());
        let error = end.transport_error().unwrap();
        assert!(error.to_string().contains("was cut"), "{error}");
        service.drained().await;
    });
}

#[test]
fn calls_that_the_tunnel_has_no_room_for_wait_their_turn() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let service = TunnelService::new(runtime.clone()).forward(service::sample(seen.clone()));
        let mut options = Options::default();
        options.limits.max_streams = 2;
        let carrier = InMemory(service);
        let channel = grpctunnel_driver::connect(carrier, &runtime, &options, HeaderMap::new());
        let channel = channel.await.unwrap();
        let mut hanging = Vec::new();
        for started in 1..=2 {
            let mut call = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
            until_started(&mut call, &seen, started).await;
            hanging.push(call);
        }
        let request = with_timeout(call_of("t.S/Unary", body_of(&[])), "20m");
        let done = make(&channel, request).await;
        assert_eq!(done.status.code(), Code::DeadlineExceeded);
        assert!(!done.never_processed);

        let waiting = (0..20).map(|_| make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))));
        let waiting = join_all(waiting);
        let release = async {
            smol::future::yield_now().await;
            hanging.clear();
        };
        let (done, ()) = futures_util::join!(waiting, release);
        assert!(done.iter().all(|done| done.status.code() == Code::Ok));
    });
}

#[test]
fn fifty_calls_of_mixed_kinds_do_not_disturb_each_other() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let channel = forward(&runtime, service::sample(seen.clone())).await;
        let calls = (0..50_u32).map(|number| mixed(channel.clone(), number));
        join_all(calls).await;
        until(|| seen.dropped() == 1).await;
        assert_eq!(channel.active_calls(), 0);
        assert_eq!(channel.counters().violations, 0);
    });
}

#[test]
fn an_early_ok_waits_for_the_clients_half_close_and_no_longer() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let early = Function(|_: Request<RequestBody>| async {
            service::status_only(&grpctunnel_driver::Status::new(Code::Ok, ""))
        });
        let mut options = without(ExtensionSet::ALL);
        options.method_kinds = [("t.S/Upload", MethodKind::ClientStreaming)]
            .into_iter()
            .collect();
        let service = TunnelService::new(with_clock(&runtime, &clock))
            .with_options(options.clone())
            .forward(early);
        let channel = grpctunnel_driver::connect(
            InMemory(service),
            &runtime,
            &Options::default(),
            HeaderMap::new(),
        )
        .await
        .unwrap();
        for (method, hold) in [
            ("t.S/Upload", options.hold_known),
            ("t.S/Unknown", options.hold_unknown),
        ] {
            let (requests, body) = channel_body();
            requests.send(data(b"m")).await.unwrap();
            let held = async {
                until(|| clock.is_awaited(hold)).await;
                assert_eq!(channel.active_calls(), 1);
                clock.advance(hold);
            };
            let (done, ()) = futures_util::join!(make(&channel, call_of(method, body)), held);
            assert_eq!(done.status.code(), Code::Ok);
        }
        // With the half-close it goes out at once.
        let done = make(&channel, call_of("t.S/Unknown", body_of(&[b"m"]))).await;
        assert_eq!(done.status.code(), Code::Ok);
    });
}
