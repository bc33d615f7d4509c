//! Instructions under callgrind, held against limits and against a committed baseline.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::Rounds;
use super::scenarios::{Limit, SCENARIOS, Scenario};

/// The share by which a count may differ from its baseline.
const TOLERANCE: f64 = 0.05;

type Failure = Box<dyn Error>;

/// Instructions of a round, by scenario.
type Counts = BTreeMap<String, f64>;

/// Does the rounds of a scenario, so that a counter may watch them. `compare` runs it under
/// callgrind.
///
/// # Errors
/// There is no such scenario.
pub fn count(name: &str, rounds: u32) -> Result<(), Failure> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.ok_or_else(|| format!("no scenario {name}"))?;
    let mut subject = (scenario.make)();
    // What is allocated at first use is not counted.
    subject(scenario.rounds / 10);
    counted_rounds(&mut subject, rounds);
    Ok(())
}

/// Callgrind counts what happens in here, by this name.
#[inline(never)]
fn counted_rounds(subject: &mut Rounds, rounds: u32) {
    subject(rounds);
}

/// Counts every scenario, prints the table, and checks the limits and the baseline.
///
/// # Errors
/// A limit is exceeded, a count differs from its baseline, or nothing can be counted.
pub fn compare(write: bool) -> Result<(), Failure> {
    let compiler = compiler()?;
    let path = baseline_path();
    let baseline = Baseline::read(&path)?;
    let mut counts = Counts::new();
    let mut faults = Vec::new();
    println!(
        "{:<34}{:>12}{:>10}{:>10}  limit",
        "instructions a round", "now", "baseline", "ratio"
    );
    let compared = baseline.compiler == compiler;
    for scenario in SCENARIOS {
        let now = counted(scenario)?;
        counts.insert(scenario.name.to_owned(), now);
        let before = baseline.counts.get(scenario.name).copied();
        println!("{}", row(scenario, now, before, &counts));
        faults.extend(above_limit(scenario, now, &counts));
        if compared && !write {
            faults.extend(differs(scenario, now, before));
        }
    }
    if write {
        fs::write(&path, Baseline { compiler, counts }.text()?)?;
        println!("written: {}", path.display());
    } else if !compared {
        println!(
            "not compared with the baseline, which is of another compiler: {}; this is {compiler}",
            baseline.compiler
        );
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("\n").into())
}

fn row(scenario: &Scenario, now: f64, before: Option<f64>, counts: &Counts) -> String {
    let before = before.map_or_else(|| "-".to_owned(), |before| format!("{before:.1}"));
    let other = |name: &str| now / counts.get(name).copied().unwrap_or(f64::NAN);
    let (ratio, limit) = match scenario.limit {
        Limit::Alone => (String::new(), String::new()),
        Limit::Beyond(most, name) => (String::new(), format!("{most} beyond {name}")),
        Limit::Beside(name) => (format!("{:.2}", other(name)), format!("(of {name})")),
        Limit::Times(most, name) => (
            format!("{:.2}", other(name)),
            format!("{most:.2} of {name}"),
        ),
    };
    format!(
        "{:<34}{now:>12.1}{before:>10}{ratio:>10}  {limit}",
        scenario.name
    )
}

fn above_limit(scenario: &Scenario, now: f64, counts: &Counts) -> Option<String> {
    let most = match scenario.limit {
        Limit::Alone | Limit::Beside(_) => return None,
        Limit::Beyond(most, name) => most + counts.get(name)?,
        Limit::Times(times, name) => times * counts.get(name)?,
    };
    let name = scenario.name;
    (now > most).then(|| format!("{name}: {now:.1} instructions, at most {most:.1} are allowed"))
}

fn differs(scenario: &Scenario, now: f64, before: Option<f64>) -> Option<String> {
    let name = scenario.name;
    let Some(before) = before else {
        return Some(format!(
            "{name}: not in the baseline; write it with --write"
        ));
    };
    let change = now / before - 1.0;
    (change.abs() > TOLERANCE).then(|| {
        format!(
            "{name}: {now:.1} instructions, {:+.1} % of the baseline's {before:.1}; \
             if that is meant, write a new baseline with --write",
            change * 100.0
        )
    })
}

/// Runs this program under callgrind, which counts in `counted_rounds` alone.
fn counted(scenario: &Scenario) -> Result<f64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*counted_rounds*")
        .arg(env::current_exe()?)
        .args(["count", scenario.name, &scenario.rounds.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match collected {
        Some(instructions) if output.status.success() && instructions > 0.0 => {
            let instructions: f64 = instructions;
            Ok(instructions / f64::from(scenario.rounds))
        }
        _ => Err(format!("{}: callgrind counted nothing:\n{said}", scenario.name).into()),
    }
}

/// The compiler's version and the target, on which the counts depend.
fn compiler() -> Result<String, Failure> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    match (text.lines().next(), line("host: ")) {
        (Some(version), Some(host)) => Ok(format!("{version} on {host}")),
        _ => Err("rustc does not tell its version".into()),
    }
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

/// The committed counts.
#[derive(Debug, Default, PartialEq)]
struct Baseline {
    compiler: String,
    counts: Counts,
}

impl Baseline {
    fn read(path: &Path) -> Result<Self, Failure> {
        if path.exists() {
            Self::parse(&fs::read_to_string(path)?)
        } else {
            Ok(Self::default())
        }
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let mut baseline = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(compiler) = line.strip_prefix("compiler ") {
                compiler.clone_into(&mut baseline.compiler);
            } else if let Some((name, count)) = line.rsplit_once(' ') {
                let count = count.parse()?;
                baseline.counts.insert(name.trim().to_owned(), count);
            }
        }
        Ok(baseline)
    }

    fn text(&self) -> Result<String, Failure> {
        let mut text = String::from(
            "# Instructions of one round of each scenario, counted by callgrind.\n\
             # Compared, and written with --write, by: .ci/instructions\n",
        );
        writeln!(text, "compiler {}", self.compiler)?;
        for (name, count) in &self.counts {
            writeln!(text, "{name:<36} {count:.1}")?;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let baseline = Baseline {
            compiler: "rustc 1.0.0 on some-host".to_owned(),
            counts: [("a/b".to_owned(), 12.5), ("c".to_owned(), 3.0)].into(),
        };
        let text = baseline.text().unwrap();
        assert_eq!(Baseline::parse(&text).unwrap(), baseline);
    }

    #[test]
    fn more_and_less_than_the_tolerance_is_told() {
        let scenario = &SCENARIOS[0];
        assert!(differs(scenario, 104.0, Some(100.0)).is_none());
        assert!(differs(scenario, 106.0, Some(100.0)).is_some());
        assert!(differs(scenario, 94.0, Some(100.0)).is_some());
        assert!(differs(scenario, 94.0, None).is_some());
    }

    #[test]
    fn a_limit_may_be_reached_and_not_exceeded() {
        let counts = [("receive/10", 100.0), ("relay/place", 50.0)];
        let counts: Counts = counts.map(|(name, count)| (name.to_owned(), count)).into();
        let find = |name| SCENARIOS.iter().find(|scenario| scenario.name == name);
        let relay = find("relay/windows").unwrap();
        assert!(above_limit(relay, 750.0, &counts).is_none());
        assert!(above_limit(relay, 750.1, &counts).is_some());
        let random = find("receive/100000/random").unwrap();
        assert!(above_limit(random, 150.0, &counts).is_none());
        assert!(above_limit(random, 150.1, &counts).is_some());
    }
}
