//! Rows 137 to 149 of the catalogue: `grpc-timeout` and deadlines.

use core::time::Duration;

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{CommandError, Hold, OpenOptions, Time};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{NewStream, close, half, metadata, msg, new};
use grpctunnel_tests::harness::{
    Seen, SentFrame, Store, client, client_window, client_zero, server,
};

/// The deadline that a call with this `new_stream` gets, a second after the start.
#[expect(clippy::panic, reason = "a helper of tests states what must hold")]
fn deadline<S: Store>(new: NewStream) -> Option<Time> {
    let mut t = server::<S>();
    t.advance(Duration::from_secs(1));
    t.get(new);
    let seen = t.seen();
    let [Seen::Opened { deadline, .. }] = &seen[..] else {
        panic!("{seen:?}");
    };
    t.lives();
    *deadline
}

fn after(nanos: u64) -> Option<Time> {
    Some(Time::from_nanos(1_000_000_000 + nanos))
}

both_stores! {
    fn conf_137_timeouts_that_are_honoured<S>() {
        for (value, nanos) in [
            ("50m", 50_000_000),
            ("8n", 8),
            ("05S", 5_000_000_000),
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("7u", 7_000),
        ] {
            assert_eq!(deadline::<S>(new(1, "svc/m").timeout(value)), after(nanos), "{value}");
        }
    }

    fn conf_138_timeouts_that_are_none<S>() {
        assert_eq!(deadline::<S>(new(1, "svc/m")), None);
        for value in ["", "S", "5", "5s", "5x", " 5S", "1_000m", "5.5S"] {
            assert_eq!(deadline::<S>(new(1, "svc/m").timeout(value)), None, "{value:?}");
        }
    }

    fn conf_139_a_plus_is_malformed<S>() {
        assert_eq!(deadline::<S>(new(1, "svc/m").timeout("+5S")), None);
    }

    fn conf_140_an_expired_timeout_opens_nothing<S>() {
        let mut t = server::<S>();
        for (id, value) in [(1, "0S"), (2, "-5S"), (3, "0n")] {
            t.get(new(id, "svc/m").timeout(value))
                .sees(&[])
                .sends(&[&format!("close({id},DEADLINE_EXCEEDED)")]);
            t.get(half(id));
        }
        assert_eq!(t.end.tunnel.counters().opened, 0);
        t.lives();
    }

    fn conf_141_the_largest_timeouts_do_not_expire<S>() {
        for value in ["99999999H", "2562048H", "99999999M"] {
            let mut t = server::<S>();
            t.get(new(1, "svc/m").timeout(value)).sees(&["opened(1,svc/m)"]);
            t.wait(Duration::from_secs(100 * 365 * 24 * 3_600));
            t.lives();
        }
    }

    fn conf_142_more_than_eight_digits<S>() {
        for value in ["100000000H", "9223372036854775807H", "000000001S"] {
            assert_eq!(deadline::<S>(new(1, "svc/m").timeout(value)), None, "{value}");
        }
    }

    fn conf_143_the_last_of_two_timeouts<S>() {
        let headers = metadata(&[(b"grpc-timeout", &[b"5S", b"7S"])]);
        let found = deadline::<S>(new(1, "svc/m").headers(headers));
        assert_eq!(found, after(7_000_000_000));
    }

    fn conf_144_a_deadline_while_the_handler_reads<S>() {
        for revision in [0, 1] {
            let mut t = server::<S>();
            t.get(new(1, "svc/m").revision(revision).timeout("1S")).sees(&["opened(1,svc/m)"]);
            t.reading = false;
            t.reads(1, &[]);
            t.wait(Duration::from_secs(1))
                .sees(&["ended(1,DEADLINE_EXCEEDED)"])
                .sends(&["close(1,DEADLINE_EXCEEDED)"]);
            t.reads(1, &["end"]);
            t.lives();
        }
    }

    fn conf_145_a_deadline_inside_a_message<S>() {
        for revision in [0, 1] {
            let mut t = server::<S>();
            t.get(new(1, "svc/m").revision(revision).timeout("1S")).sees(&["opened(1,svc/m)"]);
            t.reading = false;
            t.get(msg(1, 10, 2));
            t.wait(Duration::from_secs(1))
                .sees(&["ended(1,DEADLINE_EXCEEDED)"])
                .sends(&["close(1,DEADLINE_EXCEEDED)"]);
            t.reads(1, &["end"]);
            t.lives();
        }
    }

    fn conf_146_the_handler_returns_behind_the_deadline<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").timeout("1S")).sees(&["opened(1,svc/m)"]);
        t.wait(Duration::from_secs(1))
            .sees(&["ended(1,DEADLINE_EXCEEDED)"])
            .sends(&["close(1,DEADLINE_EXCEEDED)"]);
        let late = t.act(|end, now| {
            let status = StatusHead { code: 2, message: "", details: &[] };
            end.close(now, 1, status, &[], Hold::Never)
        });
        assert_eq!(late, Err(CommandError::Gone));
        t.lives();
    }

    fn conf_147_the_handler_ignores_the_deadline<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").timeout("1S")).sees(&["opened(1,svc/m)"]);
        t.wait(Duration::from_secs(1))
            .sees(&["ended(1,DEADLINE_EXCEEDED)"])
            .sends(&["close(1,DEADLINE_EXCEEDED)"]);
        assert_eq!(t.end.tunnel.active_streams(), 0);
        assert_eq!(t.end.tunnel.streams(), 1, "it counts until its handler has ended");
        t.act(|end, _| end.release(1));
        assert_eq!(t.end.tunnel.streams(), 0);
        t.lives();
    }

    fn conf_148_our_deadline_passes<S>() {
        let mut t = client_window::<S>(3);
        let deadline = Some(t.now().saturating_add(Duration::from_secs(1)));
        t.open_with(OpenOptions { deadline, ..OpenOptions::default() });
        t.send(1, 5).sends(&["msg(1,5,3)"]);
        assert!(t.end.tunnel.inspect(t.end.key(1)).is_some_and(|stream| stream.is_blocked_on_credit()));
        t.wait(Duration::from_secs(1)).sees(&["ended(1,DEADLINE_EXCEEDED)"]).sends(&["cancel(1)"]);
        t.get(close(1, 1));
        t.lives();
    }

    fn conf_149_our_deadline_travels_and_has_one_meaning<S>() {
        let mut t = client::<S>();
        t.taking = false;
        let deadline = Some(t.now().saturating_add(Duration::from_secs(5)));
        t.open_with(OpenOptions { deadline, ..OpenOptions::default() });
        // What is left of it when the frame leaves, and never less.
        t.advance(Duration::from_millis(1_500));
        t.taking = true;
        t.settle();
        let sent = t.sent();
        let [SentFrame::New { headers, .. }] = &sent[..] else {
            panic!("{sent:?}");
        };
        let [value] = &headers["grpc-timeout"][..] else {
            panic!("{headers:?}");
        };
        let parsed = grpctunnel_core::wire::Timeout::parse(value.as_bytes());
        let expected = grpctunnel_core::wire::Timeout::After(Duration::from_millis(3_500));
        assert_eq!(parsed, Some(expected), "{value}");

        // A known server says UNKNOWN for a deadline: at ours, it was ours.
        t.advance(Duration::from_millis(3_500));
        t.get(close(1, 2)).sees(&["ended(1,DEADLINE_EXCEEDED)"]).sends(&["cancel(1)"]);
        t.lives();
    }
}

both_stores! {
    fn a_deadline_ends_a_call_that_never_left<S>() {
        let mut t = client_zero::<S>();
        t.taking = false;
        let deadline = Some(t.now().saturating_add(Duration::from_secs(1)));
        t.open_with(OpenOptions { deadline, ..OpenOptions::default() });
        t.wait(Duration::from_secs(1)).sees(&["ended(1,DEADLINE_EXCEEDED)"]);
        t.taking = true;
        t.settle();
        t.sends(&[]);
        t.lives();
    }
}
