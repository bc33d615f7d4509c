//! The fuzz targets: what each does with an input, for cargo-fuzz, for the replay of the corpora and
//! for seeded runs alike.

use arbitrary::{Arbitrary, Unstructured};
use grpctunnel_core::Side;

use super::any_peer::{self, PeerSetup, Step};
use super::fail;
use super::op::Op;
use super::pair::Setup;
use super::play::run;
use super::sessions::{SessionSetup, SessionStep, run_sessions};
use super::store::{InPlace, OnHeap};
use super::wire::{Written, check_client, check_framer, check_roundtrip, check_server};

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its program, and of its corpora.
    pub name: &'static str,
    /// Whether its steps are counted, rather than its executions.
    pub operations: bool,
    /// Runs it; panics if something does not hold. Returns how many steps were taken, `None` if
    /// the bytes make no input.
    pub run: fn(&[u8]) -> Option<usize>,
    /// Writes down what the bytes mean.
    pub show: fn(&[u8]) -> String,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "client_input",
        operations: true,
        run: client_input,
        show: show::<AnyPeer>,
    },
    Target {
        name: "framer",
        operations: false,
        run: framer,
        show: show::<Framed>,
    },
    Target {
        name: "isolation",
        operations: true,
        run: isolation,
        show: show::<Isolation>,
    },
    Target {
        name: "limits",
        operations: true,
        run: limits,
        show: show::<Limits>,
    },
    Target {
        name: "pair",
        operations: true,
        run: pair,
        show: show::<Pair>,
    },
    Target {
        name: "server_input",
        operations: true,
        run: server_input,
        show: show::<AnyPeer>,
    },
    Target {
        name: "session",
        operations: true,
        run: session,
        show: show::<Sessions>,
    },
    Target {
        name: "wire_decode",
        operations: false,
        run: wire_decode,
        show: |bytes| bytes.escape_ascii().to_string(),
    },
    Target {
        name: "wire_roundtrip",
        operations: false,
        run: wire_roundtrip,
        show: show::<Roundtrip>,
    },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Enough for any few things to meet.
const MOST_STEPS: usize = 250;

fn read<T: for<'a> Arbitrary<'a>>(bytes: &[u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}

fn show<T: for<'a> Arbitrary<'a> + core::fmt::Debug>(bytes: &[u8]) -> String {
    read::<T>(bytes).map_or_else(|| "no input".to_owned(), |input| format!("{input:#?}"))
}

/// As many as the bytes last for.
#[derive(Clone, Debug)]
struct Steps<T>(Vec<T>);

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Steps<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut steps = Vec::new();
        while !u.is_empty() && steps.len() < MOST_STEPS {
            steps.push(u.arbitrary()?);
        }
        Ok(Self(steps))
    }
}

#[derive(Clone, Debug, Arbitrary)]
struct Pair {
    setup: Setup,
    ops: Steps<Op>,
}

#[derive(Clone, Debug, Arbitrary)]
struct AnyPeer {
    setup: PeerSetup,
    steps: Steps<Step>,
}

#[derive(Clone, Debug, Arbitrary)]
struct Limits {
    setup: PeerSetup,
    steps: Steps<Loaded>,
}

/// A step of a peer that often fills a window: what is held is most where windows have grown.
#[derive(Clone, Debug)]
struct Loaded(Step);

impl<'a> Arbitrary<'a> for Loaded {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self(if u.ratio(1, 8)? {
            Step::Bulk(u.arbitrary()?)
        } else {
            u.arbitrary()?
        }))
    }
}

#[derive(Clone, Debug, Arbitrary)]
struct Isolation {
    of_server: bool,
    left: u8,
    steps: Steps<Step>,
}

#[derive(Clone, Debug, Arbitrary)]
struct Sessions {
    setup: SessionSetup,
    piece: u8,
    steps: Steps<Lively>,
}

/// A step of two sessions, every second of which makes a call go on.
#[derive(Clone, Debug)]
struct Lively(SessionStep);

impl<'a> Arbitrary<'a> for Lively {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self(match u.int_in_range(0..=9)? {
            0 => SessionStep::Open(u.arbitrary()?, None),
            1 | 2 => SessionStep::Send(u.arbitrary()?, u.arbitrary()?, u.arbitrary()?),
            3 => SessionStep::Rest,
            4 => SessionStep::Carry(u.arbitrary()?, u.arbitrary()?),
            _ => u.arbitrary()?,
        }))
    }
}

