//! The scopes that are searched as a whole.

use core::time::Duration;

use grpctunnel_core::wire::Extension;

use super::scope::{Disturbance, Policy, Scope};

const SECOND: Duration = Duration::from_secs(1);

/// Those of every change.
#[must_use]
pub fn ci() -> Vec<Scope> {
    vec![
        Scope {
            name: "ends",
            calls: &[(&[1], &[1]), (&[1], &[])],
            disturbances: &[
                Disturbance::Cancel,
                Disturbance::Time,
                Disturbance::Fail,
                Disturbance::CloseEarly,
                Disturbance::StopReading,
                Disturbance::Drop,
                Disturbance::CarrierFinishes,
                Disturbance::CarrierBreaks,
                Disturbance::ClientDrains,
                Disturbance::ServerDrains,
            ],
            deadline: Some(SECOND),
            at_most: 1,
            ..Scope::LEAST
        },
        Scope {
            name: "one call, again and again",
            calls: &[(&[3], &[3])],
            windows: (2, 2),
            again: true,
            pieces: true,
            headers: true,
            single_bytes: true,
            streams: (2, 2),
            disturbances: &[
                Disturbance::Cancel,
                Disturbance::Fail,
                Disturbance::CloseEarly,
                Disturbance::StopReading,
                Disturbance::Drop,
            ],
            at_most: 2,
            ..Scope::LEAST
        },
    ]
}

/// Those of a long run.
#[must_use]
pub fn large() -> Vec<Scope> {
    vec![Scope::LEAST]
}
