//! A channel that outlives its tunnels, in virtual time.

#[cfg(test)]
mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::supervised::{LONG, SECOND, forward_world};
use grpctunnel_driver::{Code, Interruption, SupervisedPhase, Timer};

#[test]
fn calls_wait_for_the_first_tunnel() {
    let world = forward_world();
    let channel = world
        .builder()
        .gateway("g", world.dial())
        .start(&world.runtime)
        .unwrap();
    assert!(!channel.is_ready());
    let mut ready = Box::pin(channel.wait_for_ready(world.clock.now() + SECOND));
    assert_eq!(world.call(&channel).status.code(), Code::Ok);
    assert!(channel.is_ready());
    assert_eq!(world.steps.drive(&mut ready), Some(true));
    assert_eq!(channel.supervisor().state().open(), 1);
}

#[test]
fn a_call_waits_for_a_tunnel_no_longer_than_it_may() {
    let world = forward_world();
    *world.gateway.lock().unwrap() = None;
    let channel = world
        .builder()
        .gateway("g", world.dial())
        .start(&world.runtime)
        .unwrap();
    world.steps.run();
    let channel = channel.with_max_wait(SECOND);
    let mut call = world.start_call(&channel, "t.S/Unary");
    let mut ready = Box::pin(channel.wait_for_ready(world.clock.now() + SECOND));
    for _ in 0..10 {
        assert!(world.steps.drive(&mut call).is_none());
        world.advance(SECOND / 10);
    }
    let done = world.steps.drive(&mut call).unwrap();
    assert_eq!(done.status.code(), Code::Unavailable);
    assert!(done.never_processed);
    assert_eq!(world.steps.drive(&mut ready), Some(false));
    assert!(world.dialled.load(Ordering::SeqCst) > 1);
}

#[test]
fn another_tunnel_is_there_before_the_one_that_drains_is_over() {
    let world = forward_world();
    let channel = world
        .builder()
        .gateway("g", world.dial())
        .start(&world.runtime)
        .unwrap();
    world.steps.run();
    let mut hanging = world.start_call(&channel, "t.S/Hang");
    world.advance(LONG);
    let old = world.restart();
    old.drain(LONG);
    world.steps.run();
    // The new one carries calls, the old one that which is open.
    let tunnel = &channel.supervisor().state().tunnels[0];
    assert_eq!((tunnel.phase, tunnel.draining), (SupervisedPhase::Open, 1));
    assert_eq!(old.tunnels(), 1);
    assert_eq!(world.call(&channel).status.code(), Code::Ok);
    assert!(world.steps.drive(&mut hanging).is_none());
    drop(hanging);
    world.steps.run();
    let tunnel = &channel.supervisor().state().tunnels[0];
    assert_eq!((tunnel.phase, tunnel.draining), (SupervisedPhase::Open, 0));
    assert!(
        matches!(tunnel.interruption, Some(Interruption::Drained(_))),
        "{tunnel:?}"
    );
    assert_eq!(old.tunnels(), 0);
}

#[test]
fn a_rolling_restart_under_load_fails_no_call() {
    let world = forward_world();
    let channel = world.builder().gateway("g", world.dial()).tunnels(2);
    let channel = channel.start(&world.runtime).unwrap();
    world.steps.run();
    for _ in 0..20 {
        let mut calls: Vec<_> = (0..50)
            .map(|_| {
                let call = channel.clone();
                let request = common::call_of("t.S/Unary", common::body_of(&[b"m"]));
                Box::pin(async move {
                    let response = tower_service::Service::call(&mut { call }, request).await;
                    common::finish(response.unwrap()).await.status.code()
                })
            })
            .collect();
        world.advance(LONG);
        let old = world.restart();
        // Some of the calls are on their way, and some are not.
        for call in &mut calls[..25] {
            let _ = futures_util::FutureExt::now_or_never(call.as_mut());
        }
        old.drain(LONG);
        for call in &mut calls {
            let code = world.steps.drive(call);
            assert_eq!(code, Some(Code::Ok));
        }
        world.steps.run();
        assert_eq!(old.tunnels(), 0);
    }
    assert_eq!(channel.supervisor().state().open(), 2);
}

#[test]
fn a_peer_that_drains_every_tunnel_at_once_is_held_up() {
    let world = forward_world();
    let builder = world.builder().gateway("g", world.dial());
    let channel = builder.start(&world.runtime).unwrap();
    world.steps.run();
    let mut hanging = Vec::new();
    let mut drained = Vec::new();
    for round in 0..20 {
        world.advance(LONG);
        let state = channel.supervisor().state();
        if state.open() == 0 {
            assert_eq!(round, 8);
            assert_eq!(state.tunnels[0].draining, 8);
            break;
        }
        hanging.push(world.start_call(&channel, "t.S/Hang"));
        let old = world.restart();
        old.drain(Duration::MAX);
        drained.push(old);
        world.steps.run();
    }
    assert_eq!(drained.len(), 8);
    hanging.pop();
    world.steps.run();
    assert_eq!(channel.supervisor().state().open(), 1);
}

#[test]
fn a_graceful_stop_lets_calls_end_and_refuses_others() {
    let world = forward_world();
    let channel = world
        .builder()
        .gateway("g", world.dial())
        .start(&world.runtime)
        .unwrap();
    world.steps.run();
    let mut hanging = world.start_call(&channel, "t.S/Hang");
    let supervisor = channel.supervisor();
    supervisor.drain(LONG);
    world.steps.run();
    let refused = world.call(&channel);
    assert_eq!(refused.status.code(), Code::Unavailable);
    assert!(refused.never_processed);
    let mut closed = Box::pin(supervisor.closed());
    assert!(world.steps.drive(&mut closed).is_none());
    world.advance(LONG);
    let done = world.steps.drive(&mut hanging).unwrap();
    assert_eq!(done.status.code(), Code::Unavailable);
    assert_eq!(world.steps.drive(&mut closed).unwrap().cut_off, 1);
}

#[test]
fn the_channel_keeps_its_supervisor_and_a_call_that_waits_keeps_both() {
    let world = forward_world();
    let gateway = world.gateway.lock().unwrap().take();
    let channel = world
        .builder()
        .gateway("g", world.dial())
        .start(&world.runtime)
        .unwrap();
    world.steps.run();
    let supervisor = channel.supervisor();
    let mut closed = Box::pin(supervisor.closed());
    drop(supervisor);
    let mut call = world.start_call(&channel, "t.S/Unary");
    drop(channel);
    assert!(world.steps.drive(&mut closed).is_none());
    *world.gateway.lock().unwrap() = gateway;
    world.advance(SECOND);
    assert_eq!(
        world.steps.drive(&mut call).unwrap().status.code(),
        Code::Ok
    );
    assert!(world.steps.drive(&mut closed).is_some());
    world.gateway.lock().unwrap().take();
    world.steps.run();
    assert_eq!(world.steps.alive(), 0);
}
