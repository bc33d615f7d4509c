//! Whole calls between two of our own ends, step by step.

use grpctunnel_core::wire::{Revision, StatusHead};
use grpctunnel_core::{Hold, OpenOptions, Side};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::content;
use grpctunnel_tests::harness::{Over, Pair, Seen, Setup, Store, Window};

const MANY: usize = 100_000;
const OK: StatusHead<'static> = StatusHead {
    code: 0,
    message: "",
    details: &[],
};

/// A pair that is settled.
fn settled<S: Store>(setup: Setup) -> Pair<S> {
    let mut pair = Pair::new(setup);
    pair.drive_bounded(MANY);
    pair.observe();
    pair
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn open<S: Store>(pair: &mut Pair<S>) -> i64 {
    let now = pair.now();
    let call = pair.client.open(now, "svc/m", &[], OpenOptions::default());
    pair.drive_bounded(MANY);
    call.unwrap()
}

fn close<S: Store>(pair: &mut Pair<S>, call: i64, status: StatusHead<'_>) {
    let now = pair.now();
    let closed = pair
        .server
        .close(now, call, status, &[("t", "1")], Hold::Never);
    assert_eq!(closed, Ok(()));
}

/// The messages that an end has read since the last look, of one call.
fn got(seen: &[(Side, Seen)], at: Side, number: i64) -> Vec<Vec<u8>> {
    seen.iter()
        .filter_map(|(side, seen)| match seen {
            Seen::Got { call, message } if *call == number && *side == at => Some(message.clone()),
            _ => None,
        })
        .collect()
}

/// Both ends read and the carrier moves, until nothing does.
fn read_all<S: Store>(pair: &mut Pair<S>) -> Vec<(Side, Seen)> {
    loop {
        pair.drive_bounded(MANY);
        let calls: Vec<i64> = pair.client.calls().collect();
        let client = calls.iter().any(|call| pair.client.read(*call, usize::MAX));
        let calls: Vec<i64> = pair.server.calls().collect();
        let server = calls.iter().any(|call| pair.server.read(*call, usize::MAX));
        if !client && !server && !pair.transmit(Side::Client) && !pair.transmit(Side::Server) {
            return pair.observe();
        }
    }
}

both_stores! {
    fn every_negotiation_gives_the_documented_revision<S>() {
        for bits in 0..16_u8 {
            let [reverse, negotiate, client, server] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let flow_control = (client, server);
            let pair = settled::<S>(Setup { reverse, negotiate, flow_control, ..Setup::default() });
            let expected = if negotiate && client && server { Revision::One } else { Revision::Zero };
            assert_eq!(pair.client.tunnel.revision(), Some(expected), "{bits:04b}");
        }
    }

    fn a_message_larger_than_the_window_crosses_both_ways_at_once<S>() {
        for reverse in [false, true] {
            let mut pair = settled::<S>(Setup { reverse, ..Setup::default() });
            let call = open(&mut pair);
            let message = content(3, 200_000);
            pair.client.send(call, message.clone(), message.len()).unwrap();
            pair.server.send(call, message.clone(), 150_000).unwrap();
            pair.drive_bounded(MANY);
            assert!(pair.client.tunnel.inspect(pair.client.key(call)).is_some_and(|stream| stream.is_blocked_on_credit()));
            assert!(pair.server.tunnel.inspect(pair.server.key(call)).is_some_and(|stream| stream.is_blocked_on_credit()));
            read_all(&mut pair);
            pair.server.provide(call, 50_000).unwrap();
            pair.client.half_close(call).unwrap();
            let seen = read_all(&mut pair);
            assert_eq!(got(&seen, Side::Client, call), [message]);
            close(&mut pair, call, OK);
            read_all(&mut pair);
            assert!(pair.client.over(call).unwrap().is_ok());
        }
    }

    fn of_many_calls_one_is_cancelled_and_one_fails<S>() {
        let mut pair = settled::<S>(Setup::default());
        let calls: Vec<i64> = (0..30).map(|_| open(&mut pair)).collect();
        let request = |call: i64| content(usize::try_from(call).unwrap(), 10_000);
        for call in &calls {
            pair.client.send(*call, request(*call), 10_000).unwrap();
            pair.client.half_close(*call).unwrap();
        }
        // Some frames of all of them are on their way when one is cancelled.
        for _ in 0..20 {
            pair.transmit(Side::Client);
        }
        pair.client.cancel(7).unwrap();
        let seen = read_all(&mut pair);
        for call in calls.iter().filter(|call| **call != 7) {
            assert_eq!(got(&seen, Side::Server, *call), [request(*call)], "call {call}");
        }
        assert_eq!(pair.server.over(7), Some(&Over::PeerCancelled));
        let details = [&b"\x08\x05\x12\x05nicht"[..], b"\x1a\x06\x0a\x01t\x12\x01v"].concat();
        for call in calls.iter().filter(|call| **call != 7) {
            let failed = StatusHead { code: 5, message: "nicht", details: &details };
            close(&mut pair, *call, if *call == 9 { failed } else { OK });
        }
        read_all(&mut pair);
        for call in &calls {
            let over = pair.client.over(*call).unwrap();
            match (call, over) {
                (7, over) => assert_eq!(over, &Over::Cancelled),
                (9, Over::Status { status, .. }) => {
                    assert_eq!((status.code, status.message.as_str()), (5, "nicht"));
                    assert_eq!(status.details, [b"\x0a\x01t\x12\x01v"]);
                }
                (_, over) => assert!(over.is_ok(), "call {call}: {over:?}"),
            }
        }
        assert_eq!(pair.client.tunnel.active_streams(), 0);
    }

    fn a_reader_that_stops_with_a_full_window_lets_the_writer_finish<S>() {
        let mut pair = settled::<S>(Setup { windows: (Window::Small, Window::Small), ..Setup::default() });
        let call = open(&mut pair);
        pair.client.send(call, content(0, 5_000), 5_000).unwrap();
        pair.client.half_close(call).unwrap();
        pair.drive_bounded(MANY);
        assert_eq!(pair.server.buffered(call), 1_000);
        pair.server.stop_reading(call);
        pair.drive_bounded(MANY);
        assert!(pair.server.half_closed(call));
    }

    fn readers_that_both_wait_hold_up_nobody_else<S>() {
        let mut pair = settled::<S>(Setup::default());
        let (first, second) = (open(&mut pair), open(&mut pair));
        for _ in 0..2 {
            pair.client.send(first, content(0, 65_000), 65_000).ok();
            pair.server.send(first, content(0, 65_000), 65_000).ok();
            pair.drive_bounded(MANY);
        }
        pair.client.send(second, content(0, 100), 100).unwrap();
        pair.drive_bounded(MANY);
        assert_eq!(pair.server.buffered(second), 100);
    }

    fn a_small_call_waits_for_one_quantum_of_each_other<S>() {
        let mut pair = settled::<S>(Setup::default());
        let bulk: Vec<i64> = (0..4).map(|_| open(&mut pair)).collect();
        let small = open(&mut pair);
        for call in bulk {
            pair.client.send(call, content(0, 60_000), 60_000).unwrap();
        }
        pair.client.send(small, content(0, 10), 10).unwrap();
        pair.client.half_close(small).unwrap();
        // Four chunks of the others, then the small one's two frames.
        for _ in 0..6 {
            assert!(pair.transmit(Side::Client));
        }
        while pair.deliver(Side::Server) {}
        assert!(pair.server.half_closed(small));
        assert_eq!(pair.server.buffered(small), 10);
    }

    fn a_drained_tunnel_finishes_with_its_last_call<S>() {
        let mut pair = settled::<S>(Setup::default());
        let call = open(&mut pair);
        let now = pair.now();
        pair.server.drain(now, core::time::Duration::from_secs(30));
        let refused = open(&mut pair);
        read_all(&mut pair);
        assert_eq!(pair.client.over(refused).unwrap().code(Side::Client), 14);
        close(&mut pair, call, OK);
        read_all(&mut pair);
        pair.drive_bounded(MANY);
        assert!(pair.client.over(call).unwrap().is_ok());
        assert!(pair.client.tunnel.is_ended() && pair.server.tunnel.is_ended());
        assert_eq!(pair.server.tunnel.error(), None);
    }

    fn a_cut_ends_every_call_once<S>() {
        for frames in 0..12 {
            let mut pair = settled::<S>(Setup::default());
            let calls = [open(&mut pair), open(&mut pair)];
            for call in calls {
                pair.client.send(call, content(0, 40_000), 40_000).unwrap();
                pair.server.send(call, content(0, 40_000), 40_000).unwrap();
            }
            for _ in 0..frames {
                pair.transmit(Side::Client);
                pair.transmit(Side::Server);
                pair.deliver(Side::Client);
                pair.deliver(Side::Server);
            }
            pair.cut();
            pair.drive_bounded(MANY);
            for call in calls {
                assert!(matches!(pair.client.over(call), Some(Over::Lost { sent: true, .. })));
                assert!(matches!(pair.server.over(call), Some(Over::Lost { .. })));
            }
        }
    }
}
