//! Several tunnels as one service: which one is picked, what waits, and what is made again.

#[cfg(test)]
mod common;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::frames::{close_ok, server};
use common::offers::{ANY_BYTES, bytes_of, header};
use common::play::{to_a_server_by_hand, until_started};
use common::service::{self, Seen, status_only};
use common::steps::Steps;
use common::{
    AnyBody, AnyFuture, Done, FakeClock, Function, InMemory, body_of, call_of, channel_body,
    connect_with, data, finish, next_data, on_both, until, with_clock, without,
};
use futures_util::{FutureExt, join, poll};
use grpctunnel_driver::{
    Candidate, Candidates, Channel, Code, Extension, ExtensionSet, LeastLoaded, NeverProcessed,
    Options, Pick, RequestBody, Runtime, Sleep, Status, Timer, TunnelGroup, TunnelService, connect,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use tower_service::Service;

const SECOND: Duration = Duration::from_secs(1);

fn room_for(streams: u32) -> Options {
    let mut options = Options::default();
    options.limits.max_streams = streams;
    options
}

/// A handler that says who it is, and what content type and how many bytes it was sent.
fn named(
    name: &'static str,
) -> Function<impl Fn(Request<RequestBody>) -> AnyFuture<Response<AnyBody>> + Clone + Sync> {
    Function(move |request: Request<RequestBody>| {
        let future = async move {
            if request.uri().path() == "/t.S/Hang" {
                return std::future::pending().await;
            }
            let (head, body) = request.into_parts();
            let Ok((bytes, _)) = common::read(body).await else {
                return status_only(&Status::new(Code::Aborted, "the request broke"));
            };
            let mut response = status_only(&Status::new(Code::Ok, ""));
            let headers = response.headers_mut();
            headers.insert("x-name", HeaderValue::from_static(name));
            headers.insert("x-bytes", HeaderValue::from(bytes.len()));
            if let Some(content_type) = head.headers.get("content-type") {
                headers.insert("x-type", content_type.clone());
            }
            response
        };
        Box::pin(future) as AnyFuture<_>
    })
}

/// A tunnel to a handler that says this name, whose caller has these options.
async fn tunnel(runtime: &Runtime, name: &'static str, options: &Options) -> Channel {
    let service = TunnelService::new(runtime.clone()).forward(named(name));
    connect_with(runtime, service, options).await
}

/// A tunnel that drains at its other end, which this end does not know.
async fn refusing(runtime: &Runtime) -> Channel {
    // Without the extension the peer does not say that it drains.
    let options = without(ExtensionSet::EMPTY.with(Extension::Drain));
    let seen = Arc::new(Seen::default());
    let service = TunnelService::new(runtime.clone()).forward(service::sample(seen.clone()));
    let channel = connect_with(runtime, service.clone(), &options).await;
    let mut hanging = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
    until_started(&mut hanging, &seen, 1).await;
    service.drain(3_600 * SECOND);
    // The call keeps the tunnel from ending.
    std::mem::forget(hanging);
    assert!(channel.is_open());
    channel
}

fn unary() -> Request<AnyBody> {
    call_of("t.S/M", body_of(&[b"m"]))
}

fn with_header(name: &'static str, value: &str) -> Request<AnyBody> {
    let mut request = unary();
    request.headers_mut().extend(header(name, value));
    request
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn make(group: &TunnelGroup, request: Request<AnyBody>) -> Done {
    finish(group.clone().call(request).await.unwrap()).await
}

/// Which tunnel a call took.
#[expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn taken(group: &TunnelGroup, request: Request<AnyBody>) -> String {
    let done = make(group, request).await;
    assert_eq!(done.status.code(), Code::Ok, "{}", done.status);
    done.headers["x-name"].to_str().unwrap().to_owned()
}

async fn all_taken(group: &TunnelGroup, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(taken(group, unary()).await);
    }
    names
}

