//! Searches the states of two tunnels to the end: `search --scope ci` or `search --scope large`.

use std::process::ExitCode;

use grpctunnel_tests::search::{Scope, ci, large, search};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--scope", "ci"] => run(&ci()),
        ["--scope", "large"] => run(&large()),
        _ => {
            eprintln!("usage: search --scope ci|large");
            ExitCode::from(2)
        }
    }
}

/// No scope comes near it; a mistake in one ends before the memory does.
const MOST: usize = 20_000_000;

fn run(scopes: &[Scope]) -> ExitCode {
    println!(
        "{:<24} {:>10} {:>11} {:>6} {:>9} {:>9} {:>8}",
        "scope", "states", "moves", "depth", "finished", "waiting", "seconds"
    );
    let mut states = 0_usize;
    for scope in scopes {
        let report = match search(scope, MOST) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("{}: {error}", scope.name);
                return ExitCode::FAILURE;
            }
        };
        println!(
            "{:<24} {:>10} {:>11} {:>6} {:>9} {:>9} {:>8.1}",
            report.scope,
            report.states,
            report.moves,
            report.depth,
            report.finished,
            report.waiting,
            report.took.as_secs_f64()
        );
        states = states.saturating_add(report.states);
        if let Some(fault) = report.fault {
            println!("{fault}");
            println!(
                "stuck states: {}, lost states: {}",
                report.stuck, report.lost
            );
        }
    }
    println!("{states} states, no fault");
    ExitCode::SUCCESS
}
