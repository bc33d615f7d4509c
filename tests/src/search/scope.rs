//! What is searched: how many calls, how large, on what links, and what may go wrong.

use core::time::Duration;

use grpctunnel_core::wire::{Extension, ExtensionSet};
use grpctunnel_core::{Bucket, Config, ReceiveWindowPolicy, RevisionZeroLimits};

/// Calls at once, at most.
pub const CALLS: usize = 3;

/// What ends a call or the tunnel before its time, or lets time pass. Each happens at any moment
/// that it can, as often as the scope lets it; no call depends on it in order to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disturbance {
    /// The client cancels a call.
    Cancel,
    /// The next timer fires: a deadline, a hold, a limit of the tunnel.
    Time,
    /// A millisecond passes, unless a timer fires before. It is no fault, and measures round trips.
    Tick,
    /// The handler closes with an error.
    Fail,
    /// The handler closes with OK before it has read everything.
    CloseEarly,
    /// Either end stops reading a call.
    StopReading,
    /// Either end drops a call that has not ended.
    Drop,
    /// The carrier ends cleanly, as one end sees it.
    CarrierFinishes,
    /// The carrier breaks.
    CarrierBreaks,
    /// The client drains the tunnel.
    ClientDrains,
    /// The server drains the tunnel.
    ServerDrains,
}

/// How the application uses the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// As the core's documentation asks.
    Sound,
    /// A reader takes a message when it is whole, and gives credit only then.
    WholeMessages,
    /// A reader takes, and gives credit for, so many bytes at least, or the rest of a message.
    AtLeast(u32),
    /// An end takes no frame while there is no room for its own.
    StopWhenFull,
    /// The client reads its first call when all others have ended.
    FirstReadsLast,
}

/// What is searched.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// For each call the sizes of its requests and of its responses.
    pub calls: &'static [(&'static [u32], &'static [u32])],
    /// Whether a call that is over is opened again, indefinitely. With one call only: the distance
    /// from the id of a call that stays to those of one that comes and goes has no bound.
    pub again: bool,
    /// The receive windows of the client and of the server.
    pub windows: (u32, u32),
    /// What a receive window may grow to, at either end; 0: windows do not grow. All of them together
    /// grow by as many bytes.
    pub grown: u32,
    /// Frames that each direction of the carrier holds.
    pub link: usize,
    /// Streams that the client and the server take at once.
    pub streams: (u32, u32),
    /// Whether both ends have flow control: revision one.
    pub flow_control: bool,
    /// Whether the tunnel server opens the carrier.
    pub reverse: bool,
    /// Whether messages are provided in two pieces.
    pub pieces: bool,
    /// Whether readers may take a single byte.
    pub single_bytes: bool,
    /// Whether the handler sends headers of their own.
    pub headers: bool,
    /// The deadline of each call.
    pub deadline: Option<Duration>,
    /// The extensions of both ends.
    pub extensions: &'static [Extension],
    /// Whether heartbeats, probes and pings are on.
    pub liveness: bool,
    /// What else may happen.
    pub disturbances: &'static [Disturbance],
    /// How often.
    pub at_most: u8,
    /// What the application does.
    pub policy: Policy,
}

impl Scope {
    /// One call with a request and a response of one byte, on links of one frame, where nothing
    /// goes wrong.
    pub const LEAST: Self = Self {
        name: "least",
        calls: &[(&[1], &[1])],
        again: false,
        windows: (1, 1),
        grown: 0,
        link: 1,
        streams: (3, 3),
        flow_control: true,
        reverse: false,
        pieces: false,
        single_bytes: false,
        headers: false,
        deadline: None,
        extensions: &[],
        liveness: false,
        disturbances: &[],
        at_most: 0,
        policy: Policy::Sound,
    };

    /// Whether a call may be refused though nothing went wrong.
    #[must_use]
    pub const fn may_refuse(&self) -> bool {
        self.streams.1 < self.streams.0 || (self.streams.1 as usize) < self.calls.len()
    }

    /// Whether nothing that may go wrong has, where so many disturbances are left.
    #[must_use]
    pub const fn is_calm(&self, left: u8) -> bool {
        left == self.at_most || matches!(self.disturbances, [Disturbance::Tick])
    }

    /// The settings of the client, or of the server.
    #[must_use]
    pub fn config(&self, client: bool) -> Config {
        let (window, streams) = if client {
            (self.windows.0, self.streams.0)
        } else {
            (self.windows.1, self.streams.1)
        };
        let never_empty = Bucket {
            capacity: u32::MAX,
            per_second: 0,
            per_earned: 0,
        };
        let mut config = Config::default();
        config.flow_control = self.flow_control;
        config.extensions = self
            .extensions
            .iter()
            .fold(ExtensionSet::EMPTY, |set, extension| set.with(*extension));
        let limits = &mut config.limits;
        limits.max_streams = streams;
        limits.receive_window = ReceiveWindowPolicy {
            initial: window,
            max: window.max(self.grown),
            growth_budget: u64::from(self.grown),
        };
        limits.revision_zero = RevisionZeroLimits {
            stream: window,
            tunnel: u64::from(window),
            stall: Duration::from_secs(10),
        };
        // A fingerprint leaves budgets out, so none may be used up.
        limits.useless_frames = never_empty;
        limits.window_updates = never_empty;
        limits.protocol_errors = never_empty;
        if !self.liveness {
            limits.liveness.heartbeat = Duration::MAX;
            limits.liveness.probe = Duration::MAX;
            limits.liveness.ping = Duration::MAX;
        }
        config
    }
}
