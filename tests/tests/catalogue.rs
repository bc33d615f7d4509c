//! The catalogue is complete and accurate, and its list of gaps only gets shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use grpctunnel_tests::catalogue::{ATTACKS, Layer, ROWS, Role, Row, State};

/// The rows that nothing holds in a layer yet. A row leaves this list with its test; none enters.
const PENDING_AT_MOST: &[(u16, Layer)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust sources below a directory.
fn sources(below: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(below)? {
        let path = entry?.path();
        let is_output = path.file_name().is_some_and(|name| name == "target");
        if path.is_dir() && !is_output {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The tests that are named after a row, with the layer that they are in.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn tests() -> BTreeMap<String, Layer> {
    let mut files = Vec::new();
    for below in ["tests/tests", "adapters"] {
        sources(&root().join(below), &mut files).unwrap();
    }
    let mut tests = BTreeMap::new();
    for file in files {
        let is_core = file
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("conf_");
        let layer = if is_core { Layer::Core } else { Layer::Adapter };
        let text = fs::read_to_string(&file).unwrap();
        for rest in text.split("fn conf_").skip(1) {
            let name: String = rest
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect();
            // Such as the one that this line looks for.
            if name.starts_with(|first: char| first.is_ascii_digit()) {
                tests.insert(format!("conf_{name}"), layer);
            }
        }
    }
    tests
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn number_of(test: &str) -> u16 {
    let digits = test.strip_prefix("conf_").and_then(|rest| rest.get(..3));
    digits.and_then(|digits| digits.parse().ok()).unwrap()
}

fn pending() -> Vec<(u16, Layer)> {
    let of = |row: &Row| {
        let number = row.number;
        row.layers()
            .filter(|(_, state)| matches!(state, State::Pending(_)))
            .map(move |(layer, _)| (number, layer))
            .collect::<Vec<_>>()
    };
    ROWS.iter().flat_map(of).collect()
}

#[test]
fn every_row_is_there_once() {
    let numbers: Vec<u16> = ROWS.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=189).collect::<Vec<u16>>());
    let homeless = ROWS.iter().find(|row| row.layers().next().is_none());
    assert!(homeless.is_none(), "{homeless:?}");
}

#[test]
fn every_test_that_a_row_names_exists() {
    let tests = tests();
    for row in ROWS {
        for (layer, state) in row.layers() {
            let State::Tested(names) = state else {
                continue;
            };
            assert!(!names.is_empty(), "row {}: tested by nothing", row.number);
            for name in names {
                assert_eq!(number_of(name), row.number, "{name}");
                assert_eq!(tests.get(*name), Some(&layer), "row {}: {name}", row.number);
            }
        }
    }
}

#[test]
fn a_row_of_both_ends_has_a_test_for_each() {
    for row in ROWS.iter().filter(|row| row.role == Role::Both) {
        if let Some(State::Tested(names)) = row.core {
            for end in ["_server", "_client"] {
                let found = names.iter().any(|name| name.ends_with(end));
                assert!(found, "row {}: nothing that ends in {end}", row.number);
            }
        }
    }
}

#[test]
fn every_test_is_where_its_row_says() {
    let mut wrong = Vec::new();
    for (test, layer) in tests() {
        let row = ROWS.iter().find(|row| row.number == number_of(&test));
        let state = row.and_then(|row| match layer {
            Layer::Core => row.core,
            Layer::Adapter => row.adapter,
        });
        match (state, layer) {
            (Some(State::Tested(names)), Layer::Core) if !names.contains(&test.as_str()) => {
                wrong.push(format!("{test}: its row does not name it"));
            }
            (Some(State::Pending(_)), _) => wrong.push(format!("{test}: its row is pending")),
            (None, Layer::Core) => wrong.push(format!("{test}: its row is not the core's")),
            // A row of the core may be looked at through an adapter as well, and one of the
            // adapters more than once.
            _ => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "to be set right in tests/src/catalogue/rows.rs, and in the list of gaps here: {wrong:#?}"
    );
}

#[test]
fn the_list_of_gaps_only_becomes_shorter() {
    assert_eq!(
        pending(),
        PENDING_AT_MOST,
        "left: the gaps; right: the list of them, to which none may be added"
    );
}

/// The numbers of the attacks that a test below a directory is named after.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn attacks_tested(below: &str) -> BTreeSet<u16> {
    let mut files = Vec::new();
    sources(&root().join(below), &mut files).unwrap();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let numbers = |text: String| -> Vec<u16> {
        let tests = text.split("fn attack_a").skip(1);
        let digits = tests.filter_map(|rest| rest.get(..2)?.parse().ok());
        digits.collect()
    };
    texts.flat_map(numbers).collect()
}

#[test]
fn every_attack_has_a_test_in_its_layer() {
    let numbers: Vec<u16> = ATTACKS.iter().map(|attack| attack.number).collect();
    assert_eq!(numbers, (1..=32).collect::<Vec<u16>>());
    let on = |layer| {
        let attacks = ATTACKS.iter().filter(move |attack| attack.layer == layer);
        attacks.map(|attack| attack.number)
    };
    assert_eq!(
        attacks_tested("tests/tests"),
        on(Layer::Core).collect(),
        "left: the attacks that a test is named after; right: those on the core"
    );
    // Some of those on the core are held by an adapter too.
    let tested = attacks_tested("adapters");
    let untested: Vec<u16> = on(Layer::Adapter)
        .filter(|number| !tested.contains(number))
        .collect();
    assert_eq!(untested, [0; 0], "attacks on the adapters without a test");
}
