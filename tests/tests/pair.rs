//! Two of our own ends against each other: whatever their applications do, in whatever order, and
//! wherever the carrier holds things up or breaks.

use grpctunnel_tests::harness::{At, InPlace, Kind, OnHeap, Op, Play, Setup, Window, run};
use proptest::option;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

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

/// What nothing survives is rare.
fn step() -> impl Strategy<Value = Op> {
    prop_oneof![
        300 => op(),
        1 => Just(Op::Cut),
        1 => (at(), any::<u8>()).prop_map(|(at, tenths)| Op::Drain { at, tenths }),
    ]
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

/// A drain without a limit in time ends the call that the handler closes at the same moment.
#[test]
fn a_close_at_the_moment_at_which_a_drain_is_over_comes_too_late() {
    let (client, server) = (At::Client, At::Server);
    let frames = 20;
    let ops = [
        Op::Transmit { at: server, frames },
        Op::Deliver { at: client, frames },
        Op::Open {
            kind: Kind::Unknown,
            deadline: None,
            headers: 0,
        },
        Op::Transmit { at: client, frames },
        Op::Deliver { at: server, frames },
        Op::HalfClose { call: 0 },
        Op::Drain {
            at: server,
            tenths: 0,
        },
        Op::Close {
            call: 0,
            code: 0,
            hold: None,
        },
    ];
    let setup = Setup::default();
    assert_eq!(run::<InPlace>(setup, &ops), run::<OnHeap>(setup, &ops));
}

/// Any step makes sense in any state, so all that steps depend on is how the ends are set up; the
/// model that judges what is seen is the harness's, which the fuzz targets share.
struct AnySteps;

impl ReferenceStateMachine for AnySteps {
    type State = Setup;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Setup> {
        setup().boxed()
    }

    fn transitions(_: &Setup) -> BoxedStrategy<Op> {
        step().boxed()
    }

    fn apply(setup: Setup, _: &Op) -> Setup {
        setup
    }
}

/// The same pair over both kinds of memory.
struct Pairs {
    in_place: Play<InPlace>,
    on_heap: Play<OnHeap>,
}

impl StateMachineTest for Pairs {
    type SystemUnderTest = Self;
    type Reference = AnySteps;

    fn init_test(setup: &Setup) -> Self {
        Self {
            in_place: Play::new(*setup),
            on_heap: Play::new(*setup),
        }
    }

    fn apply(mut pairs: Self, _: &Setup, op: Op) -> Self {
        pairs.in_place.step(op);
        pairs.on_heap.step(op);
        pairs
    }

    fn check_invariants(pairs: &Self, _: &Setup) {
        let digests = (pairs.in_place.digest(), pairs.on_heap.digest());
        assert_eq!(digests.0, digests.1, "the memory shows on the wire");
    }

    fn teardown(mut pairs: Self, setup: Setup) {
        pairs.in_place.finish();
        pairs.on_heap.finish();
        Self::check_invariants(&pairs, &setup);
    }
}

prop_state_machine! {
    #[test]
    fn our_ends_never_accuse_each_other(sequential 1..150 => Pairs);
}
