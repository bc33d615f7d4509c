//! A link with a rate and a delay, in virtual time, between one end of ours that receives and a
//! peer that sends as the Go module does.
//!
//! Each direction carries one frame after another at the link's rate; each frame arrives half a
//! round trip later. After every step it is checked that credit is conserved.

mod calls;
mod end;
mod grid;
mod peer;
mod start;

use core::time::Duration;
use std::collections::BTreeMap;

use grpctunnel_core::{Client, Config, ReceiveWindowPolicy, Role, Server, Time};

use super::sent::SentFrame;
use calls::Call;
pub use end::{End, Opens};
use peer::Peer;

pub use grid::{Grid, Point};
pub use start::Start;

/// What a link, its two ends and their applications are like.
#[derive(Clone, Copy, Debug)]
pub struct LinkSetup {
    /// The way there and back.
    pub round_trip: Duration,
    /// How much longer than half of that a frame may take, each by chance; none overtakes another.
    pub jitter: Duration,
    /// Bytes a second, in each direction.
    pub rate: u64,
    /// Calls at once.
    pub calls: usize,
    /// Whether our end sends as much as it may, too.
    pub both_ways: bool,
    /// How our end's application reads.
    pub reader: Reader,
    /// Bytes of each message of the peer.
    pub message: u32,
    /// How much the peer has to send on each call.
    pub source: Source,
    /// Our end's receive windows.
    pub windows: ReceiveWindowPolicy,
}

impl LinkSetup {
    /// One call on such a link; the peer always has more to send, and all is read at once.
    #[must_use]
    pub fn new(round_trip: Duration, rate: u64) -> Self {
        Self {
            round_trip,
            jitter: Duration::ZERO,
            rate,
            calls: 1,
            both_ways: false,
            reader: Reader::AtOnce,
            message: 1 << 20,
            source: Source::Endless,
            windows: ReceiveWindowPolicy::GROWING,
        }
    }
}

/// How an application reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Everything as it comes.
    AtOnce,
    /// So many bytes of each call, again and again after such a time.
    Every(Duration, u32),
    /// Nothing.
    Never,
}

/// What a peer has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// More than the link carries.
    Endless,
    /// So many bytes for each call, again and again after such a time.
    Every(Duration, u32),
}

/// What happens.
#[derive(Debug)]
enum Step {
    /// The link takes the next frame: of the peer, of ours.
    PeerSends,
    WeSend,
    /// A frame arrives.
    WeHear(peer::Frame),
    PeerHears(SentFrame),
    /// The application reads; the peer's application has more.
    Reads,
    Makes,
}

/// One direction of the link.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    free_at: u64,
    /// When the last frame arrives.
    last: u64,
    /// Whether the end is already scheduled to be notified when the lane is free.
    told: bool,
}

/// The link and its two ends.
pub struct Link<R: Role> {
    setup: LinkSetup,
    now: u64,
    steps: BTreeMap<(u64, u64), Step>,
    count: u64,
    chance: u64,
    up: Lane,
    down: Lane,
    peer: Peer,
    end: End<R>,
    calls: Vec<Call>,
    /// Bytes that our end's application read.
    read: u64,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Link<Server> {
    /// Our end is the tunnel server.
    #[must_use]
    pub fn to_server(setup: LinkSetup) -> Self {
        Self::new(setup, End::server(config(setup)), Peer::client())
    }

    /// The peer opens another call.
    pub fn open_a_call(&mut self) {
        self.peer.open_a_call();
        self.pump();
    }
}

impl Link<Client> {
    /// Our end is the tunnel client.
    #[must_use]
    pub fn to_client(setup: LinkSetup) -> Self {
        Self::new(setup, End::client(config(setup)), Peer::server())
    }
}

fn config(setup: LinkSetup) -> Config {
    let mut config = Config::default();
    // It is about payload alone.
    config.limits.liveness.heartbeat = Duration::MAX;
    config.limits.liveness.probe = Duration::MAX;
    config.limits.receive_window = setup.windows;
    config
}

impl<R: Role + Opens> Link<R> {
    fn new(setup: LinkSetup, end: End<R>, peer: Peer) -> Self {
        let mut link = Self {
            setup,
            now: 0,
            steps: BTreeMap::new(),
            count: 0,
            chance: 1,
            up: Lane::default(),
            down: Lane::default(),
            peer,
            end,
            calls: Vec::new(),
            read: 0,
        };
        if let Reader::Every(time, _) = setup.reader {
            link.after(nanos(time), Step::Reads);
        }
        if let Source::Every(time, _) = setup.source {
            link.after(nanos(time), Step::Makes);
        }
        link.pump();
        link
    }

