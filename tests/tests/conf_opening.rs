//! Rows 1 to 29 of the catalogue: opening, negotiation and settings.

use core::time::Duration;

use grpctunnel_core::wire::Revision;
use grpctunnel_core::{
    Cause, Client, Code, MethodKind, Negotiation, OpenError, OpenOptions, Opening,
};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{close, content, half, hdr, msg, new, none, set, wu};
use grpctunnel_tests::harness::{
    Script, Seen, SentFrame, client, client_window, client_with, client_zero, config, server,
    server_unnegotiated, server_with,
};

const SECOND: Duration = Duration::from_secs(1);
const NEGOTIATED: Opening = Opening::Accepted(Negotiation::On);

both_stores! {
    fn conf_001_without_negotiation_no_settings_and_streams_of_their_own_revision<S>() {
        let mut t = server_unnegotiated::<S>();
        t.sends(&[]);
        t.get(new(1, "svc/m").revision(0)).sees(&["opened(1,svc/m)"]);
        t.get(new(2, "svc/m").revision(1)).sees(&["opened(2,svc/m)"]);
        t.lives();
    }

    fn conf_002_settings_once_and_before_everything_else<S>() {
        let mut t = server_with::<S>(config::<S>(), NEGOTIATED);
        t.sends(&["set(-1,65536,[0, 1])"]);

        // What came before the settings could leave is answered behind them.
        let mut t = server_with::<S>(config::<S>(), Opening::Requested);
        t.sends(&[]);
        t.taking = false;
        t.act(|end, now| end.opened(now, Negotiation::On));
        t.get(new(1, "/"));
        t.get(new(2, "svc/m")).sees(&["opened(2,svc/m)"]);
        t.act(|end, _| end.respond(2, &[])).unwrap();
        t.taking = true;
        t.settle();
        t.sends(&["set(-1,65536,[0, 1])", "close(1,INVALID_ARGUMENT)", "hdr(2)"]);
        t.get(half(2)).sees(&["half(2)"]);
        t.lives();
    }

    fn conf_005_settings_wait_for_no_frame<S>() {
        let mut t = server_with::<S>(config::<S>(), NEGOTIATED);
        t.sends(&["set(-1,65536,[0, 1])"]);
        t.wait(3_600 * SECOND);
        t.lives();
    }

    fn conf_006_no_response_headers_in_time<S>() {
        let mut t = client_with::<S>(config::<S>(), Opening::Requested);
        t.wait(9 * SECOND);
        t.wait(SECOND).sees(&["abort(DEADLINE_EXCEEDED,OpenTimeout)"]);
        let opened = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(opened, Err(OpenError::Ended));

        // A peer that is known to be old sends them with its first frame only.
        let mut t = client_with::<S>(config::<S>(), Opening::RequestedFromOld);
        t.sees(&["settled(Zero)", "may open"]);
        t.wait(3_600 * SECOND).sends(&["new(1,grpctunnel.v1.Liveness/Probe)"]);
        t.lives();
    }

    fn conf_007_without_the_header_revision_zero_and_no_settings<S>() {
        let mut t = client_with::<S>(config::<S>(), Opening::Requested);
        t.act(|end, now| end.opened(now, Negotiation::Off));
        t.sees(&["settled(Zero)", "may open"]);
        assert_eq!(t.end.tunnel.revision(), Some(Revision::Zero));
        t.open_kind(MethodKind::Unknown);
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.lives();
    }

    fn conf_008_a_refused_opening_never_settles<S>() {
        let mut t = client_with::<S>(config::<S>(), Opening::Requested);
        let early = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(early, Err(OpenError::NotSettled));
        t.ends(Cause::Failed).sees(&["abort(UNAVAILABLE,CarrierFailed)"]);
        let late = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(late, Err(OpenError::Ended));
    }

    fn conf_009_a_refused_reverse_opening_never_starts<S>() {
        let mut t = server_with::<S>(config::<S>(), Opening::Requested);
        assert!(!t.end.tunnel.is_open());
        t.ends(Cause::Failed).sees(&["abort(UNAVAILABLE,CarrierFailed)"]);
        assert!(!t.end.tunnel.is_open());
        t.sends(&[]);
    }

    fn conf_010_revision_zero_with_any_window<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(set(-1, 65_536, &[0])).sees(&["settled(Zero)", "may open"]);
        t.open_kind(MethodKind::Unknown);
        // More than any window, because there is none.
        t.send(1, 70_000).sees(&["writable(1)"]).sends(&[
            "msg(1,70000,16384)",
            "more(1,16384)",
            "more(1,16384)",
            "more(1,16384)",
            "more(1,4464)",
        ]);
        t.lives();
    }

    fn conf_011_headers_before_settings<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(hdr(-1, &[])).sees(&["abort(INTERNAL,NotSettings)"]);
    }

    fn data_before_settings<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(msg(-1, 3, 3)).sees(&["abort(INTERNAL,NotSettings)"]);
    }

    fn conf_012_settings_with_another_id<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(set(0, 65_536, &[0, 1])).sees(&["abort(INTERNAL,SettingsStreamId)"]);
    }

    fn conf_013_an_empty_frame_before_settings<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(none(-1)).sees(&["abort(INTERNAL,NotSettings)"]);
    }

    fn conf_014_settings_without_revisions_mean_revision_zero<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(set(-1, 65_536, &[])).sees(&["settled(Zero)", "may open"]);
        t.lives();
    }

    fn conf_015_no_revision_in_common<S>() {
        for (offered, named) in [(7, "[7]"), (-3, "[-3]")] {
            let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
            t.get(set(-1, 65_536, &[offered]))
                .sees(&["abort(FAILED_PRECONDITION,NoCommonRevision)"]);
            let text = t.end.tunnel.error().unwrap().to_string();
            assert!(text.contains(named) && text.contains("[0, 1]"), "{text}");
        }
    }

    fn conf_016_the_highest_common_revision<S>() {
        for (offered, settled) in [
            (&[0, 7][..], "settled(Zero)"),
            (&[0, 1, 7], "settled(One)"),
            (&[1, 0, 1, 1, 0], "settled(One)"),
            (&[0, 0], "settled(Zero)"),
        ] {
            let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
            t.get(set(-1, 65_536, offered)).sees(&[settled, "may open"]);
            t.lives();
        }
        let mut zero = config::<S>();
        zero.flow_control = false;
        let mut t = client_with::<S>(zero, NEGOTIATED);
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(Zero)", "may open"]);
    }

    fn conf_017_revision_one_alone<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(set(-1, 65_536, &[1])).sees(&["settled(One)", "may open"]);
        t.lives();
    }

    fn conf_018_no_settings_in_time<S>() {
        let mut t = client_with::<S>(config::<S>(), Opening::Requested);
        t.wait(5 * SECOND);
        t.act(|end, now| end.opened(now, Negotiation::On));
        t.wait(9 * SECOND);
        t.wait(SECOND).sees(&["abort(DEADLINE_EXCEEDED,SettingsTimeout)"]);
        t.sends(&[]);
    }

    fn conf_019_no_settings_in_time_at_a_network_server<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        assert_eq!(t.end.tunnel.poll_timeout(), Some(t.now().saturating_add(10 * SECOND)));
        t.wait(10 * SECOND).sees(&["abort(DEADLINE_EXCEEDED,SettingsTimeout)"]);
        assert_eq!(t.end.tunnel.poll_timeout(), None);
    }

    fn conf_020_the_end_before_settings_is_never_announced<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.ends(Cause::Finished).sees(&["abort(UNAVAILABLE,CarrierFinished)"]);
        assert_eq!(t.end.tunnel.revision(), None);
    }

    fn conf_021_the_carrier_ends_before_settings<S>() {
        for (cause, ended) in [
            (Cause::Finished, "abort(UNAVAILABLE,CarrierFinished)"),
            (Cause::Failed, "abort(UNAVAILABLE,CarrierFailed)"),
        ] {
            let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
            t.ends(cause).sees(&[ended]);
            assert_eq!(t.end.tunnel.error().unwrap().code(), Code::Unavailable);
        }
    }

    fn conf_022_a_window_of_zero_holds_back_data_alone<S>() {
        let mut t = client_window::<S>(0);
        assert_eq!(t.open(), 1);
        assert_eq!(t.open(), 2);
        t.send(1, 0).sees(&["writable(1)"]).sends(&["msg(1,0,0)"]);
        t.send(2, 5).sends(&[]);
        assert!(t.end.tunnel.inspect(t.end.key(2)).is_some_and(|stream| stream.is_blocked_on_credit()));
        assert!(!t.end.tunnel.inspect(t.end.key(1)).is_some_and(|stream| stream.is_blocked_on_credit()));
        t.get(wu(2, 5)).sees(&["writable(2)"]).sends(&["msg(2,5,5)"]);
        assert!(!t.end.tunnel.inspect(t.end.key(2)).is_some_and(|stream| stream.is_blocked_on_credit()));
        t.lives();
    }

    fn only_missing_credit_blocks_on_credit<S>() {
        let mut t = client_window::<S>(10);
        for call in 1..=4 {
            assert_eq!(t.open(), call);
        }
        let blocked = |t: &Script<Client, S>| {
            [1, 2, 3, 4].map(|call| t.end.tunnel.inspect(t.end.key(call)).is_some_and(|stream| stream.is_blocked_on_credit()))
        };
        // No message; one of which more is to come, behind credit that is used up and in front of
        // credit that is left; and one that is at hand beyond the credit.
        t.act(|end, _| {
            end.send(2, content(0, 20), 10).unwrap();
            end.send(3, content(0, 20), 5).unwrap();
            end.send(4, content(0, 20), 11).unwrap();
        });
        t.sends(&["msg(2,20,10)", "msg(3,20,5)", "msg(4,20,10)"]);
        assert_eq!(blocked(&t), [false, false, false, true]);
        assert_eq!(t.act(|end, _| end.provide(2, 1)), Ok(()));
        assert_eq!(blocked(&t), [false, true, false, true]);
        t.get(wu(2, 1)).sends(&["more(2,1)"]);
        assert_eq!(blocked(&t), [false, false, false, true]);
        t.lives();
    }

    fn conf_023_the_largest_window<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        t.get(set(-1, u32::MAX, &[1])).sees(&["settled(One)", "may open"]);
        t.open();
        t.send(1, 1).sees(&["writable(1)"]).sends(&["msg(1,1,1)"]);
        t.get(wu(1, 1));
        t.get(wu(1, 1)).sees(&["ended(1,INTERNAL,WindowOverflow)"]).sends(&["cancel(1)"]);
        t.lives();
    }

    fn conf_024_settings_again_are_never_applied<S>() {
        let mut t = client_window::<S>(10).with_call();
        t.get(set(-1, 65_536, &[0]));
        t.send(1, 22).sends(&["msg(1,22,10)"]);
        t.open();
        t.send(2, 22).sends(&["msg(2,22,10)"]);
        assert_eq!(t.end.tunnel.counters().ignored, 1);
        t.lives();
    }

    fn conf_025_settings_again_before_any_stream<S>() {
        let mut t = client::<S>();
        t.get(set(-1, 0, &[0]));
        assert_eq!(t.end.tunnel.counters().ignored, 1);
        assert_eq!(t.end.tunnel.revision(), Some(Revision::One));
        t.lives();
    }

    fn conf_026_settings_that_were_not_negotiated<S>() {
        let mut t = client_zero::<S>();
        t.get(set(-1, 65_536, &[0, 1])).sees(&["abort(INTERNAL,UnexpectedSettings)"]);

        let mut t = client_zero::<S>().with_call();
        t.get(set(-1, 65_536, &[0, 1]));
        assert_eq!(t.end.tunnel.revision(), Some(Revision::Zero));
        t.lives();
    }

    fn conf_027_settings_on_a_live_stream<S>() {
        let mut t = client::<S>().with_call();
        t.get(set(1, 65_536, &[0, 1]))
            .sees(&["ended(1,INTERNAL,SettingsOnStream)"])
            .sends(&["cancel(1)"]);
        t.lives();
    }

    fn conf_028_settings_on_a_stream_that_was_never_created<S>() {
        let mut t = client::<S>().with_call();
        t.get(set(99, 65_536, &[0, 1])).sees(&[
            "ended(1,UNAVAILABLE,StreamNeverCreated,sent)",
            "abort(INTERNAL,StreamNeverCreated)",
        ]);
        t.sends(&[]);
    }

    fn conf_029_no_stream_before_settings<S>() {
        let mut t = client_with::<S>(config::<S>(), NEGOTIATED);
        let early = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(early, Err(OpenError::NotSettled));
        t.sends(&[]);
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        t.open();
        t.get(msg(1, 3, 3)).sees(&["got(1,3)"]);
        t.lives();
    }
}

