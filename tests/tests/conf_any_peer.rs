//! Any peer: frames in any order, beside applications that do anything, never break an end, and
//! never what another stream sees.

use grpctunnel_core::Side;
use grpctunnel_tests::harness::any_peer::{
    Bulk, PeerSetup, Sent, Step, client_input, isolation, limits, server_input,
};
use grpctunnel_tests::harness::{At, Kind, Op, Window};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

fn sent() -> impl Strategy<Value = Sent> {
    let id = prop_oneof![20 => 1..9_i64, 1 => Just(-1), 1 => any::<i64>()];
    let size = prop_oneof![4 => 0..20_u32, 2 => 0..70_000_u32, 1 => any::<u32>()];
    let len = prop_oneof![6 => 0..20_u16, 1 => 0..20_000_u16];
    (any::<u8>(), id, size, len).prop_map(|(kind, id, size, len)| Sent {
        kind,
        id,
        size,
        len,
    })
}

fn call() -> impl Strategy<Value = u8> {
    0..6_u8
}

fn op() -> impl Strategy<Value = Op> {
    let at = At::Client;
    prop_oneof![
        4 => option::weighted(0.2, 0..60_u8).prop_map(|deadline| Op::Open {
            kind: Kind::Unknown,
            deadline,
            headers: 1,
        }),
        3 => (call(), 0..9_000_u16, any::<u16>())
            .prop_map(move |(call, size, ready)| Op::Send { at, call, size, ready }),
        1 => (call(), any::<u16>()).prop_map(move |(call, bytes)| Op::Provide { at, call, bytes }),
        1 => call().prop_map(|call| Op::HalfClose { call }),
        1 => call().prop_map(|call| Op::Cancel { call }),
        1 => (call(), 0..4_u8).prop_map(|(call, headers)| Op::Respond { call, headers }),
        1 => (call(), any::<u8>(), option::of(any::<u8>()))
            .prop_map(|(call, code, hold)| Op::Close { call, code, hold }),
        3 => call().prop_map(move |call| Op::Read { at, call, bytes: 5_000 }),
        1 => call().prop_map(move |call| Op::StopReading { at, call }),
        1 => call().prop_map(move |call| Op::Release { at, call }),
        2 => (0..9_u8).prop_map(move |frames| Op::Transmit { at, frames }),
        1 => (0..8_u8).prop_map(|tenths| Op::Advance { tenths }),
    ]
}

fn bulk() -> impl Strategy<Value = Bulk> {
    let how = (0..8_u8, 0..4_u8, 0..64_u8, any::<u8>());
    (call(), how).prop_map(|(call, (rounds, tenths, messages, leaves))| Bulk {
        call,
        rounds,
        tenths,
        messages,
        leaves,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => sent().prop_map(Step::Frame),
        40 => op().prop_map(Step::Do),
        2 => bulk().prop_map(Step::Bulk),
        1 => vec(any::<u8>(), 0..40).prop_map(Step::Raw),
        1 => any::<bool>().prop_map(|on| Step::Opened { on }),
        1 => prop_oneof![Just(Step::Finished), Just(Step::Do(Op::Cut))],
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 0..120)
}

fn setup() -> impl Strategy<Value = PeerSetup> {
    let window = prop_oneof![Just(Window::Byte), Just(Window::Small), Just(Window::Whole)];
    let bits = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    (any::<bool>(), window, 1..33_u8, 0..16_u8, bits).prop_map(
        |(flow_control, window, max_streams, extensions, (opening, prelude, tight, lazy))| {
            PeerSetup {
                opening,
                flow_control,
                window,
                max_streams,
                prelude,
                extensions,
                tight,
                lazy,
            }
        },
    )
}

/// The windows of three calls at either end, under a budget of 10,000 bytes for all that they grow by.
#[test]
fn a_peer_that_keeps_windows_full_makes_them_grow_within_their_bounds() {
    let bulk = |call| {
        Step::Bulk(Bulk {
            call,
            rounds: 7,
            tenths: 1,
            messages: 3,
            leaves: 0,
        })
    };
    // A window grows to four times its size.
    for (window, grown) in [
        (Window::Byte, 3 * 3),
        (Window::Tiny, 3 * 30),
        (Window::Small, 3 * 3_000),
        (Window::Chunk, 10_000),
    ] {
        let setup = PeerSetup {
            opening: 0,
            flow_control: true,
            window,
            max_streams: 5,
            prelude: 1,
            extensions: 0,
            tight: 0,
            lazy: 0,
        };
        let steps = [0, 1, 2].map(bulk);
        assert_eq!(limits(setup, &steps).grown, [grown; 2], "{window:?}");
    }
}

proptest! {
    #[test]
    fn no_client_breaks_a_server(setup in setup(), steps in steps()) {
        server_input(setup, &steps);
    }

    #[test]
    fn no_server_breaks_a_client(setup in setup(), steps in steps()) {
        client_input(setup, &steps);
    }

    #[test]
    fn no_stream_shows_on_another(of_server in any::<bool>(), left in 1..6_i64, steps in steps()) {
        let side = if of_server { Side::Server } else { Side::Client };
        isolation(side, left, &steps);
    }

    #[test]
    fn memory_is_within_its_bound(setup in setup(), steps in steps()) {
        limits(setup, &steps);
    }

    #[test]
    fn no_bytes_break_an_end(setup in setup(), frames in vec(vec(any::<u8>(), 0..40), 0..20)) {
        let steps: Vec<Step> = frames.into_iter().map(Step::Raw).collect();
        server_input(setup, &steps);
        client_input(setup, &steps);
    }
}
