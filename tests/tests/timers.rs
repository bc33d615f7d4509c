//! Timers: what is due at a time has happened before anything else does at that time.

use core::time::Duration;

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{
    Client, CommandError, Hold, Negotiation, OpenOptions, Opening, Server, Time, Timer,
};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{half, msg, new, set};
use grpctunnel_tests::harness::{Script, Store, client, client_with, config, server, server_with};

const SECOND: Duration = Duration::from_secs(1);
const NEGOTIATED: Opening = Opening::Accepted(Negotiation::On);

/// A server with a call whose deadline is in a second.
fn server_with_deadline<S: Store>() -> Script<Server, S> {
    let mut t = server::<S>();
    t.get(new(1, "svc/m").timeout("1S"))
        .sees(&["opened(1,svc/m)"]);
    t
}

fn close_now<S: Store>(t: &mut Script<Server, S>, hold: Hold) -> Result<(), CommandError> {
    t.act(|end, now| end.close(now, 1, StatusHead::default(), &[], hold))
}

/// A client whose call has a deadline in a second, and has not left yet.
fn client_that_waits<S: Store>() -> Script<Client, S> {
    let mut t = client::<S>();
    t.taking = false;
    let deadline = Some(t.now().saturating_add(SECOND));
    t.open_with(OpenOptions {
        deadline,
        ..OpenOptions::default()
    });
    t
}

