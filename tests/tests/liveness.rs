//! Heartbeats, probes and pings: what an end sends when nothing else is, and when it gives up.

use core::time::Duration;

use grpctunnel_core::{Client, Config, Negotiation, Opening, Server, TunnelReason};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{
    self, close, extensions, half, hdr, msg, new, set, set_with, wu,
};
use grpctunnel_tests::harness::{Script, Store, client_with, config, extension_set, server_with};

const NEGOTIATED: Opening = Opening::Accepted(Negotiation::On);
const SECOND: Duration = Duration::from_secs(1);
const PROBE: [&str; 1] = ["new(1,grpctunnel.v1.Liveness/Probe)"];
const PING: u8 = 8;

/// A client of a peer that offers no extension.
fn client<S: Store>() -> Script<Client, S> {
    let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
    t.get(set(-1, 65_536, &[0, 1]))
        .sees(&["settled(One)", "may open"]);
    t
}

fn with_ping<S: Store>() -> Config {
    let mut config = config::<S>();
    config.extensions = extension_set(PING);
    config
}

fn pinging_client<S: Store>() -> Script<Client, S> {
    let mut t = client_with::<S>(with_ping::<S>(), NEGOTIATED);
    t.get(set_with(65_536, &[4]))
        .sees(&["settled(One)", "may open"])
        .sends(&["extensions([4])"]);
    t
}

fn pinging_server<S: Store>() -> Script<Server, S> {
    let mut t = server_with::<S>(with_ping::<S>(), NEGOTIATED);
    t.sends(&["set(-1,65536,[0, 1],[4])"]);
    t.get(extensions(-1, &[4]));
    t
}

