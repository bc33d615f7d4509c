//! Long runs of the fuzz targets without a fuzzer: inputs made of a seed, counted in steps.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::harness::targets::{Target, target};

/// What a run is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Inputs of a seed until so many steps were taken.
    Run {
        /// The target's name.
        target: String,
        /// The seed.
        seed: u64,
        /// Steps at least.
        steps: u64,
    },
    /// One input.
    Replay {
        /// The target's name.
        target: String,
        /// Its file.
        file: String,
    },
}

/// How the command is used.
pub const USAGE: &str =
    "usage: campaign --target NAME (--seed NUMBER --steps NUMBER | --replay FILE)";

/// The arguments mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage;

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(USAGE)
    }
}

impl std::error::Error for Usage {}

impl Request {
    /// Reads the arguments, without the program's name.
    ///
    /// # Errors
    /// When they are not as [`USAGE`] says.
    pub fn read(arguments: &[String]) -> Result<Self, Usage> {
        let mut values = HashMap::new();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else {
                return Err(Usage);
            };
            values.insert(name.strip_prefix("--").ok_or(Usage)?, value.clone());
        }
        let target = values.remove("target").ok_or(Usage)?;
        let request = if let Some(file) = values.remove("replay") {
            Self::Replay { target, file }
        } else {
            let mut number = |name| values.remove(name)?.parse().ok();
            Self::Run {
                target,
                seed: number("seed").ok_or(Usage)?,
                steps: number("steps").ok_or(Usage)?,
            }
        };
        if values.is_empty() {
            Ok(request)
        } else {
            Err(Usage)
        }
    }

    /// The target that is meant.
    #[must_use]
    pub fn target(&self) -> Option<&'static Target> {
        let (Self::Run { target: name, .. } | Self::Replay { target: name, .. }) = self;
        target(name)
    }
}

/// Numbers of a seed, by splitmix64: the same on every machine.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The numbers of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An input: mostly long enough for many steps.
    pub fn input(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.next() % 1_000).unwrap_or(0) + 20;
        let words = core::iter::repeat_with(|| self.next().to_le_bytes());
        words.flatten().take(len).collect()
    }
}

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Inputs that were run.
    pub inputs: u64,
    /// Steps that they took.
    pub steps: u64,
    /// Why the run ended early.
    pub failure: Option<Failure>,
}

/// Why a run ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The first input that failed, made small.
    Input(Vec<u8>),
    /// No step was taken in [`MOST_IDLE`] inputs one after the other: the target checks nothing.
    NoSteps,
}

/// Inputs in a row that may take no step. Some bytes make no input, but few.
pub const MOST_IDLE: u64 = 1_000;

/// Runs inputs of the seed until so many steps were taken, one fails or none takes a step.
#[must_use]
pub fn run(target: &Target, seed: u64, steps: u64) -> Found {
    let mut numbers = Numbers::new(seed);
    let mut found = Found::default();
    let mut idle = 0;
    while found.steps < steps && found.failure.is_none() {
        let input = numbers.input();
        found.inputs += 1;
        match attempt(target, &input) {
            Ok(0) => idle += 1,
            Ok(taken) => {
                idle = 0;
                found.steps += taken;
            }
            Err(()) => found.failure = Some(Failure::Input(small(target, input))),
        }
        if idle == MOST_IDLE {
            found.failure = Some(Failure::NoSteps);
        }
    }
    found
}

fn attempt(target: &Target, input: &[u8]) -> Result<u64, ()> {
    let run = AssertUnwindSafe(|| (target.run)(input));
    let steps = catch_unwind(run).map_err(|_| ())?;
    Ok(steps.map_or(0, |steps| u64::try_from(steps).unwrap_or(u64::MAX)))
}

/// Takes pieces out of an input that fails, as long as it still does. Quiet meanwhile.
fn small(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut start = 0;
        while start < input.len() {
            let mut shorter = input.clone();
            shorter.drain(start..(start + piece).min(input.len()));
            if attempt(target, &shorter).is_err() {
                input = shorter;
            } else {
                start += piece;
            }
        }
        piece /= 2;
    }
    std::panic::set_hook(hook);
    input
}