both_stores! {
    fn a_close_at_the_deadline_is_too_late<S>() {
        for late in [0, 10] {
            let mut t = server_with_deadline::<S>();
            t.advance(SECOND + Duration::from_millis(late));
            assert_eq!(close_now(&mut t, Hold::Never), Err(CommandError::Gone));
            t.sees(&["ended(1,DEADLINE_EXCEEDED)"]).sends(&["close(1,DEADLINE_EXCEEDED)"]);
            t.lives();
        }
        let mut t = server_with_deadline::<S>();
        t.advance(SECOND - Duration::from_nanos(1));
        assert_eq!(close_now(&mut t, Hold::Never), Ok(()));
        t.sees(&["ended(1,closed)"]).sends(&["close(1,OK)"]);
    }

    fn what_has_not_left_at_the_deadline_does_not_leave<S>() {
        let mut t = server_with_deadline::<S>();
        t.taking = false;
        assert_eq!(close_now(&mut t, Hold::Never), Ok(()));
        t.advance(SECOND + Duration::from_millis(10));
        t.taking = true;
        t.settle();
        t.sees(&["ended(1,DEADLINE_EXCEEDED)"]).sends(&["close(1,DEADLINE_EXCEEDED)"]);
        t.lives();

        let mut t = client_that_waits::<S>();
        t.advance(SECOND);
        t.taking = true;
        t.settle();
        t.sees(&["ended(1,DEADLINE_EXCEEDED)"]).sends(&[]);
        t.lives();

        let mut t = client_that_waits::<S>();
        t.advance(SECOND - Duration::from_nanos(1));
        t.taking = true;
        t.settle();
        t.sends(&["new(1,svc/m)"]);
    }

    fn a_drain_at_a_deadline_finds_the_call_ended<S>() {
        let mut t = server_with_deadline::<S>();
        t.advance(SECOND);
        t.act(|end, now| end.drain(now, Duration::ZERO));
        t.sees(&["ended(1,DEADLINE_EXCEEDED)", "finish"]).sends(&["close(1,DEADLINE_EXCEEDED)"]);
    }

    fn an_answer_at_the_open_timeout_is_too_late<S>() {
        let mut t = client_with::<S>(config::<S>(), Opening::Requested);
        t.advance(10 * SECOND);
        t.act(|end, now| end.opened(now, Negotiation::On));
        t.sees(&["abort(DEADLINE_EXCEEDED,OpenTimeout)"]).sends(&[]);
        let mut t = server_with::<S>(config::<S>(), Opening::Requested);
        t.advance(10 * SECOND);
        t.act(|end, now| end.opened(now, Negotiation::On));
        t.sees(&["abort(DEADLINE_EXCEEDED,OpenTimeout)"]).sends(&[]);
    }

    fn the_latest_time_there_is_ends_nothing_that_has_no_limit<S>() {
        let never = Duration::MAX;
        let mut config = config::<S>();
        let limits = &mut config.limits;
        (limits.open_timeout, limits.settings_timeout) = (never, never);
        limits.liveness.heartbeat = never;
        limits.liveness.probe = never;
        limits.liveness.ping = never;
        for opening in [Opening::Requested, NEGOTIATED] {
            let mut t = client_with::<S>(config.clone(), opening);
            t.wait(never);
            assert_eq!(t.now(), Time::MAX);
            t.lives_or_waits();
        }
        let mut t = client_with::<S>(config.clone(), NEGOTIATED);
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        t.open();
        t.wait(never).sees(&[]).sends(&[]);
        t.lives();
        t.act(|end, now| end.drain(now, never));
        t.wait(never).sees(&[]).sends(&[]);

        let mut t = server_with::<S>(config, NEGOTIATED);
        t.sends(&["set(-1,65536,[0, 1])"]);
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.get(msg(1, 5, 5)).sees(&["got(1,5)"]);
        t.wait(never).sees(&[]).sends(&[]);
        t.lives();
        // What is held for ever waits for the half-close, and for no deadline.
        t.send_part(1, 10, 4).sends(&["msg(1,10,4)"]);
        t.get(half(1)).sees(&["half(1)"]);
        t.lives();
    }

    fn a_timeout_tells_its_reason<S>() {
        let mut t = client_with::<S>(config::<S>(), Opening::Requested);
        assert_eq!(t.end.tunnel.next_timer(), Some((Time::from_millis(10_000), Timer::Opening)));
        t.act(|end, now| end.opened(now, Negotiation::On));
        assert_eq!(t.end.tunnel.next_timer().map(|it| it.1), Some(Timer::Settings));
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        assert_eq!(t.end.tunnel.next_timer().map(|it| it.1), Some(Timer::Heartbeat));
        t.wait(20 * SECOND).sends(&["wu(-1,0)"]);
        assert_eq!(t.end.tunnel.next_timer().map(|it| it.1), Some(Timer::Question));
        t.wait(10 * SECOND).sends(&["new(1,grpctunnel.v1.Liveness/Probe)"]);
        assert_eq!(t.end.tunnel.next_timer().map(|it| it.1), Some(Timer::Question));
        t.wait(5 * SECOND).sends(&["half(1)"]);
        assert_eq!(t.end.tunnel.next_timer().map(|it| it.1), Some(Timer::Answer));
        let deadline = Some(t.now().saturating_add(SECOND));
        let call = t.open_with_id(2, OpenOptions { deadline, ..OpenOptions::default() });
        let key = t.end.key(call);
        assert_eq!(t.end.tunnel.next_timer(), deadline.map(|at| (at, Timer::Deadline(key))));
        t.act(|end, now| end.drain(now, Duration::from_millis(500)));
        assert_eq!(t.end.tunnel.next_timer().map(|it| it.1), Some(Timer::Drain));
        t.wait_quietly(SECOND);
        t.forget();
        assert_eq!(t.end.tunnel.next_timer().map(|it| it.1), Some(Timer::Grace));
        assert_eq!(t.end.tunnel.poll_timeout(), t.end.tunnel.next_timer().map(|it| it.0));

        let mut t = server::<S>();
        assert_eq!(t.end.tunnel.next_timer(), None);
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.close_with(1, 0, &[], Hold::UntilHalfClose { max: SECOND });
        let key = t.end.key(1);
        let held = Some((Time::from_millis(1_000), Timer::Hold(key)));
        assert_eq!(t.end.tunnel.next_timer(), held);
        t.forget();
    }
}
