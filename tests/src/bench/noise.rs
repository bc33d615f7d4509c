//! What the processes of a launch use of the CPUs, and what others do meanwhile.

use std::fs;
use std::time::Instant;

/// Ticks of the kernel's counts in a second, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// CPU time that was used up to a moment.
#[derive(Debug)]
pub(super) struct Usage {
    at: Instant,
    /// By all processes, in ticks.
    all: f64,
    /// By those of the launch.
    own: f64,
}

impl Usage {
    /// Up to now. `own`: the processes of the launch.
    pub(super) fn now(own: &[u32]) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let numbers: Vec<f64> = first
            .split_whitespace()
            .skip(1)
            .filter_map(number)
            .collect();
        // user, nice, system, then idle and waiting, then interrupts and what the host took.
        let all = numbers.iter().take(8).sum::<f64>() - numbers.iter().skip(3).take(2).sum::<f64>();
        Self {
            at: Instant::now(),
            all,
            own: own.iter().map(|id| of_process(*id)).sum(),
        }
    }

    /// CPUs that other processes took since.
    pub(super) fn others_since(&self, before: &Self) -> f64 {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let ticks = (self.all - before.all) - (self.own - before.own);
        (ticks / TICKS / seconds.max(0.01)).max(0.0)
    }
}

/// Seconds of CPU time that a process has used with all its threads.
pub(super) fn cpu_time(id: Option<u32>) -> f64 {
    let Some(id) = id else { return 0.0 };
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else {
        return 0.0;
    };
    tasks
        .filter_map(|task| {
            let stat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            number(stat.split_whitespace().next()?)
        })
        .sum::<f64>()
        / 1e9
}

/// The ticks of a process with all its threads.
fn of_process(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(number)
        .sum()
}

fn number(word: &str) -> Option<f64> {
    word.parse().ok()
}
