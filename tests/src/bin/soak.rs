//! Plays months of honest use in virtual time to the shipped core, and prints how low each budget
//! fell; then opens and ends calls in every way that there is, and prints what was left of them.
//!
//! `--days 30` is the virtual time of the first part, `--calls 10000000` the length of the second,
//! and `--only TEXT` takes the scenarios whose name has it. Fails when anything tripped or was
//! left.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use allocation_counter::AllocationInfo;
use grpctunnel_tests::soak::{Report, Scenario, outcomes, scenarios};

const DAY: Duration = Duration::from_secs(86_400);
/// Calls after which an end holds as much memory as it ever will.
const WARM_UP: u64 = 10_000;

#[derive(Debug)]
struct Args {
    days: u32,
    calls: u64,
    only: String,
}

fn args() -> Option<Args> {
    let mut args = Args {
        days: 30,
        calls: 10_000_000,
        only: String::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--days" => args.days = words.next()?.parse().ok()?,
            "--calls" => args.calls = words.next()?.parse().ok()?,
            "--only" => args.only = words.next()?,
            _ => return None,
        }
    }
    Some(args)
}

/// Plays scenarios on two threads, each as it comes, and prints each when it is over.
fn play(scenarios: Vec<Scenario>, run: impl Fn(&Scenario) -> (Report, String) + Sync) -> bool {
    let left = Mutex::new(scenarios.into_iter());
    let next = || left.lock().ok()?.next();
    let worker = || {
        let mut good = true;
        while let Some(scenario) = next() {
            let (report, more) = run(&scenario);
            good &= report.tripped.is_none() && report.falls == 0;
            // Nobody is there to be told that nobody reads.
            let _ = writeln!(io::stdout(), "{report}{more}");
        }
        good
    };
    thread::scope(|scope| {
        let other = scope.spawn(worker);
        let own = worker();
        other.join().unwrap_or(false) && own
    })
}

/// What `calls` more calls leave on the heap, of both ends together with their harness.
fn heap(scenario: &Scenario, calls: u64) -> (Report, AllocationInfo) {
    let mut report = None;
    let info = allocation_counter::measure(|| report = Some(scenario.calls(calls)));
    (report.unwrap_or_else(|| scenario.calls(0)), info)
}

fn main() -> ExitCode {
    let Some(args) = args() else {
        let _ = writeln!(io::stderr(), "soak [--days N] [--calls N] [--only TEXT]");
        return ExitCode::from(2);
    };
    let chosen = |scenarios: Vec<Scenario>| -> Vec<Scenario> {
        let wanted = |scenario: &Scenario| scenario.name.contains(&args.only);
        scenarios.into_iter().filter(wanted).collect()
    };
    let _ = writeln!(io::stdout(), "{} days\n{}", args.days, Report::heading());
    let time = DAY.saturating_mul(args.days);
    let mut good = play(chosen(scenarios()), |scenario| {
        (scenario.run(time), String::new())
    });
    let _ = writeln!(io::stdout(), "\n{} calls of every outcome", args.calls);
    good &= play(chosen(outcomes().into()), |scenario| {
        let (_, short) = heap(scenario, WARM_UP);
        let (report, long) = heap(scenario, args.calls);
        let more = format!(
            "; left {} streams; most on the heap {} B, after {WARM_UP} calls {} B",
            report.left, long.bytes_max, short.bytes_max
        );
        (report, more)
    });
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