#[test]
fn calls_take_turns_and_who_is_passed_over_gives_its_turn_to_nobody_twice() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone());
        let mut members = Vec::new();
        for name in ["1", "2", "3"] {
            let channel = tunnel(&runtime, name, &Options::default()).await;
            members.push((channel.clone(), group.add(channel)));
        }
        assert_eq!(all_taken(&group, 4).await, ["1", "2", "3", "1"]);
        members[1].0.drain(3_600 * SECOND);
        assert_eq!(all_taken(&group, 3).await, ["3", "1", "3"]);
        assert_eq!(group.len(), 3);
        drop(members.remove(0));
        assert_eq!(all_taken(&group, 2).await, ["3", "3"]);
        assert_eq!((group.len(), group.channels().len()), (2, 2));
    });
}

#[test]
fn of_four_tunnels_the_healthy_one_takes_every_call() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let draining = tunnel(&runtime, "draining", &Options::default()).await;
        let full = tunnel(&runtime, "full", &room_for(1)).await;
        let healthy = tunnel(&runtime, "healthy", &Options::default()).await;
        let (silent, mut body, frames) = to_a_server_by_hand(&runtime).await;
        let group = TunnelGroup::new(runtime.clone());
        let channels = [&draining, &silent, &full, &healthy];
        let _members = channels.map(|channel| group.add(channel.clone()));

        let hanging = |channel: &Channel| channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        let (mut one, mut two, mut three) = (hanging(&draining), hanging(&full), hanging(&silent));
        for call in [&mut one, &mut two, &mut three] {
            assert!(poll!(call).is_pending());
        }
        draining.drain(3_600 * SECOND);
        // The silent one is asked, and does not answer.
        next_data(&mut body).await.unwrap();
        for time in [SECOND, 2 * SECOND] {
            until(|| clock.is_awaited(time)).await;
            clock.advance(time);
        }
        until(|| !silent.state().responsive).await;

        assert_eq!(all_taken(&group, 20).await, ["healthy"; 20]);
        let by_load = group.clone().with_pick(LeastLoaded);
        assert_eq!(all_taken(&by_load, 20).await, ["healthy"; 20]);
        // It takes its turn again as soon as it is heard.
        frames.try_send(server(1, close_ok())).unwrap();
        until(|| silent.is_open()).await;
        let mut turns = (0..2)
            .map(|_| group.clone().call(unary()))
            .collect::<Vec<_>>();
        for call in &mut turns {
            let _ = poll!(call);
        }
        assert_eq!(silent.state().calls, 1);
    });
}

#[test]
fn where_all_are_full_a_call_waits_for_room() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone());
        let full = tunnel(&runtime, "full", &room_for(1)).await;
        let _member = group.add(full.clone());
        let mut hanging = full.clone().call(call_of("t.S/Hang", body_of(&[])));
        assert!(poll!(&mut hanging).is_pending());
        assert!(!group.is_ready());
        let mut call = Box::pin(taken(&group, unary()));
        assert!(poll!(&mut call).is_pending());
        drop(hanging);
        assert_eq!(call.await, "full");
    });
}

#[test]
fn the_tunnel_with_fewer_calls_is_preferred_where_load_decides() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone()).with_pick(LeastLoaded);
        let busy = tunnel(&runtime, "busy", &Options::default()).await;
        let idle = tunnel(&runtime, "idle", &Options::default()).await;
        let _members = [group.add(busy.clone()), group.add(idle)];
        let mut hanging = busy.clone().call(call_of("t.S/Hang", body_of(&[])));
        assert!(poll!(&mut hanging).is_pending());
        assert_eq!(all_taken(&group, 20).await, ["idle"; 20]);
    });
}

#[test]
fn load_is_spread_over_many_tunnels() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone()).with_pick(LeastLoaded);
        let mut channels = Vec::new();
        for _ in 0..16 {
            channels.push(tunnel(&runtime, "one of many", &Options::default()).await);
        }
        let _members: Vec<_> = channels.iter().map(|one| group.add(one.clone())).collect();
        let mut calls = Vec::new();
        for _ in 0..160 {
            let mut call = group.clone().call(call_of("t.S/Hang", body_of(&[])));
            assert!(poll!(&mut call).is_pending());
            calls.push(call);
        }
        // By one choice alone, some of 16 would be expected to have 17 or more.
        let most = channels.iter().map(|channel| channel.state().calls).max();
        assert!(
            most.is_some_and(|most| (10..=14).contains(&most)),
            "{most:?}"
        );
    });
}

