//! A CPU for each process.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::args::Role;

/// Keeps this thread on a CPU that the other process of the launch leaves alone. Where there is only
/// one, nothing is pinned; the table says so.
pub(super) fn pin(role: &Role) {
    let index = match role {
        Role::Caller(_) => 0,
        Role::Callee(_) => 1,
    };
    if let Some(cpu) = cpus().get(index).filter(|_| enough()) {
        let mut set = CpuSet::new();
        set.set(*cpu);
        if let Err(error) = sched_setaffinity(None, &set) {
            eprintln!("not pinned to CPU {cpu}: {error}");
        }
    }
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
