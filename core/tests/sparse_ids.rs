//! Stream ids that are far apart reach their own streams, whatever the width of a pointer.

mod common;

use common::{bytes, cat, number};
use grpctunnel_core::wire::Revision;
use grpctunnel_core::*;

type Store = Fixed<4, 4>;

/// As far apart as ids can be that differ by more than any 32-bit pointer can count, in an order
/// in which clients may use them.
const IDS: [i64; 4] = [0, 1 << 33, (1 << 33) + 1, i64::MAX];

fn frame(id: i64, field: u64, content: &[u8]) -> Vec<u8> {
    // Zero is the default value of a stream id, and left out.
    let id = match id {
        0 => Vec::new(),
        id => number(1, id as u64),
    };
    cat(&[&id, &bytes(field, content)])
}

fn new_stream(id: i64) -> Vec<u8> {
    let window = number(3, 65_536);
    let revision = number(4, Revision::One as u64);
    frame(id, 2, &cat(&[&bytes(1, b"s/m"), &window, &revision]))
}

/// A whole message of one byte.
fn message(id: i64) -> Vec<u8> {
    frame(id, 3, &cat(&[&number(1, 1), &bytes(2, b"x")]))
}

fn cancel(id: i64) -> Vec<u8> {
    frame(id, 6, &[])
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn server() -> TunnelServer<Store> {
    let opening = Opening::Accepted(Negotiation::On);
    TunnelServer::new(Time::ZERO, Config::default(), opening).unwrap()
}

#[expect(clippy::panic, reason = "a helper of tests states what must hold")]
fn open(server: &mut TunnelServer<Store>, id: i64) -> Key {
    let frame = new_stream(id);
    let input = server.handle_frame(Time::ZERO, &frame);
    let Ok(Input::Opened { stream, .. }) = input else {
        panic!("new_stream of {id}: {input:?}");
    };
    stream
}

#[expect(clippy::panic, reason = "a helper of tests states what must hold")]
fn assert_reaches(server: &mut TunnelServer<Store>, id: i64, expected: Key) {
    let frame = message(id);
    let input = server.handle_frame(Time::ZERO, &frame);
    let Ok(Input::Data { stream, .. }) = input else {
        panic!("a message of {id}: {input:?}");
    };
    assert_eq!(stream, expected, "{id}");
}

#[test]
fn frames_of_ids_far_apart_reach_their_own_streams() {
    let mut server = server();
    let keys = IDS.map(|id| open(&mut server, id));
    for (id, key) in IDS.into_iter().zip(keys) {
        assert_reaches(&mut server, id, key);
    }
}

#[test]
fn late_frames_of_an_ended_stream_reach_no_stream_that_took_its_place() {
    let mut server = server();
    open(&mut server, IDS[0]);
    let ended = open(&mut server, IDS[1]);
    let frame = cancel(IDS[1]);
    let input = server.handle_frame(Time::ZERO, &frame);
    assert!(matches!(input, Ok(Input::Ended { .. })), "{input:?}");
    assert_eq!(server.release(ended), Ok(()));
    while server.poll_event().is_some() || server.poll_transmit(Time::ZERO).is_some() {}
    assert_eq!(server.streams(), 1);

    let successor = open(&mut server, IDS[2]);
    assert_eq!(successor.index(), ended.index());
    let frame = message(IDS[1]);
    let late = server.handle_frame(Time::ZERO, &frame);
    assert!(matches!(late, Ok(Input::Ignored)), "{late:?}");
    assert_reaches(&mut server, IDS[2], successor);
}
