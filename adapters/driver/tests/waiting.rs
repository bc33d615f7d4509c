//! Calls that wait until the tunnel has room for them, in memory, on a tokio runtime and on smol's.

#[cfg(test)]
mod common;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::play::until_started;
use common::service::{self, Seen};
use common::{
    AnyBody, FakeClock, Function, InMemory, body_of, call_of, make, on_both, until, with_clock,
};
use futures_util::future::join_all;
use grpctunnel_driver::{
    Channel, Code, Handler, Options, RequestBody, ResponseFuture, Runtime, Status, TunnelService,
    connect,
};
use http::{HeaderMap, HeaderValue, Request};
use tower_service::Service;

/// A forward tunnel whose caller has these options.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn tunnel(runtime: &Runtime, options: &Options, handler: impl Handler + Sync) -> Channel {
    let service = TunnelService::new(runtime.clone()).forward(handler);
    let channel = connect(InMemory(service), runtime, options, HeaderMap::new()).await;
    channel.unwrap()
}

fn room_for(streams: u32) -> Options {
    let mut options = Options::default();
    options.limits.max_streams = streams;
    options
}

fn unary() -> Request<AnyBody> {
    call_of("t.S/Unary", body_of(&[b"m"]))
}

fn with_timeout(mut request: Request<AnyBody>, timeout: &'static str) -> Request<AnyBody> {
    let value = HeaderValue::from_static(timeout);
    request.headers_mut().insert("grpc-timeout", value);
    request
}

/// A call that has joined the queue, and is polled by nobody.
fn waiting(channel: &Channel, request: Request<AnyBody>) -> ResponseFuture<AnyBody> {
    let mut call = channel.clone().call(request);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut call).poll(&mut cx).is_pending());
    call
}

/// Takes all the room that there is.
async fn fill(channel: &Channel, seen: &Seen, streams: usize) -> Vec<ResponseFuture<AnyBody>> {
    let mut hanging = Vec::new();
    for _ in 0..streams {
        let mut call = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        until_started(&mut call, seen, seen.started() + 1).await;
        hanging.push(call);
    }
    hanging
}

#[test]
fn a_call_that_is_not_polled_stops_no_other() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let options = room_for(3);
        let channel = tunnel(&runtime, &options, service::sample(seen.clone())).await;
        let mut hanging = fill(&channel, &seen, 3).await;
        let _unpolled = [waiting(&channel, unary()), waiting(&channel, unary())];
        let other = make(&channel, unary());
        let release = async { hanging.clear() };
        let (done, ()) = futures_util::join!(other, release);
        assert_eq!(done.status.code(), Code::Ok);
    });
}

#[test]
fn a_call_that_is_dropped_gives_its_place_back_whether_it_waits_or_was_opened() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let channel = tunnel(&runtime, &room_for(1), service::sample(seen.clone())).await;
        for opened in [false, true] {
            let mut hanging = fill(&channel, &seen, 1).await;
            let unpolled = waiting(&channel, unary());
            let also = waiting(&channel, unary());
            if opened {
                hanging.clear();
                until(|| channel.active_calls() == 1).await;
            }
            drop(unpolled);
            drop(also);
            hanging.clear();
            let done = make(&channel, unary()).await;
            assert_eq!(done.status.code(), Code::Ok);
            until(|| channel.active_calls() == 0).await;
        }
    });
}

/// Notes the `x-number` of each call.
fn numbers(
    noted: Arc<Mutex<Vec<u32>>>,
) -> Function<
    impl Fn(Request<RequestBody>) -> common::AnyFuture<http::Response<AnyBody>> + Clone + Sync,
> {
    Function(move |request: Request<RequestBody>| {
        let noted = noted.clone();
        let future = async move {
            match request.headers().get("x-number") {
                None => std::future::pending().await,
                Some(number) => {
                    let number = number.to_str().unwrap_or_default().parse().unwrap_or(0);
                    noted
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push(number);
                    service::status_only(&Status::new(Code::Ok, ""))
                }
            }
        };
        Box::pin(future) as common::AnyFuture<_>
    })
}

#[test]
fn calls_are_opened_in_the_order_in_which_they_came() {
    on_both(|runtime| async move {
        let noted = Arc::default();
        let channel = tunnel(&runtime, &room_for(1), numbers(Arc::clone(&noted))).await;
        let mut first = channel.clone().call(call_of("t.S/M", body_of(&[])));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut calls: Vec<_> = (0..20_u32)
            .map(|number| {
                let mut request = unary();
                let number = HeaderValue::from(number);
                request.headers_mut().insert("x-number", number);
                waiting(&channel, request)
            })
            .collect();
        // Some leave the queue, and the others are polled from its end.
        calls.remove(12);
        calls.remove(0);
        calls.reverse();
        drop(first);
        let calls = calls.into_iter().map(|call| async {
            let response = call.await.unwrap();
            common::finish(response).await
        });
        let done = join_all(calls).await;
        assert!(done.iter().all(|done| done.status.code() == Code::Ok));
        let expected: Vec<u32> = (1..20).filter(|number| *number != 12).collect();
        assert_eq!(*noted.lock().unwrap(), expected);
    });
}