#[derive(Clone, Debug, Arbitrary)]
struct Framed {
    max: u16,
    sizes: [u8; 4],
    input: Rest,
}

/// All bytes that are left.
#[derive(Clone, Debug)]
struct Rest(Vec<u8>);

impl<'a> Arbitrary<'a> for Rest {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self(u.bytes(u.len())?.to_vec()))
    }
}

#[derive(Clone, Debug, Arbitrary)]
struct Roundtrip {
    id: i64,
    raw: bool,
    plausible: bool,
    written: Written,
}

/// Any steps of two applications, of the carrier and of time: our own ends never accuse each
/// other, every call finishes, and the frames are the same over both kinds of memory.
#[must_use]
pub fn pair(bytes: &[u8]) -> Option<usize> {
    let Pair { setup, ops } = read(bytes)?;
    let in_place = run::<InPlace>(setup, &ops.0);
    let on_heap = run::<OnHeap>(setup, &ops.0);
    assert_eq!(in_place, on_heap, "the memory shows on the wire");
    Some(ops.0.len())
}

/// A tunnel client against any server.
#[must_use]
pub fn client_input(bytes: &[u8]) -> Option<usize> {
    let AnyPeer { setup, steps } = read(bytes)?;
    Some(any_peer::client_input(setup, &steps.0))
}

/// A tunnel server against any client.
#[must_use]
pub fn server_input(bytes: &[u8]) -> Option<usize> {
    let AnyPeer { setup, steps } = read(bytes)?;
    Some(any_peer::server_input(setup, &steps.0))
}

/// Without all that is done to one stream, every other one sees the same.
#[must_use]
pub fn isolation(bytes: &[u8]) -> Option<usize> {
    let Isolation {
        of_server,
        left,
        steps,
    } = read(bytes)?;
    let side = if of_server {
        Side::Server
    } else {
        Side::Client
    };
    let left = i64::from(left % 5) + 1;
    Some(any_peer::isolation(side, left, &steps.0))
}

/// The same as [`limits`], and how far it came.
#[must_use]
pub fn reached_limits(bytes: &[u8]) -> Option<any_peer::Reached> {
    let Limits { setup, steps } = read(bytes)?;
    let steps: Vec<Step> = steps.0.into_iter().map(|Loaded(step)| step).collect();
    Some(any_peer::limits(setup, &steps))
}

/// What an end and its receive buffers hold is within the published bound.
#[must_use]
pub fn limits(bytes: &[u8]) -> Option<usize> {
    Some(reached_limits(bytes)?.steps)
}

/// Any bytes in any split give the same messages.
#[must_use]
pub fn framer(bytes: &[u8]) -> Option<usize> {
    let Framed { max, sizes, input } = read(bytes)?;
    check_framer(u32::from(max), &sizes, &input.0);
    Some(1)
}

/// Any steps of two sessions, and any bytes in between: they never accuse each other, messages are
/// whole and in order, memory is within the published bound, and pieces do not matter.
#[must_use]
pub fn session(bytes: &[u8]) -> Option<usize> {
    let Sessions {
        setup,
        piece,
        steps,
    } = read(bytes)?;
    let steps: Vec<SessionStep> = steps.0.into_iter().map(|Lively(step)| step).collect();
    let whole = run_sessions(setup, &steps, usize::MAX);
    let pieces = run_sessions(setup, &steps, usize::from(piece));
    assert_eq!(whole, pieces, "pieces show");
    Some(steps.len())
}

/// Any bytes as a frame from either end: the core's codec and prost agree.
#[must_use]
pub fn wire_decode(bytes: &[u8]) -> Option<usize> {
    for outcome in [check_client(bytes), check_server(bytes)] {
        if let Err(difference) = outcome {
            fail(difference);
        }
    }
    Some(1)
}

/// What the core's encoders write, its decoder and prost read.
#[must_use]
pub fn wire_roundtrip(bytes: &[u8]) -> Option<usize> {
    let Roundtrip {
        id,
        raw,
        plausible,
        written,
    } = read(bytes)?;
    let written = if plausible {
        written.plausible()
    } else {
        written
    };
    match check_roundtrip(id, &written, raw) {
        Ok(_) => Some(1),
        Err(difference) => fail(difference),
    }
}
