//! The table of properties is whole, and what it names exists.

use std::fs;
use std::path::{Path, PathBuf};

use grpctunnel_tests::catalogue::{Holder, PROPERTIES};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn texts(below: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            self::texts(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_property_of_the_core_is_there_once() {
    let numbers: Vec<u8> = PROPERTIES.iter().map(|property| property.number).collect();
    let expected: Vec<u8> = (1..=18).filter(|number| *number != 14).collect();
    assert_eq!(numbers, expected);
    let open = PROPERTIES
        .iter()
        .filter(|property| property.held_by.is_empty());
    let open: Vec<u8> = open.map(|property| property.number).collect();
    assert!(open.is_empty(), "nothing holds {open:?}");
}

#[test]
fn what_holds_a_property_exists() {
    let mut sources = Vec::new();
    for below in ["core/src", "core/tests", "tests/tests"] {
        texts(&root().join(below), &mut sources);
    }
    let counts = fs::read_to_string(root().join("tests/instructions.txt")).unwrap();
    let counted: Vec<&str> = counts
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for property in PROPERTIES {
        for holder in property.held_by {
            let there = match holder {
                Holder::Target(name) => root()
                    .join("fuzz/fuzz_targets")
                    .join(format!("{name}.rs"))
                    .is_file(),
                Holder::Counted(name) => counted.contains(name),
                Holder::Test(name) => {
                    // Generic over the memory, or not.
                    let starts = [format!("fn {name}("), format!("fn {name}<")];
                    sources
                        .iter()
                        .any(|text| starts.iter().any(|start| text.contains(start)))
                }
            };
            assert!(there, "{}: {holder:?} is not there", property.number);
        }
    }
}
