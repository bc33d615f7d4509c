//! The search over the states of two tunnels finds what is wrong, and nothing where nothing is.

use core::time::Duration;

use grpctunnel_tests::search::{Disturbance, Policy, Report, Scope, run, search, search_twice};

const MOST: usize = 200_000;

/// Searches a scope; what was found is printed, and shown where a test fails.
#[track_caller]
fn searched(scope: &Scope) -> (Report, String) {
    let searched = search(scope, MOST);
    assert!(searched.is_ok(), "{searched:?}");
    let report = searched.unwrap_or_default();
    let fault = report.fault.as_ref().map(ToString::to_string);
    let fault = fault.unwrap_or_default();
    println!(
        "{}: {} states, {} moves, depth {}, {} finished, {:?}\n{fault}",
        report.scope, report.states, report.moves, report.depth, report.finished, report.took
    );
    (report, fault)
}

/// Every state is as it must be.
#[track_caller]
fn holds(scope: &Scope) {
    let (report, fault) = searched(scope);
    assert!(report.fault.is_none(), "{fault}");
    assert!(report.finished > 0);
}

/// The search comes to states in which nothing happens any more, and shows the way to one.
#[track_caller]
fn gets_stuck(scope: &Scope) {
    let (report, fault) = searched(scope);
    assert!(report.stuck > 0, "{fault}");
    assert!(fault.contains("nothing more can happen"), "{fault}");
    assert!(fault.lines().count() < 40, "{fault}");
}

/// A fault fails the command, whatever scopes come before and after.
#[test]
fn a_run_with_a_fault_in_it_fails() {
    let sound = LARGE_MESSAGE;
    let faulty = Scope {
        policy: Policy::WholeMessages,
        ..LARGE_MESSAGE
    };
    let mut out = Vec::new();
    let states = run(&[sound.clone(), sound.clone()], &mut out);
    assert!(states.is_ok_and(|states| states > 100));
    let failed = run(&[sound.clone(), faulty, sound], &mut out).map_err(|error| error.to_string());
    let error = failed.err().unwrap_or_default();
    assert!(error.contains("nothing more can happen"), "{error}");
}

/// A message larger than the window.
const LARGE_MESSAGE: Scope = Scope {
    name: "large message",
    calls: &[(&[3], &[])],
    windows: (2, 2),
    ..Scope::LEAST
};

#[test]
fn credit_only_for_whole_messages_is_found() {
    holds(&LARGE_MESSAGE);
    gets_stuck(&Scope {
        policy: Policy::WholeMessages,
        ..LARGE_MESSAGE
    });
    // It is no fault where every message fits the window.
    holds(&Scope {
        policy: Policy::WholeMessages,
        windows: (3, 3),
        ..LARGE_MESSAGE
    });
}

#[test]
fn credit_from_an_amount_above_the_window_on_is_found() {
    holds(&LARGE_MESSAGE);
    gets_stuck(&Scope {
        policy: Policy::AtLeast(3),
        ..LARGE_MESSAGE
    });
    // At the window itself a grant comes late, but it comes.
    holds(&Scope {
        policy: Policy::AtLeast(2),
        ..LARGE_MESSAGE
    });
}

/// Data in both directions.
const BOTH_WAYS: Scope = Scope {
    name: "both ways",
    calls: &[(&[1, 1], &[1, 1])],
    windows: (2, 2),
    ..Scope::LEAST
};

#[test]
fn two_ends_that_both_stop_reading_are_found() {
    holds(&BOTH_WAYS);
    gets_stuck(&Scope {
        policy: Policy::StopWhenFull,
        ..BOTH_WAYS
    });
}

/// Three responses that the reader leaves until another call has ended.
const THREE_UNREAD: Scope = Scope {
    name: "three unread",
    calls: &[(&[], &[1, 1, 1]), (&[], &[1])],
    windows: (2, 2),
    ..Scope::LEAST
};

#[test]
fn head_of_line_blocking_without_flow_control_is_found() {
    let waits = Scope {
        policy: Policy::FirstReadsLast,
        ..THREE_UNREAD
    };
    holds(&waits);
    gets_stuck(&Scope {
        flow_control: false,
        ..waits
    });
    // A reader that waits for nobody keeps no one waiting.
    holds(&Scope {
        flow_control: false,
        ..THREE_UNREAD
    });
}

#[test]
fn a_call_that_ends_at_any_moment_leaves_nothing_behind() {
    holds(&Scope {
        name: "ended anywhere",
        calls: &[(&[2], &[])],
        again: true,
        disturbances: &[
            Disturbance::Cancel,
            Disturbance::Fail,
            Disturbance::CloseEarly,
            Disturbance::StopReading,
            Disturbance::Drop,
        ],
        at_most: 1,
        ..Scope::LEAST
    });
}

#[test]
fn a_tunnel_that_ends_at_any_moment_ends_its_calls() {
    holds(&Scope {
        name: "tunnel ended anywhere",
        calls: &[(&[1], &[])],
        deadline: Some(Duration::from_secs(1)),
        disturbances: &[
            Disturbance::Time,
            Disturbance::CarrierFinishes,
            Disturbance::CarrierBreaks,
            Disturbance::ClientDrains,
            Disturbance::ServerDrains,
        ],
        at_most: 2,
        ..Scope::LEAST
    });
}

/// States that are taken for one have one future: a fingerprint leaves out nothing that matters.
#[test]
fn states_with_one_fingerprint_do_the_same_next() {
    let searched = search_twice(
        &Scope {
            calls: &[(&[2], &[])],
            deadline: Some(Duration::from_secs(1)),
            disturbances: &[
                Disturbance::Cancel,
                Disturbance::Time,
                Disturbance::CarrierBreaks,
                Disturbance::ServerDrains,
            ],
            at_most: 1,
            ..Scope::LEAST
        },
        MOST,
    );
    let fault = searched.err().unwrap_or_default();
    assert!(fault.is_empty(), "{fault}");
}

/// A message of several windows, which grow.
const GROWING: Scope = Scope {
    name: "growing",
    calls: &[(&[5], &[])],
    windows: (1, 1),
    grown: 4,
    disturbances: &[Disturbance::Tick],
    at_most: 2,
    ..Scope::LEAST
};

#[test]
fn windows_that_grow_keep_their_books() {
    let (report, fault) = searched(&GROWING);
    assert!(report.fault.is_none(), "{fault}");
    assert!(report.grown > 0 && report.finished > 0);
    // No round trip is measured by a clock that stands still, and no window grows beyond its limit.
    for still in [
        Scope {
            at_most: 0,
            ..GROWING
        },
        Scope {
            grown: 1,
            ..GROWING
        },
    ] {
        let (report, fault) = searched(&still);
        assert!(report.fault.is_none(), "{fault}");
        assert_eq!(report.grown, 0);
    }
}

#[test]
fn states_with_one_fingerprint_do_the_same_next_where_windows_grow() {
    let searched = search_twice(
        &Scope {
            calls: &[(&[6], &[])],
            windows: (2, 2),
            grown: 8,
            ..GROWING
        },
        MOST,
    );
    let fault = searched.err().unwrap_or_default();
    assert!(fault.is_empty(), "{fault}");
}
