//! What a tunnel says that it holds on the heap is what it holds.

use allocation_counter::measure;
use grpctunnel_core::{Config, Growing, Negotiation, Opening, Time, TunnelServer};
use grpctunnel_tests::harness::frames::{Frame, new};

/// A server that has got so many streams, each with a deadline, of which it takes at most `most`.
fn server(frames: &[Frame], most: u32) -> TunnelServer<Growing> {
    let mut config = Config::default();
    config.limits.max_streams = most;
    let opening = Opening::Accepted(Negotiation::On);
    let mut tunnel = TunnelServer::new(Time::ZERO, config, opening);
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
