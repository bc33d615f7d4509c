//! Plays worlds of tunnels that are made from seeds, and prints those that break a rule, with as
//! little in them as does so.
//!
//! `--seeds 100000` is how many, `--from 0` the first one, `--threads 2` how many at a time. Fails
//! when any rule was broken. `--most 1` stops at the first world that breaks one, and prints it as it
//! is.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use grpctunnel_tests::simulation::{Script, minimise, play};

#[derive(Clone, Copy, Debug)]
struct Args {
    seeds: u64,
    from: u64,
    threads: u64,
    most: u64,
}

fn args() -> Option<Args> {
    let mut args = Args {
        seeds: 100_000,
        from: 0,
        threads: 2,
        most: u64::MAX,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seeds" => args.seeds = number,
            "--from" => args.from = number,
            "--threads" => args.threads = number,
            "--most" => args.most = number,
            _ => return None,
        }
    }
    Some(args)
}

/// Failing worlds that are minimised and printed; of the rest the seed is printed.
const MINIMISED: u64 = 5;

fn main() -> ExitCode {
    let Some(args) = args() else {
        let _ = writeln!(
            io::stderr(),
            "usage: simulation [--seeds COUNT] [--from SEED] [--threads COUNT] [--most COUNT]"
        );
        return ExitCode::from(2);
    };
    let next = AtomicU64::new(args.from);
    let failed = AtomicU64::new(0);
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let enough = failed.load(Ordering::Relaxed) >= args.most;
            if enough || seed >= args.from.saturating_add(args.seeds) {
                return;
            }
            let script = Script::new(seed);
            let Err(broken) = play(&script) else {
                continue;
            };
            let minimal = match failed.fetch_add(1, Ordering::Relaxed) {
                0..MINIMISED if args.most > MINIMISED => minimise(&script),
                _ => None,
            };
            // Nobody is there to be told that nobody reads.
            let _ = match minimal {
                Some(minimal) => writeln!(io::stdout(), "seed {seed}: {minimal}"),
                None => writeln!(io::stdout(), "seed {seed}: {broken}"),
            };
        }
    };
    thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(worker);
        }
    });
    let failed = failed.into_inner();
    let _ = writeln!(
        io::stdout(),
        "{} seeds from {}: {failed} break a rule",
        args.seeds,
        args.from
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