/// Calls go where they say, or nowhere.
struct ByName;

impl Pick for ByName {
    fn pick<'c>(&self, call: &Parts, tunnels: &'c Candidates<'_>) -> Option<Candidate<'c>> {
        assert_eq!(call.uri.path(), "/t.S/M");
        let place = call.headers.get("x-place")?.to_str().ok()?.parse().ok()?;
        tunnels.get(place)
    }
}

#[test]
fn a_strategy_of_the_user_sees_the_call() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone());
        let mut members = Vec::new();
        for name in ["0", "1", "2"] {
            members.push(group.add(tunnel(&runtime, name, &Options::default()).await));
        }
        let by_name = group.clone().with_pick(ByName);
        for place in ["2", "0", "2", "1"] {
            assert_eq!(taken(&by_name, with_header("x-place", place)).await, place);
        }
        group.channels()[1].drain(3_600 * SECOND);
        for unpickable in [with_header("x-place", "1"), unary()] {
            let done = make(&by_name, unpickable).await;
            assert_eq!(done.status.code(), Code::Unavailable);
            assert!(done.never_processed);
        }
        // Other clones keep their strategy.
        assert_eq!(all_taken(&group, 3).await, ["0", "2", "0"]);
    });
}

#[test]
fn a_call_goes_where_all_of_it_is_carried() {
    on_both(|runtime| async move {
        let plain = tunnel(&runtime, "plain", &without(ExtensionSet::ALL)).await;
        let mut latin1 = without(ExtensionSet::ALL);
        latin1.bin_dialect = grpctunnel_driver::BinDialect::Latin1;
        let latin1 = tunnel(&runtime, "latin1", &latin1).await;
        let full = tunnel(&runtime, "full", &room_for(1)).await;
        let group = TunnelGroup::new(runtime.clone());
        let _plain = group.add(plain.clone());
        let compressed = || {
            let mut request = call_of("t.S/M", bytes_of(&[b"\x01\0\0\0\x01z"]));
            let gzip = HeaderValue::from_static("gzip");
            request.headers_mut().insert("grpc-encoding", gzip);
            request
        };
        // No tunnel carries it: the answer is that of a tunnel.
        let done = make(&group, compressed()).await;
        assert_eq!(done.status.code(), Code::Unimplemented);
        let done = make(&group, with_header("x-any-bin", ANY_BYTES)).await;
        assert_eq!(done.status.code(), Code::InvalidArgument);
        // What is dropped anyway, and what is UTF-8, goes anywhere.
        for value in ["AAEC", "bad base64"] {
            let done = make(&group, with_header("x-any-bin", value)).await;
            let expected = if value == "AAEC" {
                Code::Ok
            } else {
                Code::InvalidArgument
            };
            assert_eq!(done.status.code(), expected);
        }
        assert_eq!(
            taken(&group, with_header("grpc-trace-bin", ANY_BYTES)).await,
            "plain"
        );

        let _full = group.add(full.clone());
        for _ in 0..4 {
            assert_eq!(taken(&group, compressed()).await, "full");
            assert_eq!(
                taken(&group, with_header("x-any-bin", ANY_BYTES)).await,
                "full"
            );
        }
        let _latin1 = group.add(latin1);
        let mut names = Vec::new();
        for _ in 0..2 {
            names.push(taken(&group, with_header("x-any-bin", ANY_BYTES)).await);
        }
        names.sort();
        assert_eq!(names, ["full", "latin1"]);
        // One that carries it is waited for.
        let mut hanging = full.clone().call(call_of("t.S/Hang", body_of(&[])));
        assert!(poll!(&mut hanging).is_pending());
        let mut call = Box::pin(taken(&group, compressed()));
        assert!(poll!(&mut call).is_pending());
        drop(hanging);
        assert_eq!(call.await, "full");
    });
}

