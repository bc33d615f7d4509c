//! What happens in a world, as data that follows from a seed.

use std::fmt;

use fastrand::Rng;
use grpctunnel_driver::{Code, Extension, MemoryBudget, Options};

/// Something that happens in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A call is made.
    Call(CallPlan),
    /// A connection breaks, and loses what is on its way at any byte.
    Cut {
        /// Which one, modulo their count.
        link: u8,
    },
    /// A connection carries nothing for so many milliseconds.
    Stall {
        /// Which one, modulo their count.
        link: u8,
        /// How long.
        millis: u16,
    },
    /// No connection can be made for so many milliseconds.
    Down {
        /// How long.
        millis: u16,
    },
    /// A gateway drains, and another takes its place.
    Restart {
        /// Which one, modulo their count.
        gateway: u8,
        /// Whether calls that are open may take an hour, or nothing.
        patient: bool,
    },
    /// The executor drops a task of the driver.
    DropTask {
        /// Which one, modulo their count.
        task: u8,
    },
}

impl Op {
    /// Whether calls may be lost by it that were accepted.
    pub(super) const fn is_fault(&self) -> bool {
        match self {
            Self::Cut { .. } | Self::DropTask { .. } => true,
            Self::Restart { patient, .. } => !*patient,
            // A peer that is silent for longer may be taken for dead.
            Self::Stall { millis, .. } => *millis > 5_000,
            Self::Down { .. } | Self::Call(_) => false,
        }
    }
}

/// One step of a caller's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// A message of so many bytes.
    Message(u32),
    /// Nothing for so many milliseconds.
    Pause(u16),
    /// The body fails.
    Fail,
}

/// How a caller takes its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// All of it, as fast as it comes.
    All,
    /// All of it, with a pause of so many milliseconds between two pieces.
    Slowly(u16),
    /// So many pieces; then it is dropped.
    Pieces(u8),
}

/// One step of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    /// Reads so many messages.
    Read(u8),
    /// Reads to the end of the request.
    ReadAll,
    /// Drops the request.
    DropRequest,
    /// Sends a message of so many bytes.
    Message(u32),
    /// Nothing for so many milliseconds.
    Pause(u16),
}

/// How a handler ends a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// With this status.
    Status(Code),
    /// It says that it has not processed it, the first time; later it is OK.
    Refuse,
    /// It never does.
    Never,
}

/// A call: its caller and its handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPlan {
    /// The agent that is called, modulo their count.
    pub agent: u8,
    /// Whether it waits for an agent that is not there; otherwise it fails. Of a registry alone.
    pub waits: bool,
    /// What the caller sends.
    pub send: Vec<Send>,
    /// How it takes the response.
    pub take: Take,
    /// After so many milliseconds it gives up.
    pub cancel: Option<u16>,
    /// Its deadline in milliseconds.
    pub deadline: Option<u16>,
    /// Whether the handler begins its response before it reads.
    pub respond_first: bool,
    /// What the handler does.
    pub handle: Vec<Handle>,
    /// How the handler ends it.
    pub close: Close,
}

/// Which end of the tunnels dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The end that calls.
    Forward,
    /// The end that is called.
    Reverse,
    /// The end that is called: several agents, whose tunnels a registry knows by their key.
    Registry,
}

/// What does not change in a world.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) way: Way,
    pub(super) gateways: usize,
    /// Ends that dial, each with a supervisor of its own. More than one with a registry alone.
    pub(super) agents: usize,
    /// Whether a tunnel takes the place of those of its key. With a registry alone.
    pub(super) replace: bool,
    /// To each gateway.
    pub(super) tunnels: usize,
    /// Of both ends; the bound on what waits is of this end alone.
    pub(super) dialling: Options,
    pub(super) accepting: Options,
    /// Microseconds from one end of a connection to the other, at least, and what is added at most.
    pub(super) delay: (u64, u64),
    /// Bytes that a connection holds.
    pub(super) capacity: usize,
    /// Bytes of one piece that is received, at most.
    pub(super) piece: usize,
    /// Whether the world ends with a drain.
    pub(super) gentle: bool,
}

impl fmt::Debug for Setting {
    /// What of it is drawn from the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            limits,
            extensions,
            batch,
            send_queue,
            tunnel_send_queue,
            ..
        } = &self.dialling;
        let limit = |options: &Options| options.budget.as_ref().map(MemoryBudget::limit);
        write!(
            f,
            "{:?}, {} gateways, {} agents, replaced: {}, {} tunnels, {} streams, a window of {}, {extensions:?}, a batch of \
             {batch}, send queues of {send_queue} and {tunnel_send_queue}, budgets {:?} and {:?}, \
             delay {:?} us, capacity {}, pieces of {}, gentle: {}",
            self.way,
            self.gateways,
            self.agents,
            self.replace,
            self.tunnels,
            limits.max_streams,
            limits.receive_window.initial,
            limit(&self.dialling),
            limit(&self.accepting),
            self.delay,
            self.capacity,
            self.piece,
            self.gentle
        )
    }
}

/// A world that follows from a seed: what it is, and what happens in it, in the order of time.
#[derive(Clone, Debug)]
pub struct Script {
    /// The seed, which also decides in which order tasks are polled.
    pub seed: u64,
    pub(super) setting: Setting,
    /// What happens, and after how many milliseconds.
    pub ops: Vec<(u32, Op)>,
}

