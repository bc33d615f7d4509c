//! The core's frame codec against prost, over frames as peers might write them.

use crate::wire_frames::{Field, client_frame, encode, mutated, server_frame};
use grpctunnel_proto::v1::ServerToClient;
use grpctunnel_proto::v1::server_to_client::Frame;
use grpctunnel_tests::harness::wire::{MAX_GROUPS, Outcome, check_client, check_server};
use proptest::prelude::*;
use prost::Message;

const CASES: u32 = 3_000;

fn agree(outcome: Result<Outcome, impl std::fmt::Display>) -> Result<Outcome, TestCaseError> {
    outcome.map_err(|difference| TestCaseError::fail(difference.to_string()))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..48)) {
        agree(check_client(&bytes))?;
        agree(check_server(&bytes))?;
    }

    #[test]
    fn well_formed_client_frames(frame in client_frame()) {
        let outcome = agree(check_client(&encode(&frame)))?;
        prop_assert_ne!(outcome, Outcome::Undecodable);
    }

    #[test]
    fn well_formed_server_frames(frame in server_frame()) {
        let outcome = agree(check_server(&encode(&frame)))?;
        prop_assert_ne!(outcome, Outcome::Undecodable);
    }

    #[test]
    fn damaged_client_frames(bytes in mutated(client_frame())) {
        agree(check_client(&bytes))?;
    }

    #[test]
    fn damaged_server_frames(bytes in mutated(server_frame())) {
        agree(check_server(&bytes))?;
    }
}

#[expect(clippy::unwrap_used, reason = "a difference fails the test")]
fn client(fields: &[Field]) -> Outcome {
    check_client(&encode(fields)).unwrap()
}

#[expect(clippy::unwrap_used, reason = "a difference fails the test")]
fn server(fields: &[Field]) -> Outcome {
    check_server(&encode(fields)).unwrap()
}

fn nested_groups(depth: usize) -> Field {
    (1..depth).fold(Field::group(99, vec![]), |inner, _| {
        Field::group(99, vec![inner])
    })
}

#[test]
fn groups_may_nest_up_to_the_limit() {
    assert_eq!(client(&[nested_groups(MAX_GROUPS)]), Outcome::Same);
    assert_eq!(client(&[nested_groups(MAX_GROUPS + 1)]), Outcome::TooDeep);
    // In a known message as well, and where a known field is a group by mistake.
    let in_message = |depth| Field::message(2, vec![nested_groups(depth)]);
    assert_eq!(server(&[in_message(MAX_GROUPS)]), Outcome::Same);
    assert_eq!(server(&[in_message(MAX_GROUPS + 1)]), Outcome::TooDeep);
    let by_mistake = |depth| Field::group(2, vec![nested_groups(depth)]);
    assert_eq!(client(&[by_mistake(MAX_GROUPS - 1)]), Outcome::Same);
    assert_eq!(client(&[by_mistake(MAX_GROUPS)]), Outcome::TooDeep);
}

#[test]
fn each_string_that_is_not_utf8_is_complained_about() {
    let bad = |number| Field::bytes(number, b"\xff");
    let entry = |field| Field::message(1, vec![field]);
    for metadata in [entry(bad(1)), entry(Field::message(2, vec![bad(1)]))] {
        let request = Field::message(2, vec![Field::message(2, vec![metadata.clone()])]);
        assert_eq!(client(&[request]), Outcome::NotUtf8);
        let headers = Field::message(2, vec![metadata.clone()]);
        assert_eq!(server(&[headers]), Outcome::NotUtf8);
        let trailers = Field::message(5, vec![Field::message(1, vec![metadata])]);
        assert_eq!(server(&[trailers]), Outcome::NotUtf8);
    }
    assert_eq!(client(&[Field::message(2, vec![bad(1)])]), Outcome::NotUtf8);
    let status = |field| Field::message(5, vec![Field::message(2, vec![field])]);
    assert_eq!(server(&[status(bad(2))]), Outcome::NotUtf8);
    let detail = Field::message(3, vec![bad(1)]);
    assert_eq!(server(&[status(detail)]), Outcome::NotUtf8);
    // Bytes need not be UTF-8.
    let raw = Field::message(2, vec![bad(100)]);
    let headers = Field::message(2, vec![entry(raw)]);
    assert_eq!(server(&[headers]), Outcome::Same);
    assert_eq!(client(&[bad(4)]), Outcome::Same);
}

#[test]
fn a_member_that_another_one_replaced_is_not_complained_about() {
    let new_stream = Field::message(2, vec![Field::bytes(1, b"\xff")]);
    let half_close = Field::message(5, vec![]);
    assert_eq!(
        client(&[new_stream.clone(), half_close.clone()]),
        Outcome::Same
    );
    assert_eq!(client(&[half_close, new_stream]), Outcome::NotUtf8);
}

#[test]
fn malformed_content_is_undecodable_wherever_it_is() {
    // A field number and a length with nothing behind it.
    let cut = Field::bytes_of(&[0x0a, 5]);
    let inside = |numbers: &[u32]| {
        let nest = |inner, number: &u32| Field::message(*number, vec![inner]);
        numbers.iter().rev().fold(cut.clone(), nest)
    };
    for path in [
        &[][..],
        &[2],
        &[2, 2],
        &[2, 2, 1],
        &[2, 2, 1, 2],
        &[3],
        &[5],
        &[6],
        &[100],
        &[101],
        &[102],
    ] {
        assert_eq!(client(&[inside(path)]), Outcome::Undecodable, "{path:?}");
    }
    for path in [
        &[][..],
        &[2],
        &[2, 1],
        &[2, 1, 2],
        &[3],
        &[5],
        &[5, 1, 1],
        &[5, 2],
        &[5, 2, 3],
        &[6],
        &[6, 1],
        &[6, 100],
        &[100],
        &[101],
        &[102],
    ] {
        let tail = match path {
            // Packed numbers, of which the last one does not end.
            [6, number] => Field::message(6, vec![Field::bytes(*number, &[1, 0x80])]),
            _ => inside(path),
        };
        assert_eq!(server(&[tail]), Outcome::Undecodable, "{path:?}");
    }
    // What nobody knows is not looked into.
    assert_eq!(client(&[inside(&[50])]), Outcome::Same);
    assert_eq!(client(&[inside(&[4])]), Outcome::Same);
}

#[test]
fn an_entry_of_a_map_is_skipped_when_its_wire_type_is_wrong() {
    // prost takes the number for a length, and what follows for an entry with a key.
    let headers = |bytes: &[u8]| [Field::message(2, vec![Field::bytes_of(bytes)])];
    let empty_key = headers(&[0x08, 4, 0x0a, 2, 0x0a, 0]);
    assert_eq!(server(&empty_key), Outcome::Same);
    let cut_entry = headers(&[0x08, 3, 0x0a, 1, 0x08]);
    assert_eq!(server(&cut_entry), Outcome::Undecodable);
    for misread in [empty_key, cut_entry] {
        let decoded = ServerToClient::decode(&encode(&misread)[..]).unwrap();
        let Some(Frame::ResponseHeaders(headers)) = decoded.frame else {
            panic!("{decoded:?}");
        };
        assert!(!headers.md.contains_key(""), "prost reads it right");
    }
}