#[test]
fn a_call_without_a_tunnel_fails_or_waits_for_one_that_is_expected() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let group = TunnelGroup::new(runtime.clone()).with_max_wait(10 * SECOND);
        let done = make(&group, unary()).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);

        // The tunnel comes.
        let expected = group.expect();
        let mut call = Box::pin(taken(&group, unary()));
        assert!(poll!(&mut call).is_pending());
        let member = group.add(tunnel(&runtime, "late", &Options::default()).await);
        drop(expected);
        assert_eq!(call.await, "late");
        drop(member);

        // It does not come.
        let expected = group.expect();
        let second = group.expect();
        let mut call = Box::pin(make(&group, unary()));
        assert!(poll!(&mut call).is_pending());
        drop(expected);
        assert!(poll!(&mut call).is_pending());
        drop(second);
        assert!(call.await.never_processed);

        // A wait without limit is possible.
        let expected = group.expect();
        let endless = group.clone().with_max_wait(Duration::MAX);
        let mut call = Box::pin(make(&endless, unary()));
        assert!(poll!(&mut call).is_pending());
        drop(expected);
        assert!(call.await.never_processed);

        // It takes too long: for the group, or for the call.
        let _expected = group.expect();
        let mut patient = Box::pin(make(&group, unary()));
        let mut hasty = Box::pin(make(&group, with_header("grpc-timeout", "4S")));
        assert!(poll!(&mut patient).is_pending() && poll!(&mut hasty).is_pending());
        clock.advance(4 * SECOND);
        assert_eq!(hasty.await.status.code(), Code::DeadlineExceeded);
        assert!(poll!(&mut patient).is_pending());
        clock.advance(6 * SECOND);
        let done = patient.await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
    });
}

#[test]
fn ready_means_that_a_call_is_taken_at_once() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let group = TunnelGroup::new(runtime.clone());
        let now = clock.now();
        let mut wait = Box::pin(group.wait_for_ready(now + SECOND));
        assert!(poll!(&mut wait).is_pending());
        let one = tunnel(&runtime, "one", &room_for(1)).await;
        let member = group.add(one.clone());
        assert!(wait.await && group.is_ready());
        // Room.
        let mut hanging = one.clone().call(call_of("t.S/Hang", body_of(&[])));
        assert!(poll!(&mut hanging).is_pending());
        let mut wait = Box::pin(group.wait_for_ready(now + SECOND));
        assert!(poll!(&mut wait).is_pending());
        drop(hanging);
        assert!(wait.await);
        // A drain is for ever.
        one.drain(3_600 * SECOND);
        let mut wait = Box::pin(group.wait_for_ready(now + SECOND));
        assert!(poll!(&mut wait).is_pending());
        drop(member);
        assert!(poll!(&mut wait).is_pending());
        clock.advance(SECOND);
        assert!(!wait.await && !group.is_ready());
    });
}

#[test]
fn a_call_whose_body_was_not_polled_is_made_until_a_tunnel_takes_it() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone());
        // Calls that wait for room: their bodies are left alone.
        let mut members = Vec::new();
        let mut busy = Vec::new();
        for _ in 0..3 {
            let channel = tunnel(&runtime, "full", &room_for(1)).await;
            let mut hanging = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
            assert!(poll!(&mut hanging).is_pending());
            busy.push((channel.clone(), hanging));
            members.push(group.add(channel));
        }
        let big = vec![7; 200 << 10];
        let mut call = Box::pin(make(&group, call_of("t.S/M", body_of(&[&big]))));
        assert!(poll!(&mut call).is_pending());
        for (channel, _) in &busy {
            channel.drain(3_600 * SECOND);
            let healthy = channel.id() == busy[2].0.id();
            if healthy {
                let last = tunnel(&runtime, "last", &Options::default()).await;
                members.push(group.add(last));
            } else {
                assert!(poll!(&mut call).is_pending());
            }
        }
        let done = call.await;
        assert_eq!(done.headers["x-name"], "last");
        assert_eq!(done.headers["x-bytes"], (5 + big.len()).to_string());
    });
}

