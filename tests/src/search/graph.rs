//! The search itself: every state once, breadth first, then backwards from the finished ones.

use core::hash::{BuildHasherDefault, Hash, Hasher};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::moves::Move;
use super::scope::Scope;
use super::state::{State, World};
use super::trace::{Fault, trace};

/// A fingerprint is as good as any hash of it.
#[derive(Default)]
struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u128(&mut self, value: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is enough")]
        let low = value as u64;
        self.0 = low;
    }
}

/// How a state was first reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) from: u32,
    pub(super) by: Move,
}

/// What a search has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The scope's name.
    pub scope: &'static str,
    /// Different states.
    pub states: usize,
    /// Moves from one to another.
    pub moves: u64,
    /// Moves to the state that is farthest from the first one.
    pub depth: u32,
    /// States in which everything is finished.
    pub finished: usize,
    /// States in which nothing can happen that brings a call on, though not all are finished.
    pub stuck: usize,
    /// States from which no schedule finishes every call, those included.
    pub lost: usize,
    /// What does not hold, with the shortest way to it.
    pub fault: Option<Fault>,
    /// The largest number of states that waited.
    pub waiting: usize,
    /// States in which a receive window is larger than it began.
    pub grown: usize,
    /// How long it took.
    pub took: Duration,
}

/// All states of a scope.
struct Graph {
    world: World,
    numbers: HashMap<u128, u32, BuildHasherDefault<Low>>,
    arrivals: Vec<Arrival>,
    /// For each state, where its progress begins in `progress`.
    starts: Vec<u32>,
    /// Where states lead to without a disturbance.
    progress: Vec<u32>,
    finished: Vec<bool>,
    moves: u64,
    depth: u32,
    waiting: usize,
    grown: usize,
    /// For each state, what comes next, where fingerprints are held to it.
    futures: Option<Vec<u128>>,
}

/// Searches a scope like [`search`], and compares what can happen in every two states that were
/// taken for one: a fingerprint that leaves out what matters is found. It takes much longer.
///
/// # Errors
/// The scope has more states than `most`, or two states with one fingerprint differ.
pub fn search_twice(scope: &Scope, most: usize) -> Result<Report, String> {
    run(scope, most, Some(Vec::new()))
}

/// Searches a scope to the end, or to the first rule that does not hold.
///
/// # Errors
/// The scope has more states than `most`.
pub fn search(scope: &Scope, most: usize) -> Result<Report, String> {
    run(scope, most, None)
}

fn run(scope: &Scope, most: usize, futures: Option<Vec<u128>>) -> Result<Report, String> {
    let began = Instant::now();
    let mut graph = Graph {
        world: World::new(scope),
        numbers: HashMap::default(),
        arrivals: Vec::new(),
        starts: Vec::new(),
        progress: Vec::new(),
        finished: Vec::new(),
        moves: 0,
        depth: 0,
        waiting: 0,
        grown: 0,
        futures,
    };
    let fault = graph.forward(most)?;
    let mut report = Report {
        scope: scope.name,
        states: graph.arrivals.len(),
        moves: graph.moves,
        depth: graph.depth,
        finished: graph.finished.iter().filter(|finished| **finished).count(),
        stuck: 0,
        lost: 0,
        fault,
        waiting: graph.waiting,
        grown: graph.grown,
        took: Duration::ZERO,
    };
    if report.fault.is_none() {
        graph.backward(&mut report);
    }
    report.took = began.elapsed();
    Ok(report)
}

/// Every move of a state, and where it leads.
fn future(world: &World, state: &State) -> u128 {
    let mut hasher = SipHasher13::new();
    state.is_finished(world).hash(&mut hasher);
    for by in state.moves(world) {
        let mut next = state.clone();
        next.make(world, by).is_ok().hash(&mut hasher);
        (by, next.fingerprint(world)).hash(&mut hasher);
    }
    hasher.finish128().as_u128()
}

