//! Any peer: frames in any order, beside applications that do anything, never break an end, and
//! never what another stream sees.

use grpctunnel_core::Side;
use grpctunnel_tests::harness::any_peer::{
    PeerSetup, Sent, Step, client_input, isolation, limits, server_input,
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

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => sent().prop_map(Step::Frame),
        40 => op().prop_map(Step::Do),
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
