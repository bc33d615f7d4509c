//! The soak command's scenarios for a short time: what it takes to know that the long run holds.

use std::time::Duration;

use grpctunnel_tests::soak::{outcomes, scenarios};

/// A minute to warm up, and two periods of the scenario with the longest one.
const SHORT: Duration = Duration::from_secs(90);
/// The same for scenarios with a call each half a minute.
const IDLE: Duration = Duration::from_secs(3_600);

#[test]
fn no_honest_peer_ever_trips_a_budget() {
    for scenario in scenarios() {
        let idle = scenario.tick > Duration::from_secs(1);
        let report = scenario.run(if idle { IDLE } else { SHORT });
        assert!(report.is_steady(), "{report}");
        assert!(report.calls > 0 && report.frames > 0, "{report}");
    }
}

/// The heap is measured by the command.
#[test]
fn attack_a30_nothing_is_left_of_calls_that_ended_in_any_way() {
    for scenario in outcomes() {
        let report = scenario.calls(100_000);
        assert!(report.is_steady(), "{report}");
        assert_eq!(report.left, 0, "{report}");
    }
}