impl Graph {
    /// The number of a state, and whether it is a new one.
    fn number(&mut self, state: &State, arrival: Arrival) -> Result<(u32, bool), String> {
        let next = u32::try_from(self.arrivals.len()).map_err(|_| "too many states")?;
        let number = *self
            .numbers
            .entry(state.fingerprint(&self.world))
            .or_insert(next);
        if number == next {
            self.arrivals.push(arrival);
            self.finished.push(state.is_finished(&self.world));
            let grown = usize::from(state.has_grown_windows(&self.world));
            self.grown = self.grown.saturating_add(grown);
        }
        if let Some(futures) = &mut self.futures {
            let future = future(&self.world, state);
            if number == next {
                futures.push(future);
            } else if futures.get(number as usize) != Some(&future) {
                let steps = trace(&self.world, &self.arrivals, number, None).join("\n");
                return Err(format!("{:?} leads elsewhere than\n{steps}", arrival.by));
            }
        }
        Ok((number, number == next))
    }

    /// Visits every state.
    fn forward(&mut self, most: usize) -> Result<Option<Fault>, String> {
        let first = State::first(&self.world);
        let mut waiting = VecDeque::new();
        let nowhere = Arrival {
            from: 0,
            by: Move::Open(0),
        };
        self.number(&first, nowhere)?;
        waiting.push_back(first);
        // The last state of the depth that is being visited.
        let (mut from, mut last) = (0, 0);
        while let Some(state) = waiting.pop_front() {
            if self.arrivals.len() > most {
                return Err(format!("more than {most} states"));
            }
            let start = u32::try_from(self.progress.len()).map_err(|_| "too many moves")?;
            self.starts.push(start);
            for by in state.moves(&self.world) {
                let mut next = state.clone();
                self.moves = self.moves.saturating_add(1);
                let arrival = Arrival { from, by };
                if let Err(what) = next.make(&self.world, by) {
                    let steps = trace(&self.world, &self.arrivals, from, Some(by));
                    return Ok(Some(Fault { what, steps }));
                }
                let (number, new) = self.number(&next, arrival)?;
                if by.is_progress() {
                    self.progress.push(number);
                }
                if new {
                    waiting.push_back(next);
                }
            }
            self.waiting = self.waiting.max(waiting.len());
            if from == last {
                self.depth = self.depth.saturating_add(1);
                last = u32::try_from(self.arrivals.len().saturating_sub(1)).unwrap_or(last);
            }
            from = from.saturating_add(1);
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(None)
    }

    /// Where a state leads to without a disturbance.
    fn progress(&self, state: usize) -> &[u32] {
        let start = self.starts.get(state).copied().unwrap_or(0) as usize;
        let next = self.starts.get(state.saturating_add(1));
        let end = next.map_or(self.progress.len(), |next| *next as usize);
        self.progress.get(start..end).unwrap_or_default()
    }

    /// Finds the states from which nothing leads to a finished one. Most moves lead from a state
    /// to one with a higher number, so a few passes from the last to the first are enough.
    fn backward(&self, report: &mut Report) {
        let mut good = self.finished.clone();
        let leads = |good: &[bool], state: usize| {
            let mut progress = self.progress(state).iter();
            progress.any(|next| good.get(*next as usize) == Some(&true))
        };
        let mut changed = true;
        while changed {
            changed = false;
            for state in (0..good.len()).rev() {
                if good.get(state) == Some(&false)
                    && leads(&good, state)
                    && let Some(entry) = good.get_mut(state)
                {
                    *entry = true;
                    changed = true;
                }
            }
        }
        let lost = |state: &usize| good.get(*state) == Some(&false);
        let stuck = |state: &usize| {
            let mut progress = self.progress(*state).iter();
            lost(state) && progress.all(|next| *next as usize == *state)
        };
        let states = 0..good.len();
        report.lost = states.clone().filter(lost).count();
        report.stuck = states.clone().filter(stuck).count();
        let shown = states
            .clone()
            .find(stuck)
            .or_else(|| states.clone().find(lost));
        if let Some(state) = shown {
            let what = if report.stuck > 0 {
                "nothing more can happen, and not all calls are finished"
            } else {
                "no schedule finishes every call from here"
            };
            let state = u32::try_from(state).unwrap_or(u32::MAX);
            report.fault = Some(Fault {
                what: what.into(),
                steps: trace(&self.world, &self.arrivals, state, None),
            });
        }
    }
}
