//! How a tunnel ends: what is reported once, and that nothing is reported after it.

use core::time::Duration;

use grpctunnel_core::{
    Carrier, Cause, Client, Negotiation, OpenError, Opening, Role, Server, TunnelReason,
};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{
    cancel, close, drain, extensions, half, hdr, more, msg, new, none, ping, pong, set, set_with,
    wu,
};
use grpctunnel_tests::harness::{
    Script, Seen, Store, client_with, config, extension_set, server_with,
};

const NEGOTIATED: Opening = Opening::Accepted(Negotiation::On);
const SECOND: Duration = Duration::from_secs(1);
const PING: u8 = 8;

/// A client that has an unanswered question out, so that any frame changes its state.
fn unresponsive_client<S: Store>(extensions: u8) -> Script<Client, S> {
    let mut config = config::<S>();
    config.extensions = extension_set(extensions);
    let mut t = client_with::<S>(config, NEGOTIATED);
    let numbers: &[u8] = if extensions == 0 { &[] } else { &[4] };
    t.get(set_with(65_536, numbers));
    t.wait_quietly(30 * SECOND);
    t.wait_quietly(15 * SECOND);
    assert!(!t.end.tunnel.is_responsive());
    t
}

fn unresponsive_server<S: Store>() -> Script<Server, S> {
    let mut config = config::<S>();
    config.extensions = extension_set(PING);
    let mut t = server_with::<S>(config, NEGOTIATED);
    t.forget();
    t.get(extensions(-1, &[4]));
    t.wait_quietly(20 * SECOND);
    t.wait_quietly(10 * SECOND);
    assert!(!t.end.tunnel.is_responsive());
    t
}

/// Every kind of frame, at an end of the tunnel.
fn all_frames() -> Vec<Vec<u8>> {
    vec![
        new(1, "svc/m").into(),
        new(9, "svc/m").into(),
        msg(1, 5, 5),
        more(1, 5),
        half(1),
        cancel(1),
        wu(1, 5),
        wu(-1, 0),
        hdr(1, &[]),
        close(1, 0),
        close(1, 12),
        set(-1, 65_536, &[0, 1]),
        drain(0),
        extensions(-1, &[4]),
        ping(-1, 1),
        pong(-1, 1),
        pong(-1, 2),
        none(1),
        vec![0xff; 20],
        Vec::new(),
    ]
}

/// All that can still happen to an end: nothing of it is reported.
fn hears_nothing<R: Role, S: Store>(t: &mut Script<R, S>) {
    let error = t.end.tunnel.error().cloned();
    let responsive = t.end.tunnel.is_responsive();
    for frame in all_frames() {
        let result = t.end.feed(t.now(), &frame);
        assert_eq!(result.err(), error, "{frame:?}");
    }
    let now = t.now();
    t.end.tunnel.handle_activity(now);
    t.end.opened(now, Negotiation::On);
    t.end.ended(now, Cause::Finished);
    t.end.ended(now, Cause::Failed);
    t.end.drain(now, SECOND);
    t.wait(1_000_000 * SECOND);
    t.sees(&[]).sends(&[]);
    assert_eq!(t.end.tunnel.is_responsive(), responsive);
    assert_eq!(t.end.tunnel.error(), error.as_ref());
    assert_eq!(t.end.tunnel.poll_timeout(), None);
}

/// Ends the tunnel in every way that there is, from a state that `make` makes.
fn every_end<R: Role, S: Store>(make: impl Fn() -> Script<R, S>) {
    for way in 0..5 {
        let mut t = make();
        t.act(|end, now| match way {
            0 => end.ended(now, Cause::Finished),
            1 => end.ended(now, Cause::Failed),
            2 => drop(end.tunnel.abort(now, TunnelReason::Stalled)),
            3 => drop(end.feed(now, &[0xff; 20])),
            _ => {
                // Finished, then given up.
                end.drain(now, SECOND);
            }
        });
        if way == 4 {
            t.wait_quietly(SECOND);
            t.wait_quietly(5 * SECOND);
        }
        t.forget();
        hears_nothing(&mut t);
    }
}

both_stores! {
    fn after_the_end_nothing_is_reported<S>() {
        every_end(|| unresponsive_client::<S>(0));
        every_end(|| unresponsive_client::<S>(PING));
        every_end(unresponsive_server::<S>);
    }

    fn what_comes_while_the_peer_is_to_finish_is_not_reported<S>() {
        let mut t = unresponsive_client::<S>(PING);
        t.act(|end, now| end.drain(now, SECOND));
        assert!(t.end.tunnel.is_ended());
        t.forget();
        for frame in all_frames() {
            let _ = t.end.feed(t.now(), &frame);
        }
        t.settle();
        t.sees(&[]).sends(&[]);
        t.wait(5 * SECOND).sees(&["abort(UNAVAILABLE,GraceExpired)"]);
    }

    fn a_drain_before_the_answer_leaves_the_peer_time_to_finish<S>() {
        for opening in [Opening::Requested, NEGOTIATED] {
            let mut t = client_with::<S>(config::<S>(), opening);
            t.act(|end, now| end.drain(now, 30 * SECOND));
            t.sees(&["finish"]).sends(&[]);
            assert!(t.end.tunnel.is_ended());
            assert_eq!(t.end.tunnel.revision(), None);
            assert_eq!(t.end.tunnel.error().map(|error| error.reason()), Some(TunnelReason::Aborted));
            let opened = t.act(|end, now| end.open(now, "svc/m", &[], Default::default()));
            assert_eq!(opened, Err(OpenError::Ended));
            // The peer's half of the carrier is open: it is given up when the grace has passed.
            t.wait(Duration::from_millis(4_999)).sees(&[]);
            t.wait(Duration::from_millis(1)).sees(&["abort(UNAVAILABLE,Aborted)"]);
            hears_nothing(&mut t);
        }
        let mut t = server_with::<S>(config::<S>(), Opening::Requested);
        t.act(|end, now| end.drain(now, 30 * SECOND));
        t.sees(&["finish"]).sends(&[]);
        t.wait(5 * SECOND).sees(&["abort(UNAVAILABLE,Aborted)"]);
        hears_nothing(&mut t);
    }

    fn a_peer_that_finishes_within_the_grace_ends_it<S>() {
        let mut t = client_with::<S>(config::<S>(), Opening::Requested);
        t.act(|end, now| end.drain(now, 30 * SECOND));
        t.sees(&["finish"]);
        t.ends(Cause::Finished).sees(&[]);
        hears_nothing(&mut t);
    }

    fn an_abort_after_a_clean_end_invents_no_error<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(set(-1, 65_536, &[0, 1]));
        t.forget();
        t.act(|end, now| end.drain(now, SECOND));
        assert_eq!(t.seen().last(), Some(&Seen::Carrier(Carrier::Finish)));
        t.ends(Cause::Finished).sees(&[]);
        let error = t.act(|end, now| end.tunnel.abort(now, TunnelReason::Stalled));
        assert_eq!(error, None);
        assert_eq!(t.end.tunnel.error(), None);
        assert_eq!(t.end.feed(t.now(), &close(1, 0)), Ok(()));
        hears_nothing(&mut t);
    }
}
