//! Tunnels in simulated worlds; see `grpctunnel_tests::simulation`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use grpctunnel_tests::simulation::{Script, minimise, play};

/// Worlds that are played each time. `--bin simulation` plays more.
const SEEDS: u64 = 2_000;

#[test]
fn two_thousand_worlds_break_no_rule() {
    let next = AtomicU64::new(0);
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return;
            }
            if let Some(minimal) = minimise(&Script::new(seed)) {
                panic!("seed {seed}: {minimal}");
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
}

#[test]
fn a_world_is_the_same_each_time() {
    for seed in 0..20 {
        assert_eq!(Script::new(seed).ops, Script::new(seed).ops);
        assert_eq!(play(&Script::new(seed)), play(&Script::new(seed)));
    }
}