#[test]
fn no_more_calls_wait_than_may() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let mut options = room_for(1);
        options.max_waiting = 2;
        let channel = tunnel(&runtime, &options, service::sample(seen.clone())).await;
        let mut hanging = fill(&channel, &seen, 1).await;
        let first = waiting(&channel, unary());
        let second = waiting(&channel, unary());
        let done = make(&channel, unary()).await;
        assert_eq!(done.status.code(), Code::ResourceExhausted);
        let text = done.status.message();
        assert!(
            text.contains("2 others") && text.contains("max_waiting"),
            "{text}"
        );
        assert!(done.never_processed);
        // One that leaves makes room for another.
        drop(first);
        let third = waiting(&channel, unary());
        hanging.clear();
        for call in [second, third] {
            let done = common::finish(call.await.unwrap()).await;
            assert_eq!(done.status.code(), Code::Ok);
        }
    });
}

#[test]
fn a_call_waits_until_its_deadline_or_as_long_as_it_may() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let options = room_for(1);
        assert_eq!(options.max_wait, Duration::from_secs(5));
        let channel = tunnel(&runtime, &options, service::sample(seen.clone())).await;
        let _hanging = fill(&channel, &seen, 1).await;
        let mut long = waiting(&channel, with_timeout(unary(), "6S"));
        let mut short = waiting(&channel, with_timeout(unary(), "4S"));
        assert!(clock.is_awaited(Duration::from_secs(4)));
        clock.advance(Duration::from_secs(4));
        let done = common::finish((&mut short).await.unwrap()).await;
        assert_eq!(done.status.code(), Code::DeadlineExceeded);
        // Its caller has no more time for another try.
        assert!(!done.never_processed);
        assert!(futures_util::poll!(&mut long).is_pending());
        clock.advance(Duration::from_secs(1));
        let done = common::finish(long.await.unwrap()).await;
        assert_eq!(done.status.code(), Code::ResourceExhausted);
        let text = done.status.message();
        assert!(text.contains("5s") && text.contains("max_wait"), "{text}");
        assert!(done.never_processed);
        assert_eq!(channel.counters().opened, 1);
    });
}

/// One whose time is over is not opened when its turn comes, and takes no place in the queue.
#[test]
fn a_call_whose_time_is_over_makes_room_though_it_is_not_polled() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let mut options = room_for(1);
        options.max_waiting = 1;
        let channel = tunnel(&runtime, &options, service::sample(seen.clone())).await;
        let mut hanging = fill(&channel, &seen, 1).await;
        let mut late = waiting(&channel, unary());
        clock.advance(options.max_wait);
        let next = waiting(&channel, unary());
        hanging.clear();
        let done = common::finish(next.await.unwrap()).await;
        assert_eq!(done.status.code(), Code::Ok);
        let Poll::Ready(Ok(response)) = futures_util::poll!(&mut late) else {
            panic!("it waits still");
        };
        let done = common::finish(response).await;
        assert_eq!(done.status.code(), Code::ResourceExhausted);
    });
}

#[test]
fn a_deadline_counts_from_the_call() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let handler = service::sample(Arc::default());
        let channel = tunnel(&runtime, &Options::default(), handler).await;
        let call = channel.clone().call(with_timeout(unary(), "1S"));
        clock.advance(Duration::from_secs(1));
        let done = common::finish(call.await.unwrap()).await;
        assert_eq!(done.status.code(), Code::DeadlineExceeded);
        assert_eq!(channel.counters().opened, 0);
    });
}

#[test]
fn calls_that_wait_fail_with_the_tunnel_and_may_be_made_elsewhere() {
    on_both(|runtime| async move {
        for close in [true, false] {
            let seen = Arc::new(Seen::default());
            let channel = tunnel(&runtime, &room_for(1), service::sample(seen.clone())).await;
            let hanging = fill(&channel, &seen, 1).await;
            let calls = [waiting(&channel, unary()), waiting(&channel, unary())];
            if close {
                channel.close();
            } else {
                channel.drain(Duration::from_secs(3_600));
            }
            for call in calls {
                let done = common::finish(call.await.unwrap()).await;
                assert_eq!(done.status.code(), Code::Unavailable);
                assert!(done.never_processed);
            }
            drop(hanging);
        }
    });
}

#[test]
fn very_many_calls_that_leave_in_any_order_leave_nothing() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let mut options = room_for(1);
        options.max_waiting = 20_000;
        let channel = tunnel(&runtime, &options, service::sample(seen.clone())).await;
        let mut hanging = fill(&channel, &seen, 1).await;
        let mut calls: Vec<_> = (0..options.max_waiting)
            .map(|_| waiting(&channel, call_of("t.S/Unary", body_of(&[]))))
            .collect();
        let mut place = 0;
        while !calls.is_empty() {
            place = (place + 7_919) % calls.len();
            calls.swap_remove(place);
        }
        hanging.clear();
        let done = make(&channel, unary()).await;
        assert_eq!(done.status.code(), Code::Ok);
        assert_eq!(channel.active_calls(), 0);
        assert_eq!(channel.counters().opened, 2);
    });
}
