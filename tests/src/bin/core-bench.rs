//! Measures the core alone: `core-bench codec|relay|streams|sizes|instructions`.

use std::error::Error;
use std::process::ExitCode;

use grpctunnel_tests::core_bench::{
    codec_table, compare, count, relay_table, sizes_table, streams_table,
};

const USAGE: &str = "usage: core-bench codec | relay | streams | sizes | instructions [--write]";

fn run(args: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut table = String::new();
    match args {
        ["codec"] => codec_table(&mut table)?,
        ["relay"] => relay_table(&mut table)?,
        ["streams"] => streams_table(&mut table)?,
        ["sizes"] => sizes_table(&mut table)?,
        ["instructions"] => compare(false)?,
        ["instructions", "--write"] => compare(true)?,
        // Run by `instructions`, under callgrind.
        ["count", scenario, rounds] => count(scenario, rounds.parse()?)?,
        _ => return Err(USAGE.into()),
    }
    print!("{table}");
    Ok(())
}

fn main() -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!("not a release build: the figures are of no use");
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
