//! A search of several scopes, one after the other, as a table.

use std::io::{self, Write};

use super::{Scope, search};

/// No scope comes near it; a mistake in one ends before the memory does.
const MOST: usize = 20_000_000;

/// Searches each scope, and writes a line about each to `out`. Returns how many states there are in
/// all.
///
/// # Errors
/// The first fault, with the shortest way to it; a scope with too many states; an output that takes
/// nothing.
pub fn run(scopes: &[Scope], out: &mut impl Write) -> io::Result<usize> {
    writeln!(
        out,
        "{:<24} {:>10} {:>11} {:>6} {:>9} {:>9} {:>9} {:>8}",
        "scope", "states", "moves", "depth", "finished", "grown", "waiting", "seconds"
    )?;
    let mut states = 0_usize;
    for scope in scopes {
        let report = search(scope, MOST)
            .map_err(|error| io::Error::other(format!("{}: {error}", scope.name)))?;
        writeln!(
            out,
            "{:<24} {:>10} {:>11} {:>6} {:>9} {:>9} {:>9} {:>8.1}",
            report.scope,
            report.states,
            report.moves,
            report.depth,
            report.finished,
            report.grown,
            report.waiting,
            report.took.as_secs_f64()
        )?;
        states = states.saturating_add(report.states);
        if let Some(fault) = report.fault {
            return Err(io::Error::other(format!(
                "{}: {fault}\nstuck states: {}, lost states: {}",
                scope.name, report.stuck, report.lost
            )));
        }
    }
    Ok(states)
}
