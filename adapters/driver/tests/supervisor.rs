//! Tunnels that are kept open, in virtual time.

#[cfg(test)]
mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::service;
use common::steps::Steps;
use common::supervised::{Carrier, Dialled, LONG, SECOND, World, ended, fails, phases};
use common::{body_of, channel_body, trailers};
use grpctunnel_driver::{Backoff, Code, DialError, Interruption, Options, Status, SupervisedPhase};
use http::{HeaderValue, Response};

#[test]
fn every_gateway_gets_its_tunnels_and_calls_pass_through_each() {
    let world = World::new();
    let builder = world.builder().gateway("a", world.dial());
    let builder = builder.gateway("b", world.dial()).tunnels(2);
    let supervisor = builder.start(&world.runtime).unwrap();
    assert_eq!(supervisor.state().open(), 0);
    world.steps.run();
    let state = supervisor.state();
    let gateways: Vec<_> = state
        .tunnels
        .iter()
        .map(|tunnel| &*tunnel.gateway)
        .collect();
    assert_eq!(gateways, ["a", "a", "b", "b"]);
    assert_eq!(state.open(), 4);
    let channels = world.channels.lock().unwrap().clone();
    assert_eq!(channels.len(), 4);
    for channel in &channels {
        assert_eq!(world.call(channel).code(), Code::Ok);
    }
    let mut log = world.log();
    log.sort();
    assert_eq!(log, ["a0 opened", "a1 opened", "b2 opened", "b3 opened"]);
}

#[test]
fn attempts_go_on_for_ever_with_pauses_that_grow() {
    let world = World::new();
    world.script((0..1_000).map(|_| fails("nobody is there")));
    let supervisor = world.start();
    let mut pauses = Vec::new();
    for attempt in 1..=1_000 {
        assert_eq!(supervisor.state().tunnels[0].failures, attempt);
        pauses.push(world.pass_pause(&supervisor));
    }
    assert_eq!(supervisor.state().open(), 1);
    for (attempt, pause) in pauses.iter().enumerate() {
        assert!(
            *pause <= SECOND * (1 << attempt.min(4)),
            "{attempt}: {pause:?}"
        );
    }
    let late: Duration = pauses[10..].iter().sum();
    let mean = late / 990;
    assert!(
        (7 * SECOND..9 * SECOND).contains(&mean),
        "full jitter of 16 s: {mean:?}"
    );
    let log = world.log();
    assert_eq!(
        log[..2],
        ["g0 failed: the peer was not reached", "g0 waiting"]
    );
    assert_eq!(log.len(), 2_001);
}

#[test]
fn the_same_seed_gives_the_same_pauses_and_each_tunnel_has_its_own() {
    let pauses = |seed| {
        let world = World::new();
        world.script((0..20).map(|_| fails("")));
        let builder = world
            .builder()
            .gateway("g", world.dial())
            .tunnels(2)
            .seed(seed);
        let supervisor = builder.start(&world.runtime).unwrap();
        world.steps.run();
        phases(&supervisor)
    };
    assert_eq!(pauses(1), pauses(1));
    assert_ne!(pauses(1), pauses(2));
    assert_ne!(pauses(1)[0], pauses(1)[1]);
}

#[test]
fn only_a_tunnel_that_lived_resets_the_pauses() {
    let world = World::new();
    world.script((0..6).map(|_| fails("")));
    world.script((0..2).map(|_| Dialled::Breaks));
    let supervisor = world.start();
    for _ in 0..6 {
        world.pass_pause(&supervisor);
    }
    for (open, failures) in [
        (Backoff::default().lived - SECOND, 7),
        (Backoff::default().lived, 1),
    ] {
        assert_eq!(supervisor.state().open(), 1);
        world.advance(open);
        world.cuts.lock().unwrap().clear();
        world.steps.run();
        let tunnel = &supervisor.state().tunnels[0];
        assert_eq!(tunnel.failures, failures);
        assert!(
            matches!(tunnel.interruption, Some(Interruption::Lost(_))),
            "{tunnel:?}"
        );
        world.pass_pause(&supervisor);
    }
}