#[test]
fn what_was_sent_is_sent_once_more_elsewhere_if_all_of_it_is_kept() {
    on_both(|runtime| async move {
        for (size, expected) in [
            (0, Code::Ok),
            (60 << 10, Code::Ok),
            (70 << 10, Code::Unavailable),
        ] {
            let group = TunnelGroup::new(runtime.clone());
            let refusing = refusing(&runtime).await;
            let _members = [
                group.add(refusing.clone()),
                group.add(tunnel(&runtime, "good", &without(ExtensionSet::ALL)).await),
            ];
            let message = vec![7; size];
            let mut request = call_of("t.S/M", body_of(&[&message]));
            let content_type = HeaderValue::from_static("application/grpc+json");
            request.headers_mut().insert("content-type", content_type);
            let done = make(&group, request).await;
            assert_eq!(done.status.code(), expected, "{size}");
            assert_eq!(done.never_processed, expected != Code::Ok);
            if expected == Code::Ok {
                assert_eq!(done.headers["x-bytes"], (5 + size).to_string());
                // The second tunnel does not carry content types.
                assert_eq!(done.headers["x-type"], "application/grpc");
            }
        }
    });
}

#[test]
fn what_was_sent_is_not_sent_a_third_time() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone());
        let _members = [
            group.add(refusing(&runtime).await),
            group.add(refusing(&runtime).await),
            group.add(tunnel(&runtime, "good", &Options::default()).await),
        ];
        let done = make(&group, unary()).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
        // The turn is past the first two.
        assert_eq!(taken(&group, unary()).await, "good");
    });
}

#[test]
fn a_call_that_may_have_been_processed_is_not_made_again() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let service = TunnelService::new(runtime.clone()).forward(service::sample(seen.clone()));
        let lost = connect_with(&runtime, service, &Options::default()).await;
        let group = TunnelGroup::new(runtime.clone());
        let _members = [
            group.add(lost.clone()),
            group.add(tunnel(&runtime, "good", &Options::default()).await),
        ];
        let mut call = group.clone().call(call_of("t.S/Hang", body_of(&[b"m"])));
        until_started(&mut call, &seen, 1).await;
        lost.close();
        let done = finish(call.await.unwrap()).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(!done.never_processed);
        // Nor is one whose handler says so, or whose own body fails.
        let done = make(&group, call_of("t.S/M", body_of(&[]))).await;
        assert_eq!(done.headers["x-name"], "good");
        let (frames, body) = channel_body();
        frames.try_send(Err("broken".into())).unwrap();
        let error = group
            .clone()
            .call(call_of("t.S/M", body))
            .await
            .unwrap_err();
        assert!(NeverProcessed::find_in(&error).is_none());
    });
}

#[test]
fn the_deadline_of_a_call_stays_where_it_was() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let group = TunnelGroup::new(runtime.clone()).with_max_wait(60 * SECOND);
        let expected = group.expect();
        let mut request = call_of("t.S/Hang", body_of(&[b"m"]));
        request.headers_mut().extend(header("grpc-timeout", "10S"));
        let mut call = Box::pin(make(&group, request));
        assert!(poll!(&mut call).is_pending());
        clock.advance(9 * SECOND);
        let channel = tunnel(&runtime, "late", &Options::default()).await;
        let _member = group.add(channel.clone());
        drop(expected);
        assert!(poll!(&mut call).is_pending());
        assert_eq!(channel.state().calls, 1);
        clock.advance(SECOND);
        assert_eq!(call.await.status.code(), Code::DeadlineExceeded);
    });
}

#[test]
fn nothing_is_kept_once_the_response_has_begun() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let service = TunnelService::new(runtime.clone()).forward(service::sample(seen));
        let channel = connect_with(&runtime, service, &Options::default()).await;
        let group = TunnelGroup::new(runtime.clone());
        let _member = group.add(channel);
        let (frames, body) = channel_body();
        let owner = Arc::new(());
        let message = Bytes::from_owner(Owned(vec![0, 0, 0, 0, 3, 1, 2, 3], owner.clone()));
        frames
            .try_send(Ok(http_body::Frame::data(message)))
            .unwrap();
        let response = group.clone().call(call_of("t.S/Echo", body)).await.unwrap();
        let mut body = response.into_body();
        next_data(&mut body).await.unwrap();
        // It was sent, and is held by nobody.
        until(|| Arc::strong_count(&owner) == 1).await;
        frames.try_send(data(b"more")).unwrap();
        assert!(next_data(&mut body).await.is_some());
    });
}

