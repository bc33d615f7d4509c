//! Counts of calls, bytes and refusals, by the facade [`metrics`](https://docs.rs/metrics), as the
//! tunnels below count theirs. [`METRICS`] lists them all; `adapters/cli/docs/metrics.md` explains
//! them.
//!
//! Without a recorder nothing is counted. A program has its own, or [`Recorder::install`] installs
//! the one of the admin port.

mod names;
mod observed;
mod record;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, PoisonError},
};

use ::metrics::{Gauge, SharedString, Unit, counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub use self::names::{Kind, METRICS, Metric};
pub(crate) use self::{
    observed::{Observed, ObservedBody},
    record::{Observer, Record, Why},
};
use crate::{audit::RefusedKind, name::Name};

/// So many agents have a label value of their own, those that come first; others share
/// [`OTHER`].
const MOST_AGENTS: usize = 200;
/// The label value of agents beyond these.
const OTHER: &str = "other";
/// The label value of calls that were for no agent: they were refused before, or they were for the
/// gateway itself.
const NONE: &str = "none";

/// The label value of agents that gave no name: the gateway makes one up for each of their tunnels.
const UNNAMED: &str = "unnamed";

/// The upper bounds of the buckets of histograms, in seconds.
const BUCKETS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// What `/metrics` shows.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder(..)")
    }
}

impl Recorder {
    /// Records this process's metrics from now on.
    ///
    /// # Errors
    ///
    /// When the process has a recorder of another kind already.
    pub fn install() -> Result<Self, InstallError> {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS);
        // There are buckets.
        let recorder = builder.map_err(|_| InstallError)?.build_recorder();
        let handle = recorder.handle();
        ::metrics::set_global_recorder(recorder).map_err(|_| InstallError)?;
        begin();
        Ok(Self(handle))
    }

    /// The metrics as text, in the format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Sorts what was recorded into its buckets, which has to be done now and then.
    pub(crate) fn tidy(&self) {
        self.0.run_upkeep();
    }
}

/// Nothing is recorded: the process has another recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallError;

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process records its metrics elsewhere already")
    }
}

impl std::error::Error for InstallError {}

/// Describes every metric, and begins those at 0 whose labels are known.
fn begin() {
    for Metric {
        name,
        kind,
        labels,
        help,
    } in METRICS.iter().copied()
    {
        let values: &[&'static str] = match labels {
            [] => &[""],
            ["side"] => &["client", "server"],
            ["what"] => &["connection", "request", "tunnel", "call"],
            _ => &[],
        };
        match kind {
            Kind::Counter => ::metrics::describe_counter!(name, help),
            Kind::Gauge => ::metrics::describe_gauge!(name, help),
            Kind::Histogram => ::metrics::describe_histogram!(name, Unit::Seconds, help),
        }
        for value in values {
            let labels: Vec<_> = labels.iter().map(|label| (*label, *value)).collect();
            match kind {
                Kind::Counter => counter!(name, &labels).increment(0),
                Kind::Gauge => gauge!(name, &labels).increment(0),
                Kind::Histogram => drop(histogram!(name, &labels)),
            }
        }
    }
    gauge!(names::BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1);
}

/// The value of the label `agent` for an agent of this name.
fn agent_label(name: &Name) -> SharedString {
    if name.is_generated() {
        return UNNAMED.into();
    }
    let name = name.as_str();
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.contains(name) {
        return name.to_owned().into();
    }
    if known.len() >= MOST_AGENTS {
        return OTHER.into();
    }
    known.insert(name.to_owned());
    name.to_owned().into()
}

/// Something was refused.
pub(crate) fn refused(kind: RefusedKind) {
    counter!(names::REFUSED, "what" => kind.as_str()).increment(1);
}

/// A connection was turned away.
pub(crate) fn turned_away() {
    counter!(names::TURNED_AWAY).increment(1);
}

/// A tunnel was opened by this end, or was not.
pub(crate) fn connected(opened: bool) {
    let name = match opened {
        true => names::CONNECTS,
        false => names::CONNECTS_FAILED,
    };
    counter!(name).increment(1);
}

/// A log line was left out.
pub(crate) fn left_out() {
    counter!(names::LEFT_OUT).increment(1);
}

/// Whether new calls are wanted.
pub(crate) fn ready(is_ready: bool) {
    gauge!(names::READY).set(f64::from(u8::from(is_ready)));
}

/// A tunnel of an agent that can be called, which counts until this is dropped.
pub(crate) struct AgentTunnel(Gauge);

impl AgentTunnel {
    pub(crate) fn begin(name: &Name) -> Self {
        let gauge = gauge!(names::AGENT_TUNNELS, "agent" => agent_label(name));
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for AgentTunnel {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
