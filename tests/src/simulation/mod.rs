//! Tunnels in worlds that are made from seeds.
//!
//! The driver knows no runtime and no HTTP stack, so all around it can be simulated: an executor
//! that polls tasks in any order and drops some, a clock, and connections that delay, split, stall
//! and break, and lose what is on its way from any byte on. On top run supervisors that keep several
//! tunnels to several gateways, groups of tunnels that pick and make calls again, registries that
//! know the tunnels of several agents, and callers and handlers that do what a script says. All of it
//! follows from a seed.
//!
//! A model knows what each call was to do, and holds against it what its two ends see:
//!
//! - Nothing is lost, doubled or mixed up: each message has bytes that tell which one it is.
//! - OK means that the handler said so, and that all of its response came.
//! - No call is handled twice, or by another agent than the one that was called, and none was handled
//!   that ended as never processed.
//! - Where nothing broke, no call fails that nobody meant to fail.
//! - Every call comes to an end, every task does once all is stopped, and nothing is left in the
//!   budgets and registries. Where a call is stuck, it is told whether a wake-up was lost.
//! - What waits stays below the tunnels' memory bound.

mod calls;
mod carrier;
mod executor;
mod model;
mod script;
mod world;

use std::fmt;

pub use model::Broken;
pub use script::{CallPlan, Close, Handle, Op, Script, Send, Take, Way};

/// Plays the world of a seed.
///
/// # Errors
/// Which rule was broken.
pub fn play(script: &Script) -> Result<(), Broken> {
    world::play(script)
}

/// A world that breaks a rule, with as little in it as does so.
#[derive(Debug)]
pub struct Minimal {
    /// The places of the things that happen in it, in the script of its seed.
    pub kept: Vec<usize>,
    /// What is left.
    pub script: Script,
    /// What it breaks.
    pub broken: Broken,
}

impl fmt::Display for Minimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.broken)?;
        writeln!(f, "  kept: {:?}", self.kept)?;
        writeln!(f, "  {:?}", self.script.setting)?;
        self.script
            .ops
            .iter()
            .try_for_each(|(at, op)| writeln!(f, "  {at} ms: {op:?}"))
    }
}

/// Leaves out whatever is not needed to break a rule. `None`: the script breaks none.
#[must_use]
pub fn minimise(script: &Script) -> Option<Minimal> {
    let mut broken = play(script).err()?;
    let mut kept: Vec<usize> = (0..script.ops.len()).collect();
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < kept.len() {
            let to = kept.len().min(from + size);
            let mut fewer = kept.clone();
            fewer.drain(from..to);
            match play(&script.with_only(&fewer)) {
                Err(still) => {
                    broken = still;
                    kept = fewer;
                }
                Ok(()) => from = to,
            }
        }
        size /= 2;
    }
    Some(Minimal {
        script: script.with_only(&kept),
        kept,
        broken,
    })
}
