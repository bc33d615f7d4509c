//! The search over the states of two tunnels finds what is wrong, and nothing where nothing is.

use grpctunnel_tests::search::{Policy, Report, Scope, search};

const MOST: usize = 200_000;

/// Searches a scope; what was found is printed, and shown where a test fails.
#[track_caller]
fn run(scope: &Scope) -> (Report, String) {
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
    let (report, fault) = run(scope);
    assert!(report.fault.is_none(), "{fault}");
    assert!(report.finished > 0);
}

/// The search comes to states in which nothing happens any more, and shows the way to one.
#[track_caller]
fn gets_stuck(scope: &Scope) {
    let (report, fault) = run(scope);
    assert!(report.stuck > 0, "{fault}");
    assert!(fault.contains("nothing more can happen"), "{fault}");
    assert!(fault.lines().count() < 40, "{fault}");
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
fn an_update_threshold_above_the_window_is_found() {
    holds(&LARGE_MESSAGE);
    gets_stuck(&Scope {
        withhold: 3,
        ..LARGE_MESSAGE
    });
    // At the window itself a grant comes late, but it comes.
    holds(&Scope {
        withhold: 2,
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
