//! Two of our own ends against each other: whatever their applications do, in whatever order, and
//! wherever the carrier holds things up or breaks.

use grpctunnel_tests::harness::{At, InPlace, Kind, OnHeap, Op, Setup, Window, run};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn at() -> impl Strategy<Value = At> {
    prop_oneof![Just(At::Client), Just(At::Server)]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Unknown),
        1 => Just(Kind::Unary),
        1 => Just(Kind::ClientStreaming),
        1 => Just(Kind::ServerStreaming),
        2 => Just(Kind::Bidi),
    ]
}

fn size() -> impl Strategy<Value = u16> {
    prop_oneof![
        2 => Just(0),
        4 => 1..100_u16,
        2 => 16_300..16_500_u16,
        2 => any::<u16>(),
    ]
}

/// Few calls, so that steps meet.
fn call() -> impl Strategy<Value = u8> {
    0..4_u8
}

fn calls_and_messages() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (kind(), option::weighted(0.2, any::<u8>()), 0..4_u8)
            .prop_map(|(kind, deadline, headers)| Op::Open { kind, deadline, headers }),
        6 => (at(), call(), size(), any::<u16>())
            .prop_map(|(at, call, size, ready)| Op::Send { at, call, size, ready }),
        3 => (at(), call(), size()).prop_map(|(at, call, bytes)| Op::Provide { at, call, bytes }),
        2 => call().prop_map(|call| Op::HalfClose { call }),
        2 => (call(), 0..4_u8).prop_map(|(call, headers)| Op::Respond { call, headers }),
        2 => (call(), prop_oneof![Just(0), 0..17_u8], option::of(any::<u8>()))
            .prop_map(|(call, code, hold)| Op::Close { call, code, hold }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        40 => calls_and_messages(),
        8 => (at(), call(), size()).prop_map(|(at, call, bytes)| Op::Read { at, call, bytes }),
        18 => (at(), 0..20_u8).prop_map(|(at, frames)| Op::Transmit { at, frames }),
        18 => (at(), 0..20_u8).prop_map(|(at, frames)| Op::Deliver { at, frames }),
        3 => (0..30_u8).prop_map(|tenths| Op::Advance { tenths }),
        2 => call().prop_map(|call| Op::Cancel { call }),
        2 => (at(), call()).prop_map(|(at, call)| Op::StopReading { at, call }),
        2 => (at(), call()).prop_map(|(at, call)| Op::Release { at, call }),
    ]
}

/// Steps of which a few at the end may be those that nothing survives.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let last = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Op::Cut)),
        1 => (at(), any::<u8>()).prop_map(|(at, tenths)| Some(Op::Drain { at, tenths })),
    ];
    (vec(op(), 0..120), last, vec(op(), 0..30)).prop_map(|(mut ops, last, more)| {
        ops.extend(last);
        ops.extend(more);
        ops
    })
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        Just(Window::Byte),
        Just(Window::Tiny),
        Just(Window::Small),
        Just(Window::Chunk),
        Just(Window::Whole),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        any::<bool>(),
        prop::bool::weighted(0.8),
        (prop::bool::weighted(0.8), prop::bool::weighted(0.8)),
        (window(), window()),
        prop_oneof![3 => Just(32), 1 => 1..4_u8],
        prop_oneof![1 => Just((0, 0)), 2 => (0..16_u8, 0..16_u8)],
    )
        .prop_map(
            |(reverse, negotiate, flow_control, windows, max_streams, extensions)| Setup {
                reverse,
                negotiate,
                flow_control,
                windows,
                max_streams,
                extensions,
            },
        )
}

proptest! {
    #[test]
    fn our_ends_never_accuse_each_other(setup in setup(), ops in ops()) {
        let in_place = run::<InPlace>(setup, &ops);
        let on_heap = run::<OnHeap>(setup, &ops);
        prop_assert_eq!(in_place, on_heap, "the memory shows on the wire");
    }
}