#[test]
fn what_the_dialer_calls_permanent_ends_the_attempts_of_that_tunnel() {
    let world = World::new();
    let wrong = || Dialled::Fails(DialError::permanent("the key file is not a key"));
    world.script([wrong()]);
    let builder = world.builder().gateway("a", world.dial());
    let supervisor = builder
        .gateway("b", world.dial())
        .start(&world.runtime)
        .unwrap();
    world.steps.run();
    assert_eq!(
        phases(&supervisor),
        [SupervisedPhase::Ended, SupervisedPhase::Open]
    );
    world.advance(LONG);
    assert_eq!(world.channels.lock().unwrap().len(), 1);
    // The other one is lost, and then nothing is left to do.
    world.script([wrong()]);
    world.last_channel().close();
    world.steps.run();
    let end = ended(&world, &supervisor).unwrap();
    let why = end.gave_up.unwrap();
    assert!(matches!(why, Interruption::NotDialled(_)));
    let source = std::error::Error::source(&why).unwrap().to_string();
    assert_eq!(source, "the key file is not a key");
    assert!(supervisor.state().over);
}

#[test]
fn a_refusal_is_told_and_the_application_may_give_up() {
    let world = World::new();
    let refused = |code| Dialled::Refused(Status::new(code, "no"));
    world.script([refused(Code::Unavailable), refused(Code::Unauthenticated)]);
    let give_up = |why: &Interruption| match why {
        Interruption::Refused(error) => error.code() == Code::Unauthenticated,
        _ => false,
    };
    let builder = world
        .builder()
        .give_up_on(give_up)
        .gateway("g", world.dial());
    let supervisor = builder.start(&world.runtime).unwrap();
    world.steps.run();
    world.pass_pause(&supervisor);
    let refused = |code| format!("g0 failed: the peer refused the tunnel: {code}: no");
    let gave_up = "g0 gave up: the peer refused the tunnel: Unauthenticated: no";
    assert_eq!(
        world.log(),
        [
            &refused("Unavailable"),
            "g0 waiting",
            &refused("Unauthenticated"),
            gave_up
        ]
    );
    let why = ended(&world, &supervisor).unwrap().gave_up.unwrap();
    assert_eq!(why.code(), Code::Unauthenticated);
}

#[test]
fn a_peer_that_ends_tunnels_at_once_is_not_asked_in_a_tight_loop() {
    for (status, expected) in [
        (
            Status::new(Code::Ok, ""),
            "g0 ended: the peer drained the tunnel",
        ),
        (
            Status::new(Code::AlreadyExists, "another"),
            "g0 ended: the peer replaced the tunnel by another",
        ),
        (
            Status::new(Code::Internal, "a bug"),
            "g0 ended: the tunnel was lost",
        ),
    ] {
        let world = World::new();
        world.script((0..20).map(|_| Dialled::Ended(status.clone())));
        let supervisor = world.start();
        for attempt in 1..=20 {
            let tunnel = &supervisor.state().tunnels[0];
            assert_eq!(tunnel.failures, attempt);
            let why = tunnel.interruption.as_ref().unwrap();
            assert_eq!(
                (
                    matches!(why, Interruption::Drained(_)),
                    matches!(why, Interruption::Replaced(_)),
                    matches!(why, Interruption::Lost(_)),
                ),
                (
                    status.code() == Code::Ok,
                    status.code() == Code::AlreadyExists,
                    status.code() == Code::Internal
                )
            );
            let log = world.log();
            assert_eq!(log[0], "g0 opened");
            assert!(log[1].starts_with(expected), "{}", log[1]);
            assert_eq!(log[2..], ["g0 waiting"]);
            world.pass_pause(&supervisor);
        }
        assert_eq!(supervisor.state().open(), 1);
    }
}

#[test]
fn two_that_replace_each_other_do_so_ever_more_slowly() {
    let world = World::new();
    let replaced = Status::new(Code::Aborted, "replaced by a newer tunnel");
    let supervisor = {
        let (sender, bodies) = smol::channel::unbounded();
        let dial = move || {
            let (frames, body) = channel_body();
            let _ = sender.try_send(frames);
            let body = Mutex::new(Some(body));
            std::future::ready(Ok(Carrier::answers(move || {
                let mut response = Response::new(body.lock().unwrap().take().unwrap());
                let grpc = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert("content-type", grpc);
                response
            })))
        };
        let supervisor = world
            .builder()
            .gateway("g", dial)
            .start(&world.runtime)
            .unwrap();
        world.steps.run();
        for attempt in 1..=5 {
            let frames = bodies.try_recv().unwrap();
            world.advance(LONG);
            service::put(&frames, trailers(&replaced));
            drop(frames);
            world.steps.run();
            assert_eq!(supervisor.state().tunnels[0].failures, attempt);
            world.pass_pause(&supervisor);
        }
        supervisor
    };
    let why = supervisor.state().tunnels[0].interruption.clone().unwrap();
    assert!(matches!(why, Interruption::Replaced(_)));
    assert_eq!(why.code(), Code::Aborted);
}

