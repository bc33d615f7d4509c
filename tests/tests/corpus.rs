//! Every committed input of every fuzz target, without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use grpctunnel_tests::campaign::{self, Numbers};
use grpctunnel_tests::harness::targets::{TARGETS, reached_limits, target};

/// Inputs of a target, and their bytes: enough to begin from, few enough to be committed.
const MOST_FILES: usize = 120;
const MOST_BYTES: usize = 200 * 1024;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn names(below: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(below).unwrap();
    let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.unwrap().path())).collect()
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn replay(name: &str) {
    let target = target(name).unwrap();
    let mut bytes = 0;
    let mut files = 0;
    let mut inputs = 0;
    for entry in fs::read_dir(fuzz().join("corpus").join(name)).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        bytes += input.len();
        inputs += usize::from((target.run)(&input).is_some());
    }
    assert!(inputs > 0, "{name} has no corpus");
    assert!(files <= MOST_FILES, "{name}: {files} files");
    assert!(bytes <= MOST_BYTES, "{name}: {bytes} bytes");
}

macro_rules! replayed {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_has_a_program_a_corpus_and_a_test() {
            let here: BTreeSet<String> = [$(stringify!($target)),*].map(str::to_owned).into();
            let known = TARGETS.iter().map(|target| target.name.to_owned()).collect();
            assert_eq!(here, known);
            assert_eq!(names(&fuzz().join("fuzz_targets")), known);
            assert_eq!(names(&fuzz().join("corpus")), known);
        }
    };
}

replayed! {
    client_input framer isolation limits pair server_input session wire_decode wire_roundtrip
}

#[test]
fn some_inputs_of_a_seed_hold_for_every_target() {
    for target in TARGETS {
        let found = campaign::run(target, 1, 2_000);
        assert_eq!(found.failure, None, "{}", target.name);
    }
}

/// Memory that is held while windows are grown is judged only where they do.
#[test]
fn inputs_of_limits_make_windows_grow_at_both_ends() {
    let corpus = fs::read_dir(fuzz().join("corpus/limits")).unwrap();
    let committed: Vec<Vec<u8>> = corpus
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let mut numbers = Numbers::new(1);
    let seeded: Vec<Vec<u8>> = (0..300).map(|_| numbers.input()).collect();
    for inputs in [committed, seeded] {
        let reached = inputs.iter().filter_map(|input| reached_limits(input));
        let grown = reached.fold([0; 2], |[server, client], reached| {
            let [by_server, by_client] = reached.grown;
            [by_server.max(server), by_client.max(client)]
        });
        assert!(grown.iter().all(|bytes| *bytes > 0), "{grown:?}");
    }
}
