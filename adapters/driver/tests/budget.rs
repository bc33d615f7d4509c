//! A bound on the bytes that wait in several tunnels together.

#[cfg(test)]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::service::{self, Seen};
use common::steps::Steps;
use common::{AnyBody, InMemory, body_of, call_of, channel_body, data, finish, without};
use grpctunnel_driver::{
    Channel, Code, Extension, ExtensionSet, MemoryBudget, Options, ResponseFuture, Sleep, Timer,
    TunnelService, connect,
};
use http::HeaderMap;
use tower_service::Service;

const LIMIT: usize = 32 << 10;
/// More than the first window of a stream and what may wait to be sent on it.
const LARGE: usize = 300 << 10;

/// Which end of the tunnels has the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// A clock that goes on by a millisecond whenever it is read: a round trip takes some of them, and
/// windows grow. Nothing is ever due.
struct Ticking(Instant, Arc<AtomicU64>);

impl Timer for Ticking {
    fn now(&self) -> Instant {
        self.0 + Duration::from_millis(self.1.fetch_add(1, Ordering::Relaxed))
    }

    fn sleep_until(&self, _deadline: Instant) -> Sleep {
        Box::pin(std::future::pending())
    }
}

struct World {
    steps: Steps,
    seen: Arc<Seen>,
    budget: MemoryBudget,
    channels: Vec<Channel>,
}

#[cfg(test)]
impl World {
    /// Two tunnels to two services, one end of which share a budget.
    fn new(end: End) -> Self {
        Self::with_options(end, Options::default(), 1_024, LIMIT)
    }

    fn with_options(end: End, options: Options, max_streams: u32, limit: usize) -> Self {
        let (steps, seen) = (Steps::default(), Arc::<Seen>::default());
        let runtime = steps.runtime_with(Ticking(Instant::now(), Arc::default()));
        let budget = MemoryBudget::new(limit);
        let mut limited = options.clone();
        limited.budget = Some(budget.clone());
        let (mut client, server) = match end {
            End::Client => (limited, options),
            End::Server => (options, limited),
        };
        client.limits.max_streams = max_streams;
        let channels = [(), ()].map(|()| {
            let service = TunnelService::new(runtime.clone()).with_options(server.clone());
            let service = service.forward(service::sample(seen.clone()));
            let opening = connect(InMemory(service), &runtime, &client, HeaderMap::new());
            steps.drive(&mut Box::pin(opening)).unwrap().unwrap()
        });
        Self {
            steps,
            seen,
            budget,
            channels: channels.into(),
        }
    }

    /// Begins a call on one of the tunnels.
    fn begin(&self, tunnel: usize, method: &str, body: AnyBody) -> ResponseFuture<AnyBody> {
        let mut call = self.channels[tunnel].clone().call(call_of(method, body));
        assert!(self.steps.drive(&mut call).is_none());
        call
    }

    fn call(&self, tunnel: usize) -> common::Done {
        let call = call_of("t.S/Unary", body_of(&[b"m"]));
        let call = self.channels[tunnel].clone().call(call);
        let done = async move { finish(call.await.unwrap()).await };
        self.steps.drive(&mut Box::pin(done)).unwrap()
    }
}

#[test]
fn what_waits_in_one_tunnel_refuses_new_calls_in_all_and_holds_no_open_one_up() {
    for end in [End::Client, End::Server] {
        let world = World::new(end);
        // It was accepted before.
        let (frames, body) = channel_body();
        let other = world.begin(1, "t.S/Collect", body);
        assert_eq!(world.budget.waiting(), 0);
        // Nobody reads this one.
        let stuck = world.begin(0, "t.S/Hang", body_of(&[&vec![7; LARGE]]));
        let waiting = world.budget.waiting();
        assert!(waiting >= LIMIT, "{end:?}: {waiting}");
        for tunnel in 0..2 {
            let refused = world.call(tunnel);
            assert_eq!(refused.status.code(), Code::ResourceExhausted);
            assert!(refused.never_processed);
            let text = refused.status.message();
            assert!(text.contains("options.budget"), "{text}");
        }
        assert_eq!(world.budget.refused(), 2);
        assert_eq!(world.seen.started(), 2);
        // The other one goes on all the same.
        for _ in 0..10 {
            frames.try_send(data(&vec![1; LARGE])).unwrap();
        }
        drop(frames);
        let done = async move { finish(other.await.unwrap()).await };
        let done = world.steps.drive(&mut Box::pin(done)).unwrap();
        assert_eq!(done.status.code(), Code::Ok);
        let expected = vec![LARGE.to_string(); 10].join(",");
        assert_eq!(done.messages, [expected.into_bytes()]);

        drop(stuck);
        world.steps.run();
        assert_eq!(world.budget.waiting(), 0, "{end:?}");
        assert_eq!(world.call(1).status.code(), Code::Ok);
    }
}

