//! Rows 150 to 154 of the catalogue: readers without flow control.

use core::time::Duration;

use grpctunnel_core::{Client, Config, Negotiation, Opening, RevisionZeroLimits, Role, Server};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{cancel, msg, new, set};
use grpctunnel_tests::harness::{Script, Store, client_with, config, server_with};

const STALL: Duration = Duration::from_secs(10);

/// Small budgets: 1,000 bytes a stream, 1,500 a tunnel.
fn small<S: Store>() -> Config {
    let mut config = config::<S>();
    config.limits.revision_zero = RevisionZeroLimits {
        stream: 1_000,
        tunnel: 1_500,
        stall: STALL,
    };
    config
}

/// A server with revision-zero streams 1 and 2, whose readers do not read.
fn zero_server<S: Store>() -> Script<Server, S> {
    let mut t = server_with::<S>(small::<S>(), Opening::Accepted(Negotiation::Off));
    t.reading = false;
    for id in [1, 2] {
        t.get(new(id, "svc/m").revision(0))
            .sees(&[&format!("opened({id},svc/m)")]);
    }
    t
}

/// A client with revision-zero calls 1 and 2, whose readers do not read.
fn zero_client<S: Store>() -> Script<Client, S> {
    let mut t = client_with::<S>(small::<S>(), Opening::Accepted(Negotiation::Off));
    t.sees(&["settled(Zero)", "may open"]);
    t.reading = false;
    assert_eq!((t.open(), t.open()), (1, 2));
    t
}

both_stores! {
    fn conf_150_the_carrier_waits_for_a_reader_without_flow_control<S>() {
        waits_for_one_stream(zero_server::<S>());
        waits_for_all_streams(zero_server::<S>());
        // The defaults have room for one largest message and a window.
        let limits = config::<S>().limits;
        assert_eq!(limits.revision_zero.stream, limits.max_message + 65_536);
        assert_eq!(limits.revision_zero.tunnel, 16 << 20);
    }

    fn conf_151_a_stall_closes_the_stream_that_blocks<S>() {
        let mut t = zero_server::<S>();
        t.get(msg(2, 400, 400));
        t.get(msg(1, 1_200, 1_200));
        assert!(!t.end.tunnel.wants_read());
        t.wait(Duration::from_secs(9));
        t.wait(Duration::from_secs(1))
            .sees(&["ended(1,RESOURCE_EXHAUSTED,RevisionZeroBudget)"])
            .sends(&["close(1,RESOURCE_EXHAUSTED)"]);
        assert!(t.end.tunnel.wants_read());
        t.get(cancel(1));
        t.get(msg(2, 500, 500));
        t.reads(2, &["got(2,400)", "got(2,500)"]);
        t.lives();
    }

    /// Streams that are each within their budget, and together beyond the tunnel's: one after the other
    /// is closed, the one with the most unread first.
    fn a_stall_ends_one_stream_at_a_time<S>() {
        let mut t = zero_server::<S>();
        t.get(new(3, "svc/m").revision(0)).sees(&["opened(3,svc/m)"]);
        t.get(msg(1, 800, 800));
        t.get(msg(2, 900, 900));
        t.get(msg(3, 950, 950));
        t.wait(STALL)
            .sees(&["ended(3,RESOURCE_EXHAUSTED,RevisionZeroBudget)"])
            .sends(&["close(3,RESOURCE_EXHAUSTED)"]);
        assert!(!t.end.tunnel.wants_read());
        t.wait(STALL)
            .sees(&["ended(2,RESOURCE_EXHAUSTED,RevisionZeroBudget)"])
            .sends(&["close(2,RESOURCE_EXHAUSTED)"]);
        assert!(t.end.tunnel.wants_read());
        t.wait(STALL);
        t.lives();
    }

    fn conf_152_a_deadline_ends_the_stall<S>() {
        let mut t = zero_server::<S>();
        t.get(new(3, "svc/m").revision(0).timeout("2S")).sees(&["opened(3,svc/m)"]);
        t.get(msg(3, 1_200, 1_200));
        assert!(!t.end.tunnel.wants_read());
        t.wait(Duration::from_secs(2))
            .sees(&["ended(3,DEADLINE_EXCEEDED)"])
            .sends(&["close(3,DEADLINE_EXCEEDED)"]);
        assert!(t.end.tunnel.wants_read());
        t.wait(STALL);
        t.lives();
    }

    fn conf_153_the_carrier_waits_at_the_client_too<S>() {
        waits_for_one_stream(zero_client::<S>());
        waits_for_all_streams(zero_client::<S>());
        let mut t = zero_client::<S>();
        t.get(msg(1, 1_200, 1_200));
        t.wait(STALL)
            .sees(&["ended(1,RESOURCE_EXHAUSTED,RevisionZeroBudget)"])
            .sends(&["cancel(1)"]);
        assert!(t.end.tunnel.wants_read());
        t.lives();
    }

    fn conf_154_streams_with_flow_control_never_wait_server<S>() {
        let mut t = zero_server::<S>();
        t.get(new(3, "svc/m")).sees(&["opened(3,svc/m)"]);
        t.get(msg(1, 900, 900));
        t.get(msg(1, 200, 200))
            .sees(&["ended(1,RESOURCE_EXHAUSTED,RevisionZeroBudget)"])
            .sends(&["close(1,RESOURCE_EXHAUSTED)"]);
        assert!(t.end.tunnel.wants_read());
        // Its window is all that a stream with flow control has to keep to.
        t.get(msg(3, 60_000, 60_000));
        t.get(msg(2, 900, 900));
        assert!(t.end.tunnel.wants_read());
        t.reads(3, &["got(3,60000)"]);
        t.sends(&["wu(3,60000)"]);
        t.lives();
    }

    fn conf_154_streams_with_flow_control_never_wait_client<S>() {
        // A client has one revision for all its streams.
        let mut t = client_with::<S>(small::<S>(), Opening::Accepted(Negotiation::On));
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        t.reading = false;
        for call in 1..=4 {
            t.open();
            t.get(msg(call, 60_000, 60_000));
            assert!(t.end.tunnel.wants_read());
        }
        t.wait(STALL);
        t.lives();
    }
}

