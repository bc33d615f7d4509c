//! Runs one fuzz target natively, from a seed, and notes the run in the ledger of campaigns; or
//! runs one input and writes down what it means.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs, io};

use grpctunnel_tests::campaign::{Failure, MOST_IDLE, Request, USAGE, run};
use grpctunnel_tests::harness::targets::Target;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let request = Request::read(&arguments);
    let known = request.and_then(|request| {
        let target = request.target().ok_or(grpctunnel_tests::campaign::Usage)?;
        Ok((request, target))
    });
    let Ok((request, target)) = known else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match request {
        Request::Run { seed, steps, .. } => campaign(target, seed, steps),
        Request::Replay { file, .. } => replay(target, &file),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn replay(target: &Target, file: &str) -> io::Result<bool> {
    let input = fs::read(file)?;
    println!("{}", (target.show)(&input));
    let steps = (target.run)(&input);
    println!("{}: {steps:?} steps", target.name);
    Ok(true)
}

/// False when an input failed.
fn campaign(target: &Target, seed: u64, steps: u64) -> io::Result<bool> {
    let name = target.name;
    println!("{name}: seed {seed}, at least {steps} steps");
    let found = run(target, seed, steps);
    println!("{name}: {} steps in {} inputs", found.steps, found.inputs);
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    match &found.failure {
        None => {}
        Some(Failure::Input(input)) => {
            let below = fuzz.join("artifacts").join(name);
            fs::create_dir_all(&below)?;
            let file = below.join(format!("seed-{seed}"));
            fs::write(&file, input)?;
            println!("{}", (target.show)(input));
            println!("{name}: an input failed: {}", file.display());
        }
        Some(Failure::NoSteps) => {
            println!("{name}: {MOST_IDLE} inputs in a row took no step; nothing is checked");
            return Ok(false);
        }
    }
    let crashes = u8::from(found.failure.is_some());
    let executions = if target.operations {
        found.steps
    } else {
        found.inputs
    };
    let noted = Command::new("bash")
        .arg(fuzz.join("campaign"))
        .args(["note", name, &format!("seed-{seed}"), "-"])
        .args([&executions.to_string(), "-", &crashes.to_string()])
        .status()?;
    Ok(noted.success() && crashes == 0)
}