struct Owned(Vec<u8>, #[expect(dead_code, reason = "counted")] Arc<()>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn a_tunnel_that_leaves_the_group_is_drained_with_its_last_handle() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone());
        let channel = tunnel(&runtime, "one", &Options::default()).await;
        let mut closed = Box::pin(channel.closed());
        let member = group.add(channel);
        assert_eq!(taken(&group, unary()).await, "one");
        assert!(poll!(&mut closed).is_pending());
        drop(member);
        assert!(closed.await.is_clean());
        assert!(group.is_empty());
    });
}

/// Looks at every tunnel, and takes none.
struct Declines;

impl Pick for Declines {
    fn pick<'c>(&self, _call: &Parts, tunnels: &'c Candidates<'_>) -> Option<Candidate<'c>> {
        assert_eq!(tunnels.len(), tunnels.iter().count());
        None
    }
}

/// A clock that picks: it is read with the lock of a tunnel held, too.
#[derive(Clone)]
struct Picking(Arc<OnceLock<TunnelGroup>>);

impl Timer for Picking {
    #[expect(
        clippy::unwrap_used,
        reason = "a helper of tests states what must hold"
    )]
    fn now(&self) -> Instant {
        if let Some(group) = self.0.get() {
            let call = group.clone().call(with_header("grpc-encoding", "gzip"));
            let response = call.now_or_never().unwrap().unwrap();
            assert!(response.extensions().get::<NeverProcessed>().is_some());
            assert_eq!(group.is_ready(), !group.is_empty());
        }
        Instant::now()
    }

    fn sleep_until(&self, _deadline: Instant) -> Sleep {
        Box::pin(std::future::pending())
    }
}

#[test]
fn picking_takes_no_lock_of_a_tunnel() {
    let steps = Steps::default();
    let clock = Picking(Arc::default());
    let runtime = steps.runtime_with(clock.clone());
    let service = TunnelService::new(steps.runtime()).forward(named("one"));
    let options = Options::default();
    let opening = connect(InMemory(service), &runtime, &options, HeaderMap::new());
    let channel = steps.drive(&mut Box::pin(opening)).unwrap().unwrap();
    let group = TunnelGroup::new(steps.runtime()).with_pick(Declines);
    let _member = group.add(channel.clone());
    clock.0.set(group).ok();
    let mut call = Box::pin(common::make(&channel, unary()));
    assert_eq!(steps.drive(&mut call).unwrap().headers["x-name"], "one");
}

#[test]
fn a_look_up_among_many_tunnels_allocates_what_one_among_few_does() {
    let steps = Steps::default();
    let runtime = steps.runtime();
    let service = TunnelService::new(runtime.clone()).forward(named("one"));
    let options = Options::default();
    let opening = connect(InMemory(service), &runtime, &options, HeaderMap::new());
    let channel = steps.drive(&mut Box::pin(opening)).unwrap().unwrap();
    let measure = |count: usize| {
        let group = TunnelGroup::new(runtime.clone());
        let _members: Vec<_> = (0..count).map(|_| group.add(channel.clone())).collect();
        let member = group.add(channel.clone());
        let mut call = Box::pin(make(&group, unary()));
        assert!(steps.drive(&mut call).is_some());
        allocation_counter::measure(|| {
            let call = group.clone().call(call_of("t.S/M", body_of(&[])));
            let _ = Box::pin(call).as_mut().now_or_never();
            drop(member);
            assert!(group.is_ready());
        })
    };
    let (few, many) = (measure(10), measure(100_000));
    assert_eq!(few.count_total, many.count_total);
    assert!(many.bytes_total <= few.bytes_total + 64, "{few:?} {many:?}");
}

#[test]
fn a_group_that_changes_while_calls_are_made_loses_none() {
    on_both(|runtime| async move {
        let group = TunnelGroup::new(runtime.clone());
        let channel = tunnel(&runtime, "one", &Options::default()).await;
        let _member = group.add(channel.clone());
        let calls = async {
            for _ in 0..200 {
                assert_eq!(taken(&group, unary()).await, "one");
            }
        };
        let changes = async {
            for _ in 0..200 {
                let member = group.add(channel.clone());
                smol::future::yield_now().await;
                drop(member);
            }
        };
        join!(calls, changes);
        assert_eq!(group.len(), 1);
    });
}