both_stores! {
    fn what_a_refused_client_has_in_flight_is_free<S>() {
        for (revision, in_flight) in [(0, 1_000), (1, 65_536)] {
            let mut t = server_with::<S>(small::<S>(), Opening::Accepted(Negotiation::Off));
            t.get(new(1, "no/such/method").revision(revision)).sends(&["close(1,UNIMPLEMENTED)"]);
            assert_eq!(t.end.tunnel.budgets(t.now()).late_bytes, in_flight);
        }
    }

    fn the_reader_of_one_stream_does_not_let_another_off<S>() {
        let mut t = zero_server::<S>();
        t.get(msg(2, 100, 100));
        t.get(msg(1, 1_200, 1_200));
        assert!(!t.end.tunnel.wants_read());
        t.reads(2, &["got(2,100)"]);
        assert!(!t.end.tunnel.wants_read());
        t.reads(1, &["got(1,1200)"]);
        assert!(t.end.tunnel.wants_read());
        t.lives();
    }

    fn the_stream_that_is_over_its_budget_pays_for_it<S>() {
        let mut t = zero_server::<S>();
        t.get(msg(1, 1_200, 1_200));
        assert!(!t.end.tunnel.wants_read());
        // Frames that were read already: from now on nothing may wait.
        t.get(new(3, "svc/m")).sees(&["opened(3,svc/m)"]);
        assert!(t.end.tunnel.wants_read());
        t.get(msg(2, 100, 100));
        t.get(msg(1, 1, 1))
            .sees(&["ended(1,RESOURCE_EXHAUSTED,RevisionZeroBudget)"])
            .sends(&["close(1,RESOURCE_EXHAUSTED)"]);
        t.reads(2, &["got(2,100)"]);
        t.lives();
    }
}

/// One stream over its budget; it turns back on when the reader has read.
fn waits_for_one_stream<R: Role, S: Store>(mut t: Script<R, S>) {
    t.get(msg(1, 1_000, 1_000));
    assert!(t.end.tunnel.wants_read(), "at the limit");
    t.get(msg(1, 1, 1));
    assert!(!t.end.tunnel.wants_read(), "beyond it");
    t.wait(Duration::from_secs(9));
    t.reads(1, &["got(1,1000)", "got(1,1)"]);
    assert!(t.end.tunnel.wants_read(), "read");
    t.wait(STALL);
    t.lives();
}

/// All streams together over the tunnel's budget.
fn waits_for_all_streams<R: Role, S: Store>(mut t: Script<R, S>) {
    t.get(msg(1, 900, 900));
    assert!(t.end.tunnel.wants_read());
    t.get(msg(2, 700, 700));
    assert!(!t.end.tunnel.wants_read());
    t.reads(1, &["got(1,900)"]);
    assert!(t.end.tunnel.wants_read());
    t.lives();
}
