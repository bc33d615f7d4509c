//! `grpctunnel demo`: every kind of call, through a gateway and an agent, on loopback.

mod agents;
mod screen;
mod secured;
mod service;
mod stage;
mod steps;
mod tally;

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::too_many_lines,
    reason = "written by the code generator"
)]
mod generated {
    include!("generated/grpctunnel.demo.v1.rs");
}

use std::{fmt, io, time::Duration};

use crate::stop::Stop;

use self::{
    agents::HANDOVER_UNITS,
    screen::{Meter, Screen, Unit},
    stage::Stage,
    steps::{Caller, GREETING_UNITS, JOB_UNITS, LINE_UNITS, Wrong},
};

/// The longest that a step may take, but for the upload.
const STEP_LIMIT: Duration = Duration::from_secs(120);
/// The longest that the upload may take for each MiB of it, and at all.
const UPLOAD_LIMIT_PER_MIB: Duration = Duration::from_millis(500);

/// Why the demo failed.
#[derive(Debug)]
pub enum Failure {
    /// Standard output cannot be written to.
    Output(io::Error),
    /// The scene could not be set: no listener, or no tunnel.
    Stage(String),
    /// A step did not show what it should.
    Step {
        /// The step, as it is shown.
        step: &'static str,
        /// What happened instead.
        why: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
            Self::Stage(why) => write!(f, "the demo could not begin: {why}"),
            Self::Step { step, why } => write!(f, "the demo failed at \"{step}\": {why}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// How often a call is made while everything is kept running.
const EVERY: Duration = Duration::from_secs(1);

/// Shows everything on standard output. `upload` is the size of the upload in bytes. With `stays`,
/// everything keeps running afterwards, until Ctrl-C or SIGTERM, and the gateway has an admin port.
///
/// Without it, this takes a few seconds, and at most two minutes a step when things hang.
///
/// # Errors
///
/// A [`Failure`] at the first thing that is not as it should be.
pub async fn run(upload: u64, stays: bool) -> Result<(), Failure> {
    let screen = Screen::stdout();
    let mut stage = Stage::set(stays).await?;
    screen.title("grpctunnel demo")?;
    screen.line(format_args!("\n{}\n", stage.picture(screen.is_live())))?;
    let mut shown = show(screen, &mut stage, upload).await;
    if shown.is_ok() {
        screen.line(format_args!("\n{}", stage.caller.tally))?;
        if stays {
            shown = stay(screen, &mut stage).await;
        }
    }
    stage.clear().await;
    shown
}

/// Keeps everything running, with a call now and then, until a signal.
async fn stay(screen: Screen, stage: &mut Stage) -> Result<(), Failure> {
    let stop = Stop::new();
    let signals = stop.on_signals(Duration::ZERO, |_| {});
    signals.map_err(|error| Failure::Stage(error.to_string()))?;
    screen.line(format_args!("\n{}", stage.invitation()))?;
    for number in 0.. {
        tokio::select! {
            () = stop.draining() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
        let called = stage.caller.greeting(number).await;
        called.map_err(|wrong| Failure::Step {
            step: "a call while it stays",
            why: wrong.to_string(),
        })?;
    }
    Ok(())
}

async fn show(screen: Screen, stage: &mut Stage, upload: u64) -> Result<(), Failure> {
    calls(screen, &mut stage.caller, upload).await?;
    let meter = screen.begin("agent restart");
    step(&meter, STEP_LIMIT, stage.restart()).await?;
    let meter = screen.measure("takeover", HANDOVER_UNITS, Unit::Steps);
    step(&meter, STEP_LIMIT, stage.takeover(&meter)).await?;
    let meter = screen.begin("TLS and tokens");
    let secured = secured::secured(&stage.caller, stage.service);
    step(&meter, STEP_LIMIT, secured).await
}

/// Every kind of call.
async fn calls(screen: Screen, caller: &mut Caller, upload: u64) -> Result<(), Failure> {
    let meter = screen.measure("unary calls", GREETING_UNITS, Unit::Steps);
    step(&meter, STEP_LIMIT, caller.unary(&meter)).await?;
    let meter = screen.measure("server stream", JOB_UNITS, Unit::Steps);
    step(&meter, STEP_LIMIT, caller.server_stream(&meter)).await?;
    let meter = screen.measure("bidi exchange", LINE_UNITS, Unit::Steps);
    step(&meter, STEP_LIMIT, caller.exchange(&meter)).await?;
    let meter = screen.measure("upload", upload, Unit::Bytes);
    let mebibytes = u32::try_from(upload >> 20).unwrap_or(u32::MAX);
    let limit = STEP_LIMIT.saturating_add(UPLOAD_LIMIT_PER_MIB.saturating_mul(mebibytes));
    step(&meter, limit, caller.upload(&meter, upload)).await?;
    let meter = screen.begin("cancelled call");
    step(&meter, STEP_LIMIT, caller.cancelled()).await?;
    let meter = screen.begin("deadline");
    step(&meter, STEP_LIMIT, caller.deadline()).await
}

async fn step(
    meter: &Meter,
    limit: Duration,
    what: impl Future<Output = Result<String, Wrong>>,
) -> Result<(), Failure> {
    let why = match tokio::time::timeout(limit, what).await {
        Ok(Ok(text)) => return Ok(meter.done(text)?),
        Ok(Err(wrong)) => wrong.to_string(),
        Err(_) => format!("not finished after {} s", limit.as_secs()),
    };
    meter.failed()?;
    Err(Failure::Step {
        step: meter.label(),
        why,
    })
}