#[test]
fn a_peer_that_knows_no_mark_is_told_the_limit_as_well() {
    let options = without(ExtensionSet::ALL);
    assert!(!options.extensions.contains(Extension::Unprocessed));
    let world = World::with_options(End::Server, options, 1_024, LIMIT);
    let _stuck = world.begin(0, "t.S/Hang", body_of(&[&vec![7; LARGE]]));
    let refused = world.call(1);
    assert_eq!(refused.status.code(), Code::ResourceExhausted);
    assert!(!refused.never_processed);
    assert_eq!(world.seen.started(), 1);
}

#[test]
fn a_call_that_waits_for_room_is_refused_when_it_is_its_turn() {
    let world = World::with_options(End::Client, Options::default(), 1, LIMIT);
    let stuck = world.begin(1, "t.S/Hang", body_of(&[b"m"]));
    let waiting = world.begin(1, "t.S/Unary", body_of(&[b"m"]));
    let _large = world.begin(0, "t.S/Hang", body_of(&[&vec![7; LARGE]]));
    assert!(world.budget.waiting() >= LIMIT);
    drop(stuck);
    let done = async move { finish(waiting.await.unwrap()).await };
    let done = world.steps.drive(&mut Box::pin(done)).unwrap();
    assert_eq!(done.status.code(), Code::ResourceExhausted);
    assert!(done.never_processed);
    assert_eq!(world.seen.started(), 2);
}

#[test]
fn whatever_ends_a_call_gives_back_what_waited() {
    for end in [End::Client, End::Server] {
        for how in 0..3 {
            let world = World::with_options(end, Options::default(), 1_024, 64 << 20);
            let small = [&b"a"[..]; 5_000];
            let calls = [
                world.begin(0, "t.S/Hang", body_of(&[&vec![7; LARGE / 2]])),
                world.begin(1, "t.S/Hang", body_of(&small)),
            ];
            assert!(world.budget.waiting() > 0);
            match how {
                0 => drop(calls),
                1 => world.channels.iter().for_each(Channel::close),
                _ => {
                    let mut world = world;
                    world.channels.clear();
                    drop(calls);
                    world.steps.run();
                    assert_eq!(world.budget.waiting(), 0, "{end:?} {how}");
                    continue;
                }
            }
            world.steps.run();
            assert_eq!(world.budget.waiting(), 0, "{end:?} {how}");
        }
    }
}

/// Windows that are so small at first that a caller always waits for more.
#[cfg(test)]
fn small_windows() -> Options {
    let mut options = Options::default();
    options.limits.receive_window.initial = 4 << 10;
    options
}

#[test]
fn windows_grow_as_far_as_the_budget_goes() {
    let grown = [64 << 20, 256 << 10, 1].map(|limit| {
        let world = World::with_options(End::Server, small_windows(), 1_024, limit);
        let (frames, body) = channel_body();
        let mut call = world.begin(1, "t.S/Collect", body);
        let mut most = 0;
        for _ in 0..20 {
            frames.try_send(data(&vec![1; LARGE])).unwrap();
            assert!(world.steps.drive(&mut call).is_none());
            let grown = world.budget.grown();
            assert!(grown <= limit, "{grown} of {limit}");
            most = most.max(grown);
        }
        drop(frames);
        let done = async move { finish(call.await.unwrap()).await };
        let done = world.steps.drive(&mut Box::pin(done)).unwrap();
        assert_eq!(done.status.code(), Code::Ok);
        assert_eq!(world.budget.grown(), 0, "the call is over");
        most
    });
    let [wide, narrow, none] = grown;
    assert!(wide > narrow && narrow > none && none == 0, "{grown:?}");
}

#[test]
fn what_waits_withholds_growth_until_it_is_gone() {
    let limit = 8 << 10;
    let world = World::with_options(End::Server, small_windows(), 1_024, limit);
    let (frames, body) = channel_body();
    let mut call = world.begin(1, "t.S/Collect", body);
    let mut send = || {
        for _ in 0..10 {
            frames.try_send(data(&vec![1; LARGE])).unwrap();
            assert!(world.steps.drive(&mut call).is_none());
        }
    };
    let stuck = [(); 2].map(|()| world.begin(0, "t.S/Hang", body_of(&[&vec![7; LARGE]])));
    assert!(world.budget.waiting() >= limit);
    send();
    assert_eq!(world.budget.grown(), 0);

    drop(stuck);
    world.steps.run();
    send();
    let grown = world.budget.grown();
    assert!(grown > 0 && grown <= limit, "{grown}");

    drop(frames);
    let done = async move { finish(call.await.unwrap()).await };
    let done = world.steps.drive(&mut Box::pin(done)).unwrap();
    let expected = vec![LARGE.to_string(); 20].join(",");
    assert_eq!(done.messages, [expected.into_bytes()]);
}
