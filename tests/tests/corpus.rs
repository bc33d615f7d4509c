//! Every committed input of every fuzz target, without a fuzzer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;

use grpctunnel_tests::campaign::{self, Failure, MOST_IDLE, Numbers};
use grpctunnel_tests::harness::targets::{TARGETS, Target, reached_limits};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Files and what they hold.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn committed(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(fuzz().join("seeds").join(name)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// A limit of the committed corpora, where the command that keeps to it finds it.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn most(what: &str) -> usize {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let mut values = manifest.lines().filter_map(|line| line.strip_prefix(what));
    values
        .next()
        .unwrap()
        .trim_start_matches(" = ")
        .parse()
        .unwrap()
}

/// Runs a target on its inputs, each of which must hold.
fn replay(target: &Target) {
    let name = target.name;
    let mut steps = 0;
    for (path, input) in committed(name) {
        let run = AssertUnwindSafe(|| (target.run)(&input));
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let taken = catch_unwind(run);
        assert!(
            taken.is_ok(),
            "fuzz/seeds/{name}/{file} fails; what it does: cargo run -p grpctunnel-tests \
             --bin campaign -- --target {name} --replay fuzz/seeds/{name}/{file}"
        );
        steps += taken.ok().flatten().unwrap_or(0);
    }
    assert!(steps > 0, "{name}: no committed input takes a step");
}

#[test]
fn committed_inputs_hold_for_every_target() {
    thread::scope(|scope| {
        let started = TARGETS
            .iter()
            .map(|target| (target.name, scope.spawn(|| replay(target))));
        // All of them run before the first is waited for.
        let replays: Vec<_> = started.collect();
        for (name, replay) in replays {
            assert!(replay.join().is_ok(), "{name}: see above");
        }
    });
}

#[test]
fn what_is_committed_keeps_within_its_limits() {
    for Target { name, .. } in TARGETS {
        let inputs = committed(name);
        let files = inputs.len();
        let bytes: usize = inputs.iter().map(|(_, input)| input.len()).sum();
        assert!(
            files <= most("most-files") && bytes <= most("most-bytes"),
            "{name}: {files} files of {bytes} bytes; run `fuzz/campaign minimise {name}`"
        );
    }
}

#[test]
fn some_inputs_of_a_seed_hold_for_every_target() {
    for target in TARGETS {
        let found = campaign::run(target, 1, 2_000);
        assert_eq!(found.failure, None, "{}", target.name);
    }
}

/// Instead of looping for ever.
#[test]
fn a_target_that_takes_no_steps_fails() {
    let rejecting = Target {
        name: "idle",
        operations: true,
        run: |_| None,
        show: |_| String::new(),
    };
    let idle = Target {
        run: |_| Some(0),
        ..rejecting
    };
    for target in [rejecting, idle] {
        let found = campaign::run(&target, 1, 1);
        assert_eq!(found.failure, Some(Failure::NoSteps));
        assert_eq!((found.inputs, found.steps), (MOST_IDLE, 0));
    }
}

/// Memory that is held while windows are grown is judged only where they do.
#[test]
fn inputs_of_limits_make_windows_grow_at_both_ends() {
    let committed = committed("limits").into_iter().map(|(_, input)| input);
    let mut numbers = Numbers::new(1);
    let seeded: Vec<Vec<u8>> = (0..300).map(|_| numbers.input()).collect();
    for inputs in [committed.collect(), seeded] {
        let reached = inputs.iter().filter_map(|input| reached_limits(input));
        let grown = reached.fold([0; 2], |[server, client], reached| {
            let [by_server, by_client] = reached.grown;
            [by_server.max(server), by_client.max(client)]
        });
        assert!(grown.iter().all(|bytes| *bytes > 0), "{grown:?}");
    }
}
