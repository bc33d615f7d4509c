//! A CPU for each process.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Runs `start` on the CPU of this index, which what it starts inherits. Where there is only one
/// CPU, nothing is pinned; the table says so.
pub(super) fn on_cpu<T>(index: usize, start: impl FnOnce() -> T) -> T {
    let all = sched_getaffinity(None).ok().filter(|_| enough());
    if let Some(cpu) = cpus().get(index).filter(|_| all.is_some()) {
        let mut set = CpuSet::new();
        set.set(*cpu);
        if let Err(error) = sched_setaffinity(None, &set) {
            eprintln!("not pinned to CPU {cpu}: {error}");
        }
    }
    let started = start();
    if let Some(all) = all
        && let Err(error) = sched_setaffinity(None, &all)
    {
        eprintln!("still on one CPU: {error}");
    }
    started
}

/// Whether there is a CPU for each process.
pub(super) fn enough() -> bool {
    cpus().len() > 1
}

/// The CPUs that this process may use.
fn cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}