#[test]
fn a_tunnel_that_lived_and_is_drained_is_replaced_at_once() {
    let world = World::new();
    let supervisor = world.start();
    world.advance(LONG);
    let old = world.last_channel();
    old.drain(SECOND);
    world.steps.run();
    assert_eq!(supervisor.state().open(), 1);
    assert_eq!(world.channels.lock().unwrap().len(), 2);
    assert_eq!(world.call(&world.last_channel()).code(), Code::Ok);
    assert_eq!(
        world.log(),
        [
            "g0 opened",
            "g0 ended: the peer drained the tunnel",
            "g0 opened"
        ]
    );
}

#[test]
fn a_gateway_that_restarts_is_found_again() {
    let world = World::new();
    let supervisor = world.start();
    world.advance(LONG);
    world.gateway.lock().unwrap().drain(SECOND);
    world.steps.run();
    let tunnel = &supervisor.state().tunnels[0];
    assert!(
        matches!(tunnel.interruption, Some(Interruption::Refused(_))),
        "{tunnel:?}"
    );
    world.pass_pause(&supervisor);
    world.restart_gateway();
    world.pass_pause(&supervisor);
    assert_eq!(supervisor.state().open(), 1);
    assert_eq!(world.call(&world.last_channel()).code(), Code::Ok);
}

#[test]
fn a_graceful_stop_ends_with_the_last_call() {
    let world = World::new();
    let supervisor = world.start();
    let channel = world.last_channel();
    let call = world.hang(&channel);
    supervisor.drain(LONG);
    world.steps.run();
    assert_eq!(phases(&supervisor), [SupervisedPhase::Ended]);
    assert_eq!(supervisor.state().tunnels[0].draining, 1);
    assert!(supervisor.state().stopping);
    // A new call is refused, the open one goes on.
    assert_eq!(world.call(&channel).code(), Code::Unavailable);
    assert!(ended(&world, &supervisor).is_none());
    drop(call);
    world.steps.run();
    let end = ended(&world, &supervisor).unwrap();
    assert_eq!(end.cut_off, 0);
    assert!(end.gave_up.is_none());
    assert_eq!(
        world.log(),
        ["g0 opened", "g0 ended: this end finished the tunnel"]
    );
    world.advance(LONG);
    assert_eq!(world.channels.lock().unwrap().len(), 1);
}

