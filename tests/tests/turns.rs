//! Streams take turns of 16 KiB, and a frame is cut for its turn's sake only where that is worth it.

use grpctunnel_core::wire::Encoded;
use grpctunnel_core::{
    Body, Config, Envelope, Growing, Key, Negotiation, OpenError, OpenOptions, Opening, Time,
    TunnelClient,
};
use grpctunnel_tests::harness::frames::set;

/// A client of a peer with windows that hold everything back that is not a turn.
fn client() -> TunnelClient<Growing> {
    let opening = Opening::Accepted(Negotiation::On);
    let mut client = grpctunnel_tests::harness::tunnel(Time::ZERO, Config::default(), opening);
    let settings = set(-1, 1 << 20, &[0, 1]);
    assert!(client.handle_frame(Time::ZERO, &settings).is_ok());
    client
}

fn open(client: &mut TunnelClient<Growing>, head: u32) -> Result<Key, OpenError> {
    client.open(
        Time::ZERO,
        Encoded::kept(head, true),
        OpenOptions::default(),
    )
}

fn send(client: &mut TunnelClient<Growing>, stream: Key, bytes: u32) {
    let sent = client
        .stream(stream)
        .map(|mut stream| stream.send_message(Envelope::new(bytes), bytes));
    assert_eq!(sent, Ok(Ok(())));
}

/// What leaves, until nothing does: of which stream, and how many of its caller's bytes.
fn leaves(client: &mut TunnelClient<Growing>) -> Vec<(i64, u32)> {
    let mut frames = Vec::new();
    while let Some(transmit) = client.poll_transmit(Time::ZERO) {
        let (id, bytes) = match &transmit.body {
            Body::Caller { stream, range, .. } => {
                let bytes = range.end.saturating_sub(range.start);
                (
                    client.inspect(*stream).and_then(|stream| stream.id()),
                    bytes,
                )
            }
            Body::None | Body::Static(_) => (None, 0),
        };
        frames.push((id.unwrap_or(0), bytes));
    }
    frames
}

#[test]
fn what_is_left_of_a_turn_is_used_where_it_is_worth_a_frame() {
    let mut client = client();
    let stream = open(&mut client, 0).unwrap();
    leaves(&mut client);
    // More than 1 KiB is left of the turn, then less.
    for (first, second, expected) in [
        (15_000, 10_000, vec![(1, 1_368), (1, 8_632)]),
        (15_900, 10_000, vec![(1, 10_000)]),
        (15_000, 1_000, vec![(1, 1_000)]),
    ] {
        send(&mut client, stream, first);
        let gone = client.poll_transmit(Time::ZERO).expect("a chunk");
        assert!(matches!(gone.body, Body::Caller { range, .. } if range.end == first));
        send(&mut client, stream, second);
        assert_eq!(leaves(&mut client), expected);
    }
}

#[test]
fn a_large_head_takes_its_part_of_the_turn() {
    let mut client = client();
    let stream = open(&mut client, 10_000).unwrap();
    send(&mut client, stream, 16_384);
    let frames = leaves(&mut client);
    let [(1, 10_000), (1, first), (1, rest)] = frames[..] else {
        panic!("{frames:?}");
    };
    assert!(first < 16_384 - 10_000, "{frames:?}");
    assert_eq!(first + rest, 16_384);
}

#[test]
fn the_end_of_a_turn_is_not_the_end_of_what_there_is_to_send() {
    let mut client = client();
    let streams = [0, 0].map(|head| open(&mut client, head).unwrap());
    leaves(&mut client);
    for stream in streams {
        send(&mut client, stream, 16_384);
        assert_eq!(client.stream(stream).unwrap().half_close(), Ok(()));
    }
    let expected = [(1, 16_384), (2, 16_384), (0, 0), (0, 0)];
    assert_eq!(leaves(&mut client), expected);
}
