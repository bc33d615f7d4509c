//! Which rows are played, and why the others are not.

use std::collections::BTreeSet;

use grpctunnel_tests::catalogue::{ROWS, Role, Section};

use crate::{client_rows, server_rows};

const CALLER: &str = "what an application of ours does, which no peer can make it do";
const HONEST: &str = "the peer does nothing but wait for less than it might get: nothing ends";
const ACCEPTED: &str =
    "a tunnel that is not settled has no call here; the adapters' tests look into it";
const REVERSE: &str = "neither program opens a reverse tunnel";

/// The rows that a peer cannot play over a connection to one of the two programs.
const NOT_PLAYED: &[(u16, Role, &str)] = &[
    (9, Role::Server, REVERSE),
    (19, Role::Client, ACCEPTED),
    (20, Role::Client, ACCEPTED),
    (29, Role::Client, CALLER),
    (100, Role::Server, HONEST),
    (
        132,
        Role::Server,
        "every handler of the program reads its request to the end before it answers OK",
    ),
    (
        147,
        Role::Server,
        "no handler of the program outlives its deadline",
    ),
    (
        151,
        Role::Server,
        "the program waits 10 s, which is no option of it; the adapters' test has a clock",
    ),
    (
        154,
        Role::Client,
        "a client opens the streams of one tunnel in one revision",
    ),
    (170, Role::Server, REVERSE),
    (171, Role::Server, REVERSE),
    (172, Role::Server, REVERSE),
    (173, Role::Client, CALLER),
    (
        176,
        Role::Client,
        "the probe makes its calls on a carrier that it has just opened, too few to fill it",
    ),
];

/// The rows of a name in a table: `play_036_server_...`.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn row_of(name: &str) -> (u16, &'static str) {
    let rest = name.strip_prefix("play_").unwrap();
    let (digits, rest) = rest.split_once('_').unwrap();
    let (end, what) = rest.split_once('_').unwrap();
    assert!(digits.len() == 3 && !what.is_empty(), "{name}");
    let end = ["server", "client"].into_iter().find(|known| *known == end);
    (digits.parse().unwrap(), end.unwrap())
}

fn ends(role: Role) -> &'static [&'static str] {
    match role {
        Role::Server => &["server"],
        Role::Client => &["client"],
        Role::Both => &["server", "client"],
        // No peer plays what both ends are made of.
        Role::Adapter => &[],
    }
}

#[test]
fn every_row_is_played_or_has_a_reason() {
    let server = server_rows::plays().into_iter().map(|play| play.name);
    let cases = client_rows::cases().into_iter();
    let client = cases
        .chain(client_rows::unanswered())
        .chain(client_rows::silent())
        .map(|case| case.name);
    let names: Vec<&str> = server.chain(client).collect();
    let different: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(different.len(), names.len(), "a name is there twice");

    let played: BTreeSet<_> = names.into_iter().map(row_of).collect();
    let excused = NOT_PLAYED.iter().flat_map(|(row, role, _)| {
        let ends = ends(*role).iter();
        ends.map(|end| (*row, *end))
    });
    let excused: BTreeSet<_> = excused.collect();
    let both: Vec<_> = played.intersection(&excused).collect();
    assert!(both.is_empty(), "played, and excused: {both:?}");

    let rows = ROWS.iter().filter(|row| row.section != Section::Misuse);
    let expected = rows.flat_map(|row| ends(row.role).iter().map(|end| (row.number, *end)));
    let found: BTreeSet<_> = played.union(&excused).copied().collect();
    assert_eq!(found, expected.collect());
}