both_stores! {
    fn a_client_that_says_nothing_beats_every_20_s<S>() {
        let mut t = client::<S>().with_call();
        for _ in 0..10 {
            t.wait(19 * SECOND).sends(&[]);
            t.wait(SECOND).sends(&["wu(-1,0)"]);
            // Something is heard, so there is nothing to ask.
            t.get(wu(1, 0));
        }
        // What is sent takes the heartbeat's place.
        t.wait(19 * SECOND);
        t.send(1, 5).sees(&["writable(1)"]).sends(&["msg(1,5,5)"]);
        t.get(wu(1, 0));
        t.wait(19 * SECOND).sends(&[]);
        t.wait(SECOND).sends(&["wu(-1,0)"]);
        t.lives();
    }

    fn silence_before_the_settings_does_not_count<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.advance(9 * SECOND);
        t.get(set(-1, 65_536, &[0, 1]))
            .sees(&["settled(One)", "may open"]);
        t.wait(19 * SECOND).sends(&[]);
        t.wait(SECOND).sends(&["wu(-1,0)"]);
        t.lives();
    }

    fn a_heartbeat_costs_its_client_nothing<S>() {
        let mut t = server_with::<S>(config::<S>(), NEGOTIATED);
        t.sent();
        let before = t.end.tunnel.budgets(t.now());
        t.get(wu(-1, 0));
        assert_eq!(t.end.tunnel.budgets(t.now()), before);
        t.lives();
    }

    fn a_client_that_hears_nothing_asks_after_30_s<S>() {
        let mut t = client::<S>();
        t.wait(20 * SECOND).sends(&["wu(-1,0)"]);
        t.wait(10 * SECOND).sends(&PROBE);
        t.advance(Duration::from_millis(40));
        t.get(close(1, 12)).sees(&["round trip(40ms)"]);
        assert_eq!(t.end.tunnel.round_trip(), Some(Duration::from_millis(40)));
        assert_eq!((t.end.tunnel.streams(), t.end.tunnel.active_streams()), (0, 0));
        // The id is used up.
        t.taking = true;
        assert_eq!(t.end.tunnel.counters().opened, 0);
        let call = t.act(|end, now| end.open(now, "svc/m", &[], Default::default()));
        assert_eq!(call, Ok(1));
        t.sends(&["new(2,svc/m)"]);
        t.lives();
    }

    fn any_status_of_the_probe_will_do_and_headers_do_not_matter<S>() {
        for code in [0, 8, 12, 14] {
            let mut t = client::<S>();
            t.wait(30 * SECOND).sends(&PROBE);
            t.get(hdr(1, &[]));
            t.get(close(1, code)).sees(&["round trip(0ns)"]);
            t.get(msg(1, 5, 5));
            t.lives();
        }
    }

    fn the_probe_is_outside_of_the_cap<S>() {
        let mut config = config::<S>();
        config.limits.max_streams = 1;
        let mut t = client_with::<S>(config, NEGOTIATED);
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        t.open();
        t.wait(30 * SECOND).sends(&["new(2,grpctunnel.v1.Liveness/Probe)"]);
        t.get(close(2, 12)).sees(&["round trip(0ns)"]);
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.lives();
    }

    fn two_questions_without_an_answer_end_the_tunnel<S>() {
        let mut t = client::<S>().with_call();
        t.wait(30 * SECOND).sends(&["new(2,grpctunnel.v1.Liveness/Probe)"]);
        t.wait(Duration::from_millis(4_999)).sends(&[]);
        // Where a server refuses the probe because it shuts down, nothing may follow.
        t.wait(Duration::from_millis(5_000)).sends(&["half(2)"]);
        assert!(t.end.tunnel.is_responsive());
        t.wait(Duration::from_millis(1)).sees(&["unresponsive"])
            .sends(&["new(3,grpctunnel.v1.Liveness/Probe)"]);
        assert!(!t.end.tunnel.is_responsive());
        t.wait(10 * SECOND).sees(&[
            "ended(1,UNAVAILABLE,Unresponsive,sent)",
            "abort(UNAVAILABLE,Unresponsive)",
        ]).sends(&[]);
        assert_eq!(t.end.tunnel.poll_timeout(), None);
    }

    fn whatever_is_heard_is_a_sign_of_life<S>() {
        let mut t = client::<S>().with_call();
        t.wait(30 * SECOND).sends(&["new(2,grpctunnel.v1.Liveness/Probe)"]);
        t.wait(10 * SECOND).sees(&["unresponsive"])
            .sends(&["new(3,grpctunnel.v1.Liveness/Probe)"]);
        t.wait(9 * SECOND).sends(&["half(3)"]);
        t.get(msg(1, 5, 5)).sees(&["responsive", "got(1,5)"]);
        assert!(t.end.tunnel.is_responsive());
        t.wait(SECOND).sends(&[]);
        // The answers come late, and mean nothing any more.
        t.get(close(2, 12));
        t.get(close(3, 12));
        t.lives();
    }

    fn a_frame_at_the_last_moment_counts<S>() {
        let mut t = client::<S>();
        t.wait(30 * SECOND).sends(&PROBE);
        t.wait(10 * SECOND).sees(&["unresponsive"])
            .sends(&["new(2,grpctunnel.v1.Liveness/Probe)"]);
        t.advance(10 * SECOND);
        t.get(close(2, 12)).sees(&["responsive"]);
        assert!(t.end.tunnel.is_responsive());
        t.lives();
    }

    fn bytes_of_a_frame_that_is_not_whole_are_a_sign_of_life<S>() {
        let mut t = client::<S>().with_call();
        t.wait(30 * SECOND).sends(&["new(2,grpctunnel.v1.Liveness/Probe)"]);
        // A large frame comes slowly.
        for _ in 0..10 {
            t.advance(4 * SECOND);
            t.act(|end, now| end.tunnel.handle_activity(now));
            t.sent();
        }
        assert!(t.end.tunnel.is_responsive());
        // At the last moment, too.
        let mut t = client::<S>();
        t.wait(30 * SECOND).sends(&PROBE);
        t.advance(10 * SECOND);
        t.act(|end, now| end.tunnel.handle_activity(now));
        t.sends(&[]);
        assert!(t.end.tunnel.is_responsive());
        t.lives();
    }

    fn an_answer_is_due_from_when_the_carrier_has_taken_the_question<S>() {
        // The carrier takes one frame at a time, and 17 s for the question.
        let mut t = client::<S>();
        t.taking = false;
        t.wait(30 * SECOND);
        let now = t.now();
        assert!(t.end.transmit(now).is_some());
        t.wait(17 * SECOND).sees(&[]);
        t.taking = true;
        t.settle();
        t.wait(9 * SECOND).sends(&["half(1)"]);
        t.get(close(1, 12)).sees(&["round trip(9s)"]);
        t.lives();

        // A caller that gathers frames says that they wait.
        for (mut t, asks) in [(client::<S>(), 30), (pinging_client::<S>(), 20)] {
            t.wait(asks * SECOND);
            assert_eq!(t.sent().len(), 1);
            t.act(|end, now| end.tunnel.set_backlogged(now, true));
            t.wait(100 * SECOND).sees(&[]);
            t.sent();
            t.act(|end, now| end.tunnel.set_backlogged(now, false));
            t.wait(9 * SECOND).sees(&[]);
            t.sent();
            t.wait(SECOND).sees(&["unresponsive"]);
            t.sent();
        }
    }

    fn a_question_that_has_not_left_is_not_unanswered<S>() {
        let mut t = client::<S>();
        t.taking = false;
        t.wait(30 * SECOND);
        t.wait(100 * SECOND);
        t.taking = true;
        t.settle();
        t.sends(&PROBE);
        t.wait(9 * SECOND).sends(&["half(1)"]);
        t.get(close(1, 12)).sees(&["round trip(9s)"]);
        t.lives();
    }

    fn nothing_is_asked_while_nothing_is_read<S>() {
        let mut config = config::<S>();
        config.limits.revision_zero.stream = 100;
        config.limits.revision_zero.stall = Duration::from_secs(1_000_000);
        let mut t = client_with::<S>(config, Opening::Accepted(Negotiation::Off));
        t.sees(&["settled(Zero)", "may open"]);
        t.open();
        t.wait(25 * SECOND).sends(&["wu(-1,0)"]);
        t.wait(5 * SECOND).sends(&["new(2,grpctunnel.v1.Liveness/Probe)"]);
        t.reading = false;
        t.get(msg(1, 200, 200));
        assert!(!t.end.tunnel.wants_read());
        t.wait(1_000 * SECOND).sends(&[]);
        t.reads(1, &["got(1,200)"]);
        assert!(t.end.tunnel.wants_read());
        t.sends(&["wu(-1,0)"]);
        // From here on there is time to answer.
        t.wait(9 * SECOND).sends(&[]);
        assert!(t.end.tunnel.is_responsive());
        // How long the answer took is not known.
        t.get(close(2, 12));
        t.wait(20 * SECOND).sends(&["wu(-1,0)"]);
        t.wait(10 * SECOND).sends(&["new(3,grpctunnel.v1.Liveness/Probe)"]);
        t.lives();
    }

    fn a_client_that_drains_opens_no_probe<S>() {
        let mut t = client::<S>().with_call();
        t.act(|end, now| end.drain(now, Duration::from_secs(3_600)));
        for _ in 0..10 {
            t.wait(20 * SECOND).sends(&["wu(-1,0)"]);
        }
    }

    fn what_is_turned_off_stays_off<S>() {
        let mut config = config::<S>();
        config.limits.liveness.heartbeat = Duration::MAX;
        config.limits.liveness.probe = Duration::MAX;
        let mut t = client_with::<S>(config, NEGOTIATED);
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        assert_eq!(t.end.tunnel.poll_timeout(), None);
        t.wait(1_000_000 * SECOND).sends(&[]);
        t.lives();
    }

    fn a_server_asks_a_known_peer_nothing<S>() {
        let mut t = server_with::<S>(with_ping::<S>(), NEGOTIATED);
        t.sends(&["set(-1,65536,[0, 1],[4])"]);
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        assert_eq!(t.end.tunnel.poll_timeout(), None);
        t.wait(1_000_000 * SECOND).sends(&[]);
        t.lives();
    }

    fn a_server_answers_a_probe_by_itself<S>() {
        let mut config = config::<S>();
        config.limits.max_streams = 1;
        let mut t = server_with::<S>(config, NEGOTIATED);
        t.sent();
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.get(new(2, "grpctunnel.v1.Liveness/Probe")).sees(&[])
            .sends(&["close(2,UNIMPLEMENTED)"]);
        t.get(half(2));
        t.get(new(3, "/grpctunnel.v1.Liveness/Probe")).sends(&["close(3,UNIMPLEMENTED)"]);
        t.lives();
    }

    fn pings_take_the_place_of_heartbeat_and_probe<S>() {
        let mut t = pinging_client::<S>();
        for opaque in 1..10 {
            t.wait(20 * SECOND).sends(&[&format!("ping({opaque})")]);
            t.advance(Duration::from_millis(7));
            t.get(frames::pong(-1, opaque)).sees(&["round trip(7ms)"]);
            t.get(frames::pong(-1, opaque));
        }
        t.lives();
        let mut t = pinging_server::<S>();
        t.wait(20 * SECOND).sends(&["ping(1)"]);
        t.get(frames::pong(-1, 2));
        t.get(frames::pong(-1, 1)).sees(&["round trip(0ns)"]);
        t.lives();
    }

    fn a_caller_may_ask_ahead_of_time_once_for_each_silence<S>() {
        let mut t = client::<S>().with_call();
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&["new(2,grpctunnel.v1.Liveness/Probe)"]);
        t.act(|end, now| end.tunnel.ask(now));
        t.wait(SECOND).sends(&[]);
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&[]);
        t.get(close(2, 12)).sees(&["round trip(1s)"]);
        // Whatever is heard is an answer, and the next silence another question.
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&["new(3,grpctunnel.v1.Liveness/Probe)"]);
        t.get(msg(1, 5, 5)).sees(&["got(1,5)"]);
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&["new(4,grpctunnel.v1.Liveness/Probe)"]);
        t.get(close(3, 12));
        t.get(close(4, 12)).sees(&["round trip(0ns)"]);
        t.lives();
    }

    fn what_a_caller_asks_ahead_of_time_ends_nothing<S>() {
        let mut t = client::<S>().with_call();
        t.wait(15 * SECOND);
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&["new(2,grpctunnel.v1.Liveness/Probe)"]);
        t.wait(5 * SECOND).sees(&[]).sends(&["half(2)"]);
        // As if it had not.
        t.wait(9_999 * SECOND / 1_000).sends(&[]);
        t.wait(SECOND / 1_000).sends(&["new(3,grpctunnel.v1.Liveness/Probe)"]);
        assert!(t.end.tunnel.is_responsive());
        t.wait(10 * SECOND).sees(&["unresponsive"]).sends(&["new(4,grpctunnel.v1.Liveness/Probe)"]);
        t.wait(10 * SECOND).sees(&[
            "ended(1,UNAVAILABLE,Unresponsive,sent)",
            "abort(UNAVAILABLE,Unresponsive)",
        ]);

        let mut t = pinging_server::<S>();
        t.wait(15 * SECOND);
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&["ping(1)"]);
        t.wait(5 * SECOND).sends(&["ping(2)"]);
        t.wait(10 * SECOND).sees(&["unresponsive"]).sends(&["ping(3)"]);
        t.get(frames::pong(-1, 3)).sees(&["responsive", "round trip(0ns)"]);
        t.lives();
    }

    fn an_end_that_has_no_question_asks_nothing<S>() {
        let mut t = server_with::<S>(with_ping::<S>(), NEGOTIATED);
        t.sends(&["set(-1,65536,[0, 1],[4])"]);
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&[]);
        let mut t = client::<S>().with_call();
        t.act(|end, now| end.drain(now, Duration::from_secs(3_600)));
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&[]);
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.act(|end, now| end.tunnel.ask(now));
        t.sends(&[]);
    }

    fn there_is_room_for_the_calls_that_can_be_opened<S>() {
        let mut small = config::<S>();
        small.limits.max_streams = 2;
        let mut t = client_with::<S>(small.clone(), NEGOTIATED);
        assert_eq!(t.end.tunnel.room(), 0);
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        assert_eq!(t.end.tunnel.room(), 2);
        t.open();
        assert_eq!(t.end.tunnel.room(), 1);
        t.act(|end, now| end.drain(now, Duration::from_secs(3_600)));
        assert_eq!(t.end.tunnel.room(), 0);

        let mut last = small.clone();
        last.first_stream_id = i64::MAX;
        let mut t = client_with::<S>(last, NEGOTIATED);
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        assert_eq!(t.end.tunnel.room(), 1);
        t.act(|end, now| end.open(now, "svc/m", &[], Default::default())).unwrap();
        assert_eq!(t.end.tunnel.room(), 0);

        let mut t = server_with::<S>(small, NEGOTIATED);
        t.sends(&["set(-1,65536,[0, 1])"]);
        assert_eq!(t.end.tunnel.room(), 2);
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        assert_eq!(t.end.tunnel.room(), 1);
    }

    fn a_server_gives_up_a_client_that_answers_no_ping<S>() {
        let mut t = pinging_server::<S>();
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.wait(20 * SECOND).sends(&["ping(1)"]);
        t.wait(10 * SECOND).sees(&["unresponsive"]).sends(&["ping(2)"]);
        t.wait(10 * SECOND).sees(&[
            "ended(1,UNAVAILABLE,Unresponsive,sent)",
            "abort(UNAVAILABLE,Unresponsive)",
        ]);
        assert_eq!(t.end.tunnel.error().unwrap().reason(), TunnelReason::Unresponsive);
    }
}
