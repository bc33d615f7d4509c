//! What a check found.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{name::Name, origin::Origin};

/// A step on the way to a gateway, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// The host has an address.
    Name,
    /// A TCP connection, to the gateway or to the proxy on the way.
    Tcp,
    /// The proxy connects to the gateway.
    Proxy,
    /// The TLS handshake, with the certificate's dates and names.
    Tls,
    /// ALPN, preface and settings of HTTP/2.
    Http2,
    /// What is presented is accepted, and may serve the name.
    Credentials,
    /// The gateway opens a tunnel.
    Tunnel,
    /// The revision of the protocol that the two ends speak.
    Revision,
    /// The extensions of the protocol that are in effect.
    Extensions,
    /// How long there and back takes.
    RoundTrip,
    /// What is carried in a second.
    Throughput,
    /// The tunnel lives on without a byte.
    Idle,
    /// The local server can be reached.
    Local,
}

impl Step {
    /// Its name, as it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Credentials => "credentials",
            Self::Tunnel => "tunnel",
            Self::Revision => "revision",
            Self::Extensions => "extensions",
            Self::RoundTrip => "round-trip",
            Self::Throughput => "throughput",
            Self::Idle => "idle",
            Self::Local => "local",
        }
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// All is well.
    Passed,
    /// It works, and should be looked at.
    Warning,
    /// It does not work.
    Failed,
    /// There was nothing to find out, or no way to.
    Skipped,
}

impl Outcome {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What a step found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// What was found, in one line.
    pub detail: String,
    /// What to do about it, where something is to be done.
    pub advice: Option<String>,
    /// How long the step took.
    pub took: Duration,
}

impl Finding {
    fn json(&self) -> Value {
        json!({
            "step": self.step.name(),
            "outcome": self.outcome.name(),
            "detail": self.detail,
            "advice": self.advice,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.outcome {
            Outcome::Passed => "ok",
            Outcome::Warning => "warn",
            Outcome::Failed => "FAIL",
            Outcome::Skipped => "-",
        };
        write!(f, "  {mark:<4}  {:<12}  {}", self.step.name(), self.detail)?;
        match &self.advice {
            Some(advice) => write!(f, "\n                      -> {advice}"),
            None => Ok(()),
        }
    }
}

/// What a check of one gateway found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The gateway.
    pub gateway: Origin,
    /// The name of the agent, where one was given.
    pub name: Option<Name>,
    /// What each step found. The steps behind one that failed are not taken.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The first step that failed.
    #[must_use]
    pub fn failed(&self) -> Option<Step> {
        let mut failed = self.findings.iter();
        let failed = failed.find(|finding| finding.outcome == Outcome::Failed);
        failed.map(|finding| finding.step)
    }

    /// The same as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let findings = self.findings.iter().map(Finding::json);
        json!({
            "gateway": self.gateway.to_string(),
            "name": self.name.as_ref().map(Name::as_str),
            "ok": self.failed().is_none(),
            "failed": self.failed().map(Step::name),
            "steps": findings.collect::<Vec<_>>(),
        })
    }
}

/// What a step found that went well enough.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    pub(super) advice: Option<String>,
}

impl Found {
    pub(super) fn good(detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Passed,
            detail: detail.into(),
            advice: None,
        }
    }

    pub(super) fn nothing(detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Skipped,
            ..Self::good(detail)
        }
    }

    pub(super) fn warning(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Warning,
            advice: Some(advice.into()),
            ..Self::good(detail)
        }
    }
}

/// Why the way ends here.
#[derive(Debug)]
pub(super) struct Fault {
    /// The step that is at fault, where it is not the one that found it.
    pub(super) step: Option<Step>,
    pub(super) why: String,
    pub(super) advice: String,
}

impl Fault {
    pub(super) fn new(why: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            step: None,
            why: why.into(),
            advice: advice.into(),
        }
    }

    pub(super) fn of(step: Step, why: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            step: Some(step),
            ..Self::new(why, advice)
        }
    }
}

/// A step failed, and was noted: those behind it are not taken.
#[derive(Debug)]
pub(super) struct Stopped;

/// Notes what is found, and tells it at once.
pub(super) struct Log<'t> {
    pub(super) findings: Vec<Finding>,
    pub(super) tell: &'t mut (dyn FnMut(&Finding) + Send),
}

impl Log<'_> {
    /// Takes a step.
    pub(super) async fn step<T>(
        &mut self,
        step: Step,
        taking: impl Future<Output = Result<(T, Found), Fault>>,
    ) -> Result<T, Stopped> {
        let begun = Instant::now();
        let taken = taking.await;
        self.take(step, taken, begun.elapsed())
    }

    /// Notes a step that was taken.
    pub(super) fn take<T>(
        &mut self,
        step: Step,
        taken: Result<(T, Found), Fault>,
        took: Duration,
    ) -> Result<T, Stopped> {
        match taken {
            Ok((value, found)) => {
                self.note(step, found, took);
                Ok(value)
            }
            Err(fault) => {
                let found = Found {
                    outcome: Outcome::Failed,
                    detail: fault.why,
                    advice: Some(fault.advice),
                };
                self.note(fault.step.unwrap_or(step), found, took);
                Err(Stopped)
            }
        }
    }

    pub(super) fn note(&mut self, step: Step, found: Found, took: Duration) {
        let finding = Finding {
            step,
            outcome: found.outcome,
            detail: found.detail,
            advice: found.advice,
            took,
        };
        (self.tell)(&finding);
        self.findings.push(finding);
    }
}
