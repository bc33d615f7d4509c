//! The names of metrics and what they mean: all that a command serves at `/metrics`.

/// What a metric counts, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Buckets of values.
    Histogram,
}

pub(super) const CALLS: &str = "grpctunnel_calls_finished_total";
pub(super) const CALL_SECONDS: &str = "grpctunnel_call_seconds";
pub(super) const REQUEST_BYTES: &str = "grpctunnel_call_request_bytes_total";
pub(super) const RESPONSE_BYTES: &str = "grpctunnel_call_response_bytes_total";
pub(super) const REFUSED: &str = "grpctunnel_refused_total";
pub(super) const TURNED_AWAY: &str = "grpctunnel_connections_turned_away_total";
pub(super) const AGENT_TUNNELS: &str = "grpctunnel_agent_tunnels_open";
pub(super) const CONNECTS: &str = "grpctunnel_connects_total";
pub(super) const CONNECTS_FAILED: &str = "grpctunnel_connects_failed_total";
pub(super) const LEFT_OUT: &str = "grpctunnel_log_lines_left_out_total";
pub(super) const READY: &str = "grpctunnel_ready";
pub(super) const BUILD: &str = "grpctunnel_build_info";

const SIDE: &[&str] = &["side"];
const AGENT: &[&str] = &["agent"];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        kind: Kind::Gauge,
        ..counter(name, labels, help)
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        kind: Kind::Histogram,
        ..counter(name, labels, help)
    }
}

/// All metrics: first those of the program, then those of the tunnels below it.
pub const METRICS: &[Metric] = &[
    counter(
        CALLS,
        &["agent", "code"],
        "Calls that ended, by the code that the caller got",
    ),
    histogram(
        CALL_SECONDS,
        AGENT,
        "Seconds from the head of a call to its end",
    ),
    counter(
        REQUEST_BYTES,
        AGENT,
        "Bytes of request messages, with their prefixes of 5 bytes",
    ),
    counter(
        RESPONSE_BYTES,
        AGENT,
        "Bytes of response messages, with their prefixes of 5 bytes",
    ),
    gauge(
        AGENT_TUNNELS,
        AGENT,
        "Tunnels of agents that a gateway can call through",
    ),
    counter(
        REFUSED,
        &["what"],
        "What a gateway refused: connection, request, tunnel or call",
    ),
    counter(
        TURNED_AWAY,
        &[],
        "Connections that were not taken, because there were too many",
    ),
    counter(CONNECTS, &[], "Tunnels that an agent or a port opened"),
    counter(
        CONNECTS_FAILED,
        &[],
        "Attempts of an agent or a port to open one that failed",
    ),
    counter(
        LEFT_OUT,
        &[],
        "Log lines that were left out, because there were too many",
    ),
    gauge(READY, &[], "1 while new calls are wanted here, else 0"),
    gauge(BUILD, &["version"], "1"),
    gauge("grpctunnel_tunnels_open", SIDE, "Tunnels that carry calls"),
    gauge(
        "grpctunnel_calls_open",
        SIDE,
        "Calls that are open in tunnels",
    ),
    counter(
        "grpctunnel_tunnels_total",
        SIDE,
        "Tunnels that could carry calls",
    ),
    counter(
        "grpctunnel_tunnels_ended_total",
        &["side", "reason"],
        "Tunnels that ended, by the reason",
    ),
    counter(
        "grpctunnel_calls_total",
        SIDE,
        "Calls that were opened in tunnels",
    ),
    counter(
        "grpctunnel_calls_refused_total",
        SIDE,
        "Calls in tunnels that no handler saw",
    ),
    counter(
        "grpctunnel_calls_broken_total",
        SIDE,
        "Calls in tunnels that a rule or a limit ended",
    ),
    counter(
        "grpctunnel_deadlines_total",
        SIDE,
        "Deadlines of calls in tunnels that passed",
    ),
    counter(
        "grpctunnel_frames_ignored_total",
        SIDE,
        "Frames of tunnels that meant nothing",
    ),
    counter(
        "grpctunnel_sent_bytes_total",
        SIDE,
        "Bytes of frames of tunnels that were sent",
    ),
    counter(
        "grpctunnel_received_bytes_total",
        SIDE,
        "Bytes of frames of tunnels that were received",
    ),
    counter(
        "grpctunnel_held_back_total",
        SIDE,
        "Senders in tunnels that had to wait for room",
    ),
    histogram(
        "grpctunnel_round_trip_seconds",
        SIDE,
        "Round trips of tunnels: pings that were answered",
    ),
    counter(
        "grpctunnel_picks_total",
        &[],
        "Tunnels that were picked for a call",
    ),
    counter(
        "grpctunnel_retries_total",
        &[],
        "Tunnels that were picked again for a call that was not processed",
    ),
];
