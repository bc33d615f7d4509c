//! The way to a state, in words.

use core::fmt;

use grpctunnel_core::Side;

use super::graph::Arrival;
use super::link::{Item, Moves};
use super::moves::Move;
use super::state::{State, World, other};

/// What does not hold, and the shortest way to it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What does not hold.
    pub what: String,
    /// The moves that lead there.
    pub steps: Vec<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, number) in self.steps.iter().zip(1..) {
            writeln!(f, "{number:>4}. {step}")?;
        }
        write!(f, "{}", self.what)
    }
}

/// The moves to a state, and `last` from there.
pub(super) fn trace(
    world: &World,
    arrivals: &[Arrival],
    state: u32,
    last: Option<Move>,
) -> Vec<String> {
    let mut moves: Vec<Move> = last.into_iter().collect();
    let mut state = state;
    while state > 0
        && let Some(arrival) = arrivals.get(state as usize)
    {
        moves.push(arrival.by);
        state = arrival.from;
    }
    let mut at = State::first(world);
    let mut steps = Vec::new();
    for step in moves.into_iter().rev() {
        let taken = match step {
            Move::Deliver(side) => at.towards(side).items.first().map(describe),
            _ => None,
        };
        // The last one may be the one that fails.
        let _ = at.make(world, step);
        let what = match step {
            Move::Transmit(side) => at.towards(other(side)).items.last().map(describe),
            _ => taken,
        };
        steps.push(match what {
            Some(what) => format!("{step}: {what}"),
            None => step.to_string(),
        });
    }
    steps.push(format!("then {}", leftovers(&at)));
    steps
}

fn describe(item: &Item) -> String {
    match item {
        Item::Opened(_) => "headers".into(),
        Item::End(cause) => format!("its end, {cause:?}"),
        Item::Frame(frame) => {
            let id = frame.id;
            match frame.moves {
                Moves::Call => format!("new_stream {id}"),
                Moves::Data(bytes) => format!("{bytes} bytes on {id}"),
                Moves::Credit(bytes) => format!("window_update {bytes} on {id}"),
                Moves::Nothing(kind) => format!("{kind} on {id}"),
            }
        }
    }
}

/// What is left over where a search stops.
fn leftovers(state: &State) -> String {
    let mut words = Vec::new();
    for (call, number) in state.calls.iter().zip(0..) {
        for side in [Side::Client, Side::Server] {
            let half = call.half(side);
            if half.key.is_some() {
                words.push(format!(
                    "{side:?}'s call {number} is {:?}, {} bytes unread",
                    half.stage, half.held
                ));
            }
        }
    }
    for side in [Side::Client, Side::Server] {
        let items = state.towards(side).items.len();
        words.push(format!("{items} frames wait for the {side:?}"));
    }
    words.join("; ")
}