impl Script {
    /// The world of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let setting = setting(&mut rng);
        let count = rng.usize(1..24);
        let time = *rng.choice([50_u32, 2_000, 40_000].iter()).unwrap_or(&50);
        let faults = rng.u8(0..3);
        let mut ops: Vec<_> = (0..count)
            .map(|_| (rng.u32(0..time), op(&mut rng, faults)))
            .collect();
        ops.sort_by_key(|(at, _)| *at);
        Self { seed, setting, ops }
    }

    /// The same world, in which only these of the things happen.
    #[must_use]
    pub fn with_only(&self, kept: &[usize]) -> Self {
        let ops = kept.iter().filter_map(|place| self.ops.get(*place));
        Self {
            ops: ops.cloned().collect(),
            ..self.clone()
        }
    }
}

fn setting(rng: &mut Rng) -> Setting {
    let mut options = Options::default();
    options.limits.max_streams = rng.u32(1..9);
    options.limits.receive_window.initial = pick(rng, &[2_048, 65_536, 65_536]);
    options.limits.receive_window.max = 1 << 20;
    options.limits.receive_window.growth_budget = 2 << 20;
    options.batch = pick(rng, &[1, 1_000, 64 << 10]);
    options.send_queue = pick(rng, &[1, 4_096, 64 << 10]);
    options.tunnel_send_queue = pick(rng, &[1, 100_000, 4 << 20]);
    let all = [
        Extension::RawMetadata,
        Extension::Transparent,
        Extension::Drain,
        Extension::Ping,
        Extension::Unprocessed,
    ];
    if rng.u8(0..3) == 0 {
        for extension in all {
            if rng.bool() {
                options.extensions = options.extensions.without(extension);
            }
        }
    }
    let (mut dialling, mut accepting) = (options.clone(), options);
    for options in [&mut dialling, &mut accepting] {
        let limit = pick(rng, &[20_000, usize::MAX, usize::MAX]);
        options.budget = Some(MemoryBudget::new(limit));
    }
    let way = pick(rng, &[Way::Forward, Way::Reverse, Way::Registry]);
    let is_registry = way == Way::Registry;
    Setting {
        way,
        agents: if is_registry { rng.usize(1..4) } else { 1 },
        replace: is_registry && rng.u8(0..4) == 0,
        gateways: rng.usize(1..3),
        tunnels: rng.usize(1..4),
        dialling,
        accepting,
        delay: (
            pick(rng, &[0, 500, 40_000]),
            pick(rng, &[1, 1_000, 100_000]),
        ),
        capacity: pick(rng, &[1, 5_000, 1 << 20]),
        piece: pick(rng, &[7, 3_000, 1 << 20]),
        gentle: rng.bool(),
    }
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T; 3]) -> T {
    let [first, second, third] = *of;
    match rng.u8(0..3) {
        0 => first,
        1 => second,
        _ => third,
    }
}

/// `faults`: 0 none, 1 none that loses calls.
fn op(rng: &mut Rng, faults: u8) -> Op {
    let (link, millis) = (rng.u8(..), pick(rng, &[1, 300, 20_000]));
    match (faults, rng.u8(0..12)) {
        (1.., 0) => Op::Restart {
            gateway: link,
            patient: faults == 1 || rng.bool(),
        },
        (1, 1) => Op::Stall {
            link,
            millis: millis.min(5_000),
        },
        (2.., 1) => Op::Stall { link, millis },
        (1.., 2) => Op::Down { millis },
        (2.., 3) => Op::Cut { link },
        (2.., 4) => Op::DropTask { task: link },
        _ => Op::Call(call(rng)),
    }
}

fn size(rng: &mut Rng) -> u32 {
    let most = pick(rng, &[3, 5_000, 150_000]);
    rng.u32(0..most)
}

fn call(rng: &mut Rng) -> CallPlan {
    let send = (0..rng.usize(0..6))
        .map(|_| match rng.u8(0..16) {
            0 => Send::Fail,
            1..5 => Send::Pause(rng.u16(0..400)),
            _ => Send::Message(size(rng)),
        })
        .collect();
    let handle = (0..rng.usize(0..7))
        .map(|_| match rng.u8(0..8) {
            0 | 1 => Handle::Read(rng.u8(0..4)),
            2 | 3 => Handle::ReadAll,
            4 => Handle::Pause(rng.u16(0..400)),
            5 if rng.u8(0..4) == 0 => Handle::DropRequest,
            _ => Handle::Message(size(rng)),
        })
        .collect();
    let close = match rng.u8(0..10) {
        0 => Close::Status(Code::NotFound),
        1 => Close::Refuse,
        2 => Close::Never,
        _ => Close::Status(Code::Ok),
    };
    let ends = close != Close::Never;
    CallPlan {
        agent: rng.u8(..),
        waits: rng.bool(),
        send,
        take: match rng.u8(0..8) {
            0 | 1 => Take::Slowly(rng.u16(0..50)),
            2 => Take::Pieces(rng.u8(0..4)),
            _ => Take::All,
        },
        cancel: (!ends || rng.u8(0..8) == 0).then(|| rng.u16(0..5_000)),
        deadline: (rng.u8(0..8) == 0).then(|| rng.u16(1..5_000)),
        respond_first: rng.bool(),
        handle,
        close,
    }
}
