//! Months of honest use in virtual time, played to one end of the shipped core by frames alone.
//!
//! A [`Scenario`] is what each of its calls does, step by step: frames of the peer, and what the
//! application on our end does. A new call begins at every tick. [`Scenario::run`] plays so many
//! ticks and reports how low each budget fell, or what tripped.
//!
//! **What a short run proves.** The peer of a scenario sends the same frames in each period, up to
//! the stream ids, and with the same spacing; a period is a whole number of seconds and of calls of
//! each kind, so that the streams of our end and the fractions of its tokens are at its end what
//! they were at its beginning. What a charge or a refill leaves is never less if there was more
//! before. So once every budget is at the end of a period at least where it was at the beginning,
//! no later period can take it lower than this one did: [`Report::is_steady`].

mod client;
mod end;
mod server;
mod template;

use std::fmt;
use std::time::Duration;

use grpctunnel_core::{Budgets, TunnelReason};

pub use template::Template;

/// The stream id of a [`Template`], the first one in a run: ids then always take the same number of bytes on the wire.
pub const FIRST: i64 = 1 << 40;
/// A call at 100 calls a second.
const TICK: Duration = Duration::from_millis(10);
/// A call at 10 calls a second, each of many frames.
const SLOW: Duration = Duration::from_millis(100);
/// The ticks of a round trip of 200 ms.
const ROUND_TRIP: u64 = 20;

/// What an honest peer and an application do with one tunnel, over and over.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it is, in a line.
    pub name: &'static str,
    /// The time between two calls.
    pub tick: Duration,
    play: fn(&Self, u64) -> Report,
}

impl Scenario {
    /// Plays so much virtual time.
    #[must_use]
    pub fn run(&self, time: Duration) -> Report {
        let ticks = time.as_nanos() / self.tick.as_nanos().max(1);
        self.calls(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// Plays so many calls, one a tick.
    #[must_use]
    pub fn calls(&self, calls: u64) -> Report {
        (self.play)(self, calls)
    }
}

/// Calls that end in every way that there is, violations of the protocol among them, at a rate
/// that no budget minds: a call a second. For what must be left when the last one is over: nothing.
#[must_use]
pub fn outcomes() -> [Scenario; 2] {
    [server::OUTCOMES, client::OUTCOMES]
}

/// Every scenario.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    [server::SCENARIOS, client::SCENARIOS].concat()
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub name: &'static str,
    /// Calls begun.
    pub calls: u64,
    /// Frames that the peer sent.
    pub frames: u64,
    /// The lowest level that each budget had.
    pub lowest: Budgets,
    /// What ended the tunnel.
    pub tripped: Option<TunnelReason>,
    /// Streams that were left once the last call's steps were over.
    pub left: usize,
    /// Periods that left a budget lower than they found it, a minute of warming up aside.
    pub falls: u64,
    /// Periods that were compared.
    pub periods: u64,
}

impl Report {
    /// Whether no later period can be worse: see the [module](self).
    #[must_use]
    pub const fn is_steady(&self) -> bool {
        self.tripped.is_none() && self.falls == 0 && self.periods > 0
    }

    /// The heading of what is shown.
    #[must_use]
    pub fn heading() -> String {
        format!(
            "{:52} {:>11} {:>13} {:>8} {:>8} {:>8} {:>8}  outcome",
            "scenario", "calls", "frames in", "useless", "updates", "errors", "refusals"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = self.lowest;
        write!(
            f,
            "{:52} {:>11} {:>13} {:>8} {:>8} {:>8} {:>8}  ",
            self.name,
            self.calls,
            self.frames,
            low.useless_frames,
            low.window_updates,
            low.protocol_errors,
            low.pending_rejections,
        )?;
        match self.tripped {
            Some(reason) => write!(f, "tripped: {reason:?}"),
            None if self.falls > 0 => {
                write!(f, "fell in {} of {} periods", self.falls, self.periods)
            }
            None => f.write_str("never tripped"),
        }
    }
}

/// The lower one of each budget.
fn lower(a: Budgets, b: Budgets) -> Budgets {
    let mut low = a;
    low.useless_frames = a.useless_frames.min(b.useless_frames);
    low.window_updates = a.window_updates.min(b.window_updates);
    low.protocol_errors = a.protocol_errors.min(b.protocol_errors);
    low.late_frames = a.late_frames.min(b.late_frames);
    low.late_bytes = a.late_bytes.min(b.late_bytes);
    low.unanswered_frames = a.unanswered_frames.min(b.unanswered_frames);
    low.pending_rejections = a.pending_rejections.min(b.pending_rejections);
    low
}