#[test]
fn the_limit_of_a_graceful_stop_cuts_calls_off_and_counts_them() {
    let world = World::new();
    let builder = world.builder().gateway("a", world.dial());
    let supervisor = builder
        .gateway("b", world.dial())
        .start(&world.runtime)
        .unwrap();
    world.steps.run();
    let channels = world.channels.lock().unwrap().clone();
    let mut calls: Vec<_> = [0, 0, 1].map(|index| world.hang(&channels[index])).into();
    supervisor.drain(LONG);
    world.advance(LONG / 2);
    assert!(ended(&world, &supervisor).is_none());
    // It can be shortened only.
    supervisor.drain(2 * LONG);
    supervisor.drain(SECOND);
    world.advance(SECOND);
    assert_eq!(ended(&world, &supervisor).unwrap().cut_off, 3);
    for call in &mut calls {
        let response = world.steps.drive(call).unwrap().unwrap();
        let status = Status::from_headers(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
    }
}

#[test]
fn a_stop_ends_everything_at_once() {
    let world = World::new();
    world.script([Dialled::Gateway, Dialled::Hangs, fails("")]);
    let builder = world.builder().gateway("g", world.dial()).tunnels(3);
    let supervisor = builder.start(&world.runtime).unwrap();
    world.steps.run();
    let _call = world.hang(&world.last_channel());
    assert_eq!(world.hanging.load(Ordering::SeqCst), 1);
    supervisor.drain(LONG);
    world.steps.run();
    assert_eq!(world.hanging.load(Ordering::SeqCst), 0);
    assert!(ended(&world, &supervisor).is_none());
    supervisor.stop();
    assert_eq!(ended(&world, &supervisor).unwrap().cut_off, 1);
    // Nothing is left of it.
    drop(supervisor);
    world.channels.lock().unwrap().clear();
    world.steps.run();
    assert_eq!(world.steps.alive(), 0);
}

#[test]
fn the_last_clone_drains_when_it_is_dropped() {
    let world = World::new();
    let supervisor = world.start();
    let closed = supervisor.closed();
    let call = world.hang(&world.last_channel());
    drop(supervisor.clone());
    world.advance(LONG);
    assert_eq!(supervisor.state().open(), 1);
    drop(supervisor);
    let mut closed = Box::pin(closed);
    world.advance(1_000 * LONG);
    assert!(world.steps.drive(&mut closed).is_none());
    drop(call);
    assert_eq!(world.steps.drive(&mut closed).unwrap().cut_off, 0);
}

#[test]
fn the_states_end_with_the_last_one() {
    let world = World::new();
    world.script([fails("")]);
    let supervisor = world.start();
    let mut states = supervisor.states();
    let mut next = || world.steps.drive(&mut Box::pin(states.next()));
    let waiting = next().unwrap().unwrap();
    assert!(matches!(
        waiting.tunnels[0].phase,
        SupervisedPhase::Waiting(_)
    ));
    assert!(next().is_none());
    world.pass_pause(&supervisor);
    assert_eq!(next().unwrap().unwrap().open(), 1);
    assert!(next().is_none());
    supervisor.stop();
    world.steps.run();
    assert!(next().unwrap().unwrap().over);
    assert!(next().unwrap().is_none());
    assert!(next().unwrap().is_none());
}

#[test]
fn a_tunnel_that_this_end_does_not_want_carries_no_call() {
    let world = World::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let check = move |peer: Option<&grpctunnel_driver::TunnelPeer>| {
        let negotiates = peer
            .unwrap()
            .metadata()
            .contains_key("grpctunnel-negotiate");
        assert!(negotiates);
        match counter.fetch_add(1, Ordering::SeqCst) {
            0 => Err(DialError::new("not yet")),
            _ => Err(DialError::permanent("it is this process")),
        }
    };
    let builder = world.builder().check(check).gateway("g", world.dial());
    let supervisor = builder.start(&world.runtime).unwrap();
    world.steps.run();
    world.pass_pause(&supervisor);
    assert!(world.channels.lock().unwrap().is_empty());
    let why = ended(&world, &supervisor).unwrap().gave_up.unwrap();
    let source = std::error::Error::source(&why).unwrap().to_string();
    assert_eq!(source, "it is this process");
    let rejected = "g0 failed: this end refused the tunnel that it had opened";
    let log = world.log();
    assert_eq!(log[..3], [rejected, "g0 waiting", rejected]);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    let world = World::new();
    let no_gateway = world.builder().start(&world.runtime).unwrap_err();
    let no_tunnel = world.builder().gateway("g", world.dial()).tunnels(0);
    let no_tunnel = no_tunnel.start(&world.runtime).unwrap_err();
    let mut options = Options::default();
    options.first_stream_id = -1;
    let bad_options = world.builder().gateway("g", world.dial()).options(options);
    let bad_options = bad_options.start(&world.runtime).unwrap_err();
    for error in [no_gateway, no_tunnel, bad_options] {
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    assert_eq!(world.steps.started(), 0);
}

#[test]
fn an_executor_that_drops_a_task_is_noticed() {
    // Whichever task it is, and wherever it waits.
    let mut noticed = 0;
    for task in 0..6 {
        for polls in 0..12 {
            let steps = Steps::cutting(task, polls);
            let world = World::with_steps(steps.clone());
            world.script([fails("")]);
            let supervisor = world.start();
            if let SupervisedPhase::Waiting(pause) = phases(&supervisor)[0] {
                world.advance(pause);
            }
            if steps.was_cut() && phases(&supervisor)[0] == SupervisedPhase::Ended {
                let why = ended(&world, &supervisor).unwrap().gave_up.unwrap();
                assert!(matches!(why, Interruption::TaskLost), "{why:?}");
                noticed += 1;
            } else {
                supervisor.drain(SECOND);
                world.steps.run();
                world.advance(LONG);
                ended(&world, &supervisor).expect("it is not over");
            }
        }
    }
    assert!(noticed > 2);
}

#[test]
fn a_dialer_that_panics_gives_its_tunnel_up() {
    let world = World::new();
    let dial = || async {
        if true {
            panic!("a dialer that panics");
        }
        Ok(Carrier::answers(|| Response::new(body_of(&[]))))
    };
    let builder = world.builder().gateway("a", dial);
    let supervisor = builder
        .gateway("b", world.dial())
        .start(&world.runtime)
        .unwrap();
    let run = std::panic::AssertUnwindSafe(|| world.steps.run());
    let _ = std::panic::catch_unwind(run);
    world.steps.run();
    assert_eq!(
        phases(&supervisor),
        [SupervisedPhase::Ended, SupervisedPhase::Open]
    );
    let tunnel = &supervisor.state().tunnels[0];
    assert!(matches!(tunnel.interruption, Some(Interruption::TaskLost)));
}