    fn after(&mut self, nanos: u64, step: Step) {
        self.count += 1;
        self.steps.insert((self.now + nanos, self.count), step);
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Time {
        Time::from_nanos(self.now)
    }

    /// Changes the link's round trip for what is sent from now on.
    pub const fn set_round_trip(&mut self, round_trip: Duration) {
        self.setup.round_trip = round_trip;
    }

    /// Our end's application reads everything that has come, and at once from now on.
    pub fn read_at_once(&mut self) {
        self.setup.reader = Reader::AtOnce;
        self.read_all(u32::MAX);
        self.pump();
    }

    /// Our end's application reads no more.
    pub const fn stop_reading(&mut self) {
        self.setup.reader = Reader::Never;
    }

    /// Bytes read by our end's application so far.
    #[must_use]
    pub const fn read(&self) -> u64 {
        self.read
    }

    /// The round trip that our end measured; zero if it measured none.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.end.tunnel.shortest_round_trip().unwrap_or_default()
    }

    /// Bytes by which all windows of our end have grown.
    #[must_use]
    pub fn growth(&self) -> u64 {
        self.end.tunnel.receive_growth()
    }

    /// The largest window that a live call has, and the smallest.
    #[must_use]
    pub fn windows(&self) -> (u32, u32) {
        let windows = self.calls.iter().filter(|call| !call.over);
        let sizes = windows.map(|call| call.size);
        let largest = sizes.clone().max().unwrap_or(0);
        (largest, sizes.min().unwrap_or(0))
    }

    /// The peer ends its first live call, after everything that it has sent.
    pub fn end_a_call(&mut self) {
        self.peer.end_a_call();
        self.pump();
    }

    /// Our end's application lets go of all calls that are over.
    pub fn release(&mut self) {
        for call in self.calls.iter().filter(|call| call.over) {
            // It is let go of more than once.
            let _ = self.end.tunnel.release(call.key);
        }
        self.pump();
    }

    /// Time passes.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + nanos(time);
        while let Some(next) = self.steps.first_entry() {
            let (at, _) = *next.key();
            if at > until {
                break;
            }
            let step = next.remove();
            self.now = at;
            self.step(step);
            self.pump();
            self.check();
        }
        self.now = until;
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::PeerSends => self.up.told = false,
            Step::WeSend => self.down.told = false,
            Step::PeerHears(sent) => self.peer_hears(&sent),
            Step::WeHear(frame) => self.we_hear(now, frame),
            Step::Reads => {
                if let Reader::Every(time, bytes) = self.setup.reader {
                    self.read_all(bytes);
                    self.after(nanos(time), Step::Reads);
                }
            }
            Step::Makes => {
                if let Source::Every(time, bytes) = self.setup.source {
                    self.peer.make(bytes);
                    self.after(nanos(time), Step::Makes);
                }
            }
        }
    }

    /// Nanoseconds that so many bytes keep a lane busy; a frame has gRPC's prefix in front.
    fn busy(&self, bytes: usize) -> u64 {
        (bytes as u64).saturating_mul(1_000_000_000) / self.setup.rate
    }

    /// How long a frame is on its way that has left by `free_at`.
    fn way(&mut self, lane: Lane) -> Lane {
        // Marsaglia's xorshift64: the same each time.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let late = self.chance % (nanos(self.setup.jitter) + 1);
        let way = nanos(self.setup.round_trip) / 2 + late;
        Lane {
            last: lane.last.max(lane.free_at + way),
            ..lane
        }
    }

    /// Both ends send what the lanes take.
    fn pump(&mut self) {
        while self.up.free_at <= self.now {
            let Some(frame) = self.peer.next(self.setup.source, self.setup.message) else {
                break;
            };
            self.up.free_at = self.now + self.busy(frame.bytes());
            self.up = self.way(self.up);
            self.after(self.up.last - self.now, Step::WeHear(frame));
        }
        while self.down.free_at <= self.now {
            let Some((sent, bytes)) = self.we_send() else {
                break;
            };
            self.down.free_at = self.now + self.busy(bytes);
            self.down = self.way(self.down);
            self.after(self.down.last - self.now, Step::PeerHears(sent));
        }
        if self.up.free_at > self.now && !core::mem::replace(&mut self.up.told, true) {
            self.after(self.up.free_at - self.now, Step::PeerSends);
        }
        if self.down.free_at > self.now && !core::mem::replace(&mut self.down.told, true) {
            self.after(self.down.free_at - self.now, Step::WeSend);
        }
    }
}
