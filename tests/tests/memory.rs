//! A tunnel holds as much on the heap as it reports, and keys and heads are as documented.

use allocation_counter::measure;
use grpctunnel_core::wire::Encoded;
use grpctunnel_core::{
    Config, Fixed, Growing, Negotiation, OpenError, OpenOptions, Opening, Time, TunnelClient,
    TunnelServer,
};
use grpctunnel_tests::harness::frames::{Frame, new};

/// A server that has got so many streams, each with a deadline, of which it takes at most `most`.
fn server(frames: &[Frame], most: u32) -> TunnelServer<Growing> {
    let mut config = Config::default();
    config.limits.max_streams = most;
    let opening = Opening::Accepted(Negotiation::On);
    let mut tunnel: TunnelServer<_> =
        grpctunnel_tests::harness::tunnel(Time::ZERO, config, opening);
    for frame in frames {
        assert!(tunnel.handle_frame(Time::ZERO, frame).is_ok());
    }
    tunnel
}

#[test]
fn it_tells_the_bytes_that_are_on_the_heap() {
    let frames = |streams| -> Vec<Frame> {
        let opened = (1..=streams).map(|id| new(id, "s/M").timeout("9S").into());
        opened.collect()
    };
    // None, streams, and streams with refusals that wait.
    for (streams, most) in [(0, 8), (1, 8), (8, 8), (100, 100), (30, 8), (100, 8)] {
        let frames = frames(streams);
        let mut kept = None;
        let info = measure(|| kept = Some(server(&frames, most)));
        let tunnel = kept.expect("a tunnel");
        assert_eq!(
            tunnel.memory() as i64,
            info.bytes_current,
            "{streams} streams"
        );
        assert!(tunnel.memory() as u64 <= tunnel.limits().memory_bound().core());
    }
}

#[test]
fn a_stream_takes_as_much_as_is_said_and_no_more_than_128_bytes() {
    let stated = TunnelServer::<Growing>::STREAM_BYTES;
    // Two more, so that no padding is counted.
    let few = size_of::<TunnelServer<Fixed<64, 8>>>();
    let two_more = size_of::<TunnelServer<Fixed<66, 8>>>() - few;
    assert_eq!(two_more, 2 * stated);
    assert!(stated <= 128, "{stated}");
}

#[test]
fn where_every_stream_has_flow_control_less_memory_is_enough() {
    let mut limits = Config::default().limits;
    let bound = limits.memory_bound();
    let each = bound.revision_zero - bound.flow_controlled;
    assert!(each > 0);
    let less = bound.total() - bound.total_flow_controlled();
    assert_eq!(less, bound.streams * each);
    // A reader without flow control that may leave less unread than a window makes no difference.
    limits.revision_zero.stream = 0;
    limits.max_frame = 1_000;
    let bound = limits.memory_bound();
    assert_eq!(bound.total(), bound.total_flow_controlled());
}

/// A key that another tunnel gave out, of a slot that this one never had.
#[test]
fn keys_of_other_tunnels_name_nothing() {
    let opening = Opening::Accepted(Negotiation::Off);
    let open = |streams| {
        let config = Config::default();
        let mut client = TunnelClient::<Growing>::new(Time::ZERO, config, opening).unwrap();
        let head = Encoded::kept(10, true);
        let open = |_| client.open(Time::ZERO, head, OpenOptions::default());
        let keys: Vec<_> = (0..streams).map(open).collect();
        (client, keys)
    };
    let (_, keys) = open(3);
    let (mut other, own) = open(1);
    let (own, key) = (own[0].unwrap(), keys[2].unwrap());
    assert!(other.inspect(key).is_none());
    assert!(other.stream(key).is_err());
    assert!(other.release(key).is_err());
    assert_eq!(other.active_streams(), 1);

    let stream = other.stream(own).unwrap();
    assert_eq!(stream.key(), own);
    // It has no id before it is sent.
    assert_eq!(
        (stream.view().id(), stream.view().has_ended()),
        (None, false)
    );
    assert!(format!("{stream:?}").contains("ended: false"), "{stream:?}");
    stream.cancel();
    assert!(other.stream(own).is_err());
    assert!(other.inspect(own).is_some_and(|stream| stream.has_ended()));
}

#[test]
fn keys_of_open_streams_index_a_table_of_as_many() {
    let mut config = Config::default();
    config.limits.max_streams = 4;
    let opening = Opening::Accepted(Negotiation::Off);
    let mut client = TunnelClient::<Growing>::new(Time::ZERO, config, opening).unwrap();
    let mut open = |len| client.open(Time::ZERO, Encoded::kept(len, true), OpenOptions::default());
    // The largest head that an end takes from its caller, and one more byte.
    let first = open(1 << 20).expect("a stream").index();
    assert_eq!(open((1 << 20) + 1), Err(OpenError::HeadTooLarge));
    let others = [10; 3].map(|len| open(len).expect("a stream").index());
    assert_eq!(open(10), Err(OpenError::Full));
    let mut all = [first, others[0], others[1], others[2]];
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
}
