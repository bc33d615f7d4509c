//! The scopes that are searched as a whole.

use core::time::Duration;

use grpctunnel_core::wire::Extension;

use super::scope::{Disturbance, Scope};

const SECOND: Duration = Duration::from_secs(1);

/// Everything that can go wrong.
const ALL: &[Disturbance] = &[
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
];

/// What ends one call and no more.
const ONE_CALL: &[Disturbance] = &[
    Disturbance::Cancel,
    Disturbance::Fail,
    Disturbance::CloseEarly,
    Disturbance::StopReading,
    Disturbance::Drop,
];

/// What ends or drains the tunnel.
const TUNNEL: &[Disturbance] = &[
    Disturbance::Time,
    Disturbance::CarrierFinishes,
    Disturbance::CarrierBreaks,
    Disturbance::ClientDrains,
    Disturbance::ServerDrains,
];

/// One call, messages larger than the windows, whatever happens twice.
const ONE: Scope = Scope {
    name: "one call",
    calls: &[(&[3], &[1])],
    windows: (2, 2),
    headers: true,
    deadline: Some(SECOND),
    disturbances: ALL,
    at_most: 2,
    ..Scope::LEAST
};

/// Two calls, whatever happens once.
const TWO: Scope = Scope {
    name: "two calls",
    calls: &[(&[1], &[1]), (&[1], &[])],
    deadline: Some(SECOND),
    disturbances: ALL,
    at_most: 1,
    ..Scope::LEAST
};

/// The same where the server has opened the carrier.
const TWO_REVERSE: Scope = Scope {
    name: "two calls, reverse",
    reverse: true,
    ..TWO
};

/// A request that takes its window twice, beside a call that only answers.
const BESIDE: Scope = Scope {
    name: "two calls, one larger than its window",
    calls: &[(&[2], &[1]), (&[], &[1])],
    disturbances: ONE_CALL,
    at_most: 1,
    ..Scope::LEAST
};

/// A call that is opened again and again, so that slots, ids and records are used again.
const AGAIN: Scope = Scope {
    name: "one call, again and again",
    calls: &[(&[2], &[1])],
    again: true,
    pieces: true,
    single_bytes: true,
    streams: (2, 2),
    disturbances: ONE_CALL,
    at_most: 1,
    ..Scope::LEAST
};

/// Two calls, and room for one at each end.
const FULL: Scope = Scope {
    name: "room for one",
    calls: &[(&[], &[]), (&[1], &[])],
    streams: (1, 1),
    disturbances: ONE_CALL,
    at_most: 1,
    ..Scope::LEAST
};

/// Three calls, of which the server refuses one and marks it as unprocessed.
const REFUSED: Scope = Scope {
    name: "three calls, one refused",
    calls: &[(&[], &[]), (&[], &[]), (&[], &[])],
    streams: (3, 2),
    extensions: &[Extension::Unprocessed],
    disturbances: &[Disturbance::Cancel, Disturbance::ServerDrains],
    at_most: 1,
    ..Scope::LEAST
};

/// A message of several windows, which grow with what the link carries.
const GROWING: Scope = Scope {
    name: "growing windows",
    calls: &[(&[5], &[])],
    windows: (1, 1),
    grown: 4,
    disturbances: &[Disturbance::Tick],
    at_most: 2,
    ..Scope::LEAST
};

/// Two calls, of which one is granted what the other has shown of the link.
const LEARNED: Scope = Scope {
    name: "windows learned",
    calls: &[(&[3], &[]), (&[1], &[])],
    at_most: 1,
    ..GROWING
};

/// The same, where both messages take their window more than once.
const LEARNED_TWICE: Scope = Scope {
    name: "windows learned, both large",
    calls: &[(&[3], &[]), (&[2], &[])],
    ..LEARNED
};

/// Without flow control, where a reader that does not read stops the carrier.
const ZERO: Scope = Scope {
    name: "revision zero",
    calls: &[(&[3], &[1]), (&[], &[])],
    flow_control: false,
    disturbances: TUNNEL,
    at_most: 1,
    ..Scope::LEAST
};

/// A reverse tunnel of our own ends: drains that say so, pings that go unanswered.
const REVERSE: Scope = Scope {
    name: "reverse, with extensions",
    calls: &[(&[1], &[1])],
    reverse: true,
    extensions: &[Extension::Drain, Extension::Ping],
    liveness: true,
    disturbances: TUNNEL,
    at_most: 2,
    ..Scope::LEAST
};

/// A tunnel to a peer that is known for nothing: heartbeats and probes.
const PROBES: Scope = Scope {
    name: "heartbeats and probes",
    calls: &[(&[], &[1])],
    liveness: true,
    disturbances: TUNNEL,
    at_most: 4,
    ..Scope::LEAST
};

/// Those of every change.
#[must_use]
pub fn ci() -> Vec<Scope> {
    vec![FULL, REFUSED, ZERO, PROBES, GROWING, LEARNED, ONE]
}

/// Those of a long run.
#[must_use]
pub fn large() -> Vec<Scope> {
    let mut scopes = ci();
    scopes.extend([TWO_REVERSE, AGAIN, REVERSE, BESIDE, TWO, LEARNED_TWICE]);
    scopes
}
