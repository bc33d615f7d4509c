//! A fuzz target is added in three places. A failing test names the missing one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use grpctunnel_tests::harness::targets::TARGETS;

/// Where targets are named.
#[derive(Clone, Debug)]
struct Named {
    /// In `TARGETS`.
    known: BTreeSet<String>,
    /// Files in `fuzz/fuzz_targets`, and those of them that run the target of their name.
    files: BTreeSet<String>,
    running: BTreeSet<String>,
    /// `[[bin]]` in `fuzz/Cargo.toml`.
    programs: BTreeSet<String>,
    /// Directories in `fuzz/seeds` with an input at least.
    seeded: BTreeSet<String>,
}

/// One of the places where targets are named.
type Place = fn(&mut Named) -> &mut BTreeSet<String>;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn names(below: &Path, counts: impl Fn(&Path, &str) -> bool) -> BTreeSet<String> {
    let paths = fs::read_dir(below)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let named = paths.filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        counts(&path, &name).then_some(name)
    });
    named.collect()
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn named() -> Named {
    let files = fuzz().join("fuzz_targets");
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let programs = manifest.split("[[bin]]\n").skip(1).filter_map(|table| {
        let value = |key: &str| {
            let line = table.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_matches('"').to_owned())
        };
        let name = value("name = ")?;
        (value("path = ")? == format!("fuzz_targets/{name}.rs")).then_some(name)
    });
    Named {
        known: TARGETS
            .iter()
            .map(|target| target.name.to_owned())
            .collect(),
        files: names(&files, |_, _| true),
        running: names(&files, |path, name| {
            let text = fs::read_to_string(path).unwrap();
            text.contains(&format!("targets::{name}("))
        }),
        programs: programs.collect(),
        seeded: names(&fuzz().join("seeds"), |path, _| {
            fs::read_dir(path).is_ok_and(|mut inputs| inputs.next().is_some())
        }),
    }
}

impl Named {
    /// What is to be done for each target, in words.
    fn missing(&self) -> Vec<String> {
        let all: BTreeSet<&String> = [&self.known, &self.files, &self.programs, &self.seeded]
            .into_iter()
            .flatten()
            .collect();
        let mut missing = Vec::new();
        for name in all {
            let mut need = |there: &BTreeSet<String>, edit: String| {
                if !there.contains(name) {
                    missing.push(format!("target `{name}`: {edit}"));
                }
            };
            need(
                &self.known,
                "add it to `TARGETS` in tests/src/harness/targets.rs".to_owned(),
            );
            need(
                &self.running,
                format!("let fuzz/fuzz_targets/{name}.rs run `targets::{name}`"),
            );
            need(
                &self.programs,
                format!("add a `[[bin]]` with the path fuzz_targets/{name}.rs to fuzz/Cargo.toml"),
            );
            need(
                &self.seeded,
                format!(
                    "run `fuzz/campaign run {name} 60 && fuzz/campaign minimise {name}`, and commit fuzz/seeds/{name}"
                ),
            );
        }
        missing
    }
}

#[test]
fn every_target_is_whole() {
    let missing = named().missing();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn each_missing_edit_is_named() {
    let whole = named();
    let edits: [(Place, &str); 4] = [
        (|it| &mut it.known, "tests/src/harness/targets.rs"),
        (|it| &mut it.running, "fuzz/fuzz_targets/pair.rs"),
        (|it| &mut it.programs, "fuzz/Cargo.toml"),
        (|it| &mut it.seeded, "fuzz/campaign minimise pair"),
    ];
    for (place, told) in edits {
        let mut without = whole.clone();
        assert!(place(&mut without).remove("pair"));
        let missing = without.missing();
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(
            missing[0].contains("`pair`") && missing[0].contains(told),
            "{missing:?}"
        );
    }
}