#[test]
fn conf_003_only_the_exact_value_negotiates() {
    for value in [&b"On"[..], b"true", b" on", b"on ", b"ON", b"", b"on,on"] {
        let negotiation = Negotiation::from_header([value]);
        assert_eq!(negotiation, Negotiation::Off, "{value:?}");
    }
    assert_eq!(Negotiation::from_header([&b"on"[..]]), Negotiation::On);
    assert_eq!(Negotiation::from_header([]), Negotiation::Off);
}

#[test]
fn conf_004_the_first_of_two_values_decides() {
    let first_off = Negotiation::from_header([&b"off"[..], b"on"]);
    assert_eq!(first_off, Negotiation::Off);
    let first_on = Negotiation::from_header([&b"on"[..], b"off"]);
    assert_eq!(first_on, Negotiation::On);
}

both_stores! {
    fn settings_name_what_the_server_speaks<S>() {
        let mut one = server::<S>();
        assert_eq!(one.sent(), []);
        let mut zero = config::<S>();
        zero.flow_control = false;
        let mut t = server_with::<S>(zero, NEGOTIATED);
        let sent = t.sent();
        let [SentFrame::Settings { revisions, .. }] = &sent[..] else {
            panic!("{sent:?}");
        };
        assert_eq!(revisions, &[0]);
        assert!(!t.seen().iter().any(|seen| matches!(seen, Seen::Settled(_))));
    }
}
