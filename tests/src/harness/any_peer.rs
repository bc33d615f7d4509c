//! One end against any peer: frames in any order beside an application that does anything.
//!
//! What is judged holds whatever the peer does: the end does not break, an error of the tunnel is
//! kept, every call has one end and nothing behind it, what the end says passes the strict
//! validator, and neither its memory nor its answers grow beyond their bounds.

mod act;
mod bulk;
mod judge;
mod memory;
mod steps;

use grpctunnel_core::{
    Client, Config, Limits, Negotiation, Opening, RevisionZeroLimits, Role, Server, Side, Time,
    TunnelError,
};

use super::endpoint::{ClientEnd, Endpoint, ServerEnd};
use super::pair::{Window, extension_set};
use super::seen::Seen;
use super::sent::SentFrame;
use super::store::{InPlace, Store};
pub use bulk::Bulk;
use judge::Judge;
use steps::sensible;
pub use steps::{PeerSetup, Sent, Step};

/// Bytes of the largest frame that an end takes here: what it lets lie fits a buffer in place.
const MAX_FRAME: u32 = 45_000;
/// Refusals that wait: as many as there is room for in place.
const REJECTIONS: u32 = 64;

impl PeerSetup {
    /// The settings of the end.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.flow_control = self.flow_control;
        config.extensions = extension_set(self.extensions);
        let limits = &mut config.limits;
        limits.max_streams = u32::from(self.max_streams).clamp(1, InPlace::STREAMS);
        limits.max_frame = MAX_FRAME;
        limits.pending_rejections = REJECTIONS;
        limits.receive_window.initial = self.window.bytes();
        limits.receive_window.max = self.window.bytes();
        limits.revision_zero = RevisionZeroLimits {
            stream: 20_000,
            tunnel: 40_000,
            stall: core::time::Duration::from_secs(10),
        };
        if *self == ALONE {
            // Whether the tunnel is idle depends on all streams, and a probe takes an id.
            limits.liveness.heartbeat = core::time::Duration::MAX;
            limits.liveness.probe = core::time::Duration::MAX;
        }
        if self.tight % 4 == 3 {
            tighten(limits);
        }
        config
    }

    const fn opening(&self) -> Opening {
        match self.opening % 4 {
            0 | 1 => Opening::Accepted(Negotiation::On),
            2 => Opening::Accepted(Negotiation::Off),
            _ => Opening::Requested,
        }
    }
}

/// Limits that a few steps reach.
fn tighten(limits: &mut Limits) {
    limits.max_message = 10_000;
    limits.max_frame = 15_000;
    limits.pending_rejections = 3;
    limits.empty_chunks = 2;
    let window = &mut limits.receive_window;
    window.max = window.initial.saturating_mul(4).min(InPlace::WINDOW);
    window.growth_budget = 10_000;
    limits.revision_zero.stream = 500;
    limits.revision_zero.tunnel = 1_000;
    for bucket in [
        &mut limits.useless_frames,
        &mut limits.window_updates,
        &mut limits.protocol_errors,
    ] {
        bucket.capacity = 10;
        bucket.per_second = 1;
    }
    limits.decode.metadata_bytes = 200;
    limits.decode.metadata_entries = 3;
    limits.decode.method_name = 20;
    limits.decode.status = 100;
}

/// The setting in which streams are held against each other: nothing is shared that a few steps
/// could use up, and everything leaves at once.
const ALONE: PeerSetup = PeerSetup {
    opening: 0,
    flow_control: true,
    window: Window::Whole,
    max_streams: 32,
    prelude: 1,
    extensions: 0,
    tight: 0,
    lazy: 0,
};

/// An end with its clock.
struct Run<R: Role, S: Store> {
    end: Endpoint<R, S>,
    now: Time,
    setup: PeerSetup,
    judge: Judge,
    seen: Vec<Seen>,
    error: Option<TunnelError>,
    /// What all streams share was used up, so that one may have met another: the number of streams,
    /// or a reader without flow control that held up everything.
    shared: bool,
    /// The most bytes by which all receive windows had grown.
    grown: u64,
}

impl<R: Role, S: Store> Run<R, S> {
    fn new(end: Endpoint<R, S>, setup: PeerSetup) -> Self {
        let judge = Judge::new(end.side(), &setup);
        let mut run = Self {
            end,
            now: Time::ZERO,
            setup,
            judge,
            seen: Vec::new(),
            error: None,
            shared: false,
            grown: 0,
        };
        run.observe();
        run
    }

    fn has(&self, call: i64) -> bool {
        self.end.has(call)
    }

    /// A frame comes.
    fn feed(&mut self, frame: &[u8]) {
        let most = self.end.tunnel.limits().max_streams;
        self.shared |= u32::try_from(self.end.tunnel.streams()).unwrap_or(most) >= most;
        if !self.end.tunnel.wants_read() {
            self.shared = true;
            return;
        }
        let before = self.end.tunnel.error().cloned();
        let result = self.end.feed(self.now, frame);
        if let Err(error) = &result {
            assert_eq!(self.end.tunnel.error(), Some(error), "kept");
            assert!(
                before.is_none_or(|before| before == *error),
                "the first one"
            );
            assert!(self.end.tunnel.is_ended(), "an error ends the tunnel");
        } else if !self.end.tunnel.is_ended() {
            self.judge.heard(frame);
        }
        self.judge.paid(frame.len());
        self.settle();
    }

    /// One frame leaves; false if there is none.
    fn transmit(&mut self) -> bool {
        let side = self.end.side();
        let Some(frame) = self.end.transmit(self.now) else {
            return false;
        };
        self.judge.sent(&SentFrame::read(side, &frame), frame.len());
        true
    }

    /// All that can leave does, and no more than that of control.
    fn flush(&mut self) {
        self.judge.flush();
        while self.transmit() {}
    }

    /// After every step: what is to leave at once leaves, and everything is looked at.
    fn settle(&mut self) {
        if self.setup == ALONE {
            // What is due now is not to wait for whatever comes next.
            self.end.timeout(self.now);
        }
        if self.setup.lazy % 4 != 3 {
            self.flush();
        }
        self.observe();
    }

    fn observe(&mut self) {
        for seen in self.end.take_seen() {
            self.judge.saw(&seen);
            self.seen.push(seen);
        }
        let error = self.end.tunnel.error();
        if let Some(kept) = &self.error {
            assert_eq!(error, Some(kept), "an error is kept");
        }
        self.error = error.cloned();
        self.check_memory();
    }

    /// What was seen of all streams but one, each in its order.
    fn of_others(&self, without: i64) -> Vec<String> {
        let mut seen: Vec<(i64, String)> = self
            .seen
            .iter()
            .filter_map(|seen| Some((seen.call()?, seen.notation(self.end.side()))))
            .filter(|(call, _)| *call != without)
            .collect();
        seen.sort_by_key(|(call, _)| *call);
        seen.into_iter().map(|(_, seen)| seen).collect()
    }

    /// Nothing is left once all is let go.
    fn finish(mut self) -> u64 {
        let calls: Vec<i64> = self.end.calls().collect();
        for call in &calls {
            self.judge.acted(0);
            self.end.release(*call);
        }
        self.flush();
        // An OK may be held, and behind it a message that waits for credit.
        self.advance(10);
        self.judge.acted(0);
        self.end.drain(self.now, core::time::Duration::ZERO);
        self.observe();
        self.advance(0);
        self.flush();
        self.observe();
        for call in calls {
            assert!(self.end.over(call).is_some(), "call {call} is over");
        }
        let tunnel = &self.end.tunnel;
        assert_eq!(tunnel.streams(), 0, "not retired");
        assert_eq!(tunnel.active_streams(), 0);
        assert!(tunnel.wants_read());
        self.judge.digest()
    }
}

fn server<S: Store>(setup: PeerSetup, steps: &[Step], without: Option<i64>) -> Run<Server, S> {
    let end = ServerEnd::server(Time::ZERO, setup.config(), setup.opening());
    let mut run = Run::<Server, S>::new(end, setup);
    run.settle();
    for step in &sensible(Side::Client, &setup, steps) {
        if without.is_none() || step.stream() != without {
            run.step_of_server(step);
        } else if let Step::Bulk(bulk) = step {
            run.bulk_of_none(*bulk);
        }
    }
    run
}

fn client<S: Store>(setup: PeerSetup, steps: &[Step], without: Option<i64>) -> Run<Client, S> {
    let end = ClientEnd::client(Time::ZERO, setup.config(), setup.opening());
    let mut run = Run::<Client, S>::new(end, setup);
    run.settle();
    for step in &sensible(Side::Server, &setup, steps) {
        // All calls are opened: of the one, nothing else happens.
        let opens = matches!(step, Step::Do(super::Op::Open { .. }));
        if opens || without.is_none() || step.stream() != without {
            run.step_of_client(step);
        } else if let Step::Bulk(bulk) = step {
            run.bulk_of_none(*bulk);
        }
    }
    run
}

/// A tunnel server against any client, and what is true of it over both kinds of memory. Returns
/// how many steps were taken.
pub fn server_input(setup: PeerSetup, steps: &[Step]) -> usize {
    let in_place = server::<InPlace>(setup, steps, None).finish();
    let on_heap = server::<super::OnHeap>(setup, steps, None).finish();
    assert_eq!(in_place, on_heap, "the memory shows on the wire");
    steps.len()
}

/// A tunnel client against any server, as [`server_input`].
pub fn client_input(setup: PeerSetup, steps: &[Step]) -> usize {
    let in_place = client::<InPlace>(setup, steps, None).finish();
    let on_heap = client::<super::OnHeap>(setup, steps, None).finish();
    assert_eq!(in_place, on_heap, "the memory shows on the wire");
    steps.len()
}

/// Takes all frames and commands of one stream out: every other one sees what it saw before,
/// unless the tunnel ended, or what all of them share was used up: new streams may be refused then.
pub fn isolation(of: Side, left: i64, steps: &[Step]) -> usize {
    match of {
        Side::Server => {
            let steps = &[&opened_by_peer()[..], steps].concat();
            let all = server::<super::OnHeap>(ALONE, steps, None);
            if all.error.is_none() {
                let others = server::<super::OnHeap>(ALONE, steps, Some(left));
                if !all.shared && !others.shared {
                    let (all, others) = (all.of_others(left), others.of_others(left));
                    assert_eq!(all, others, "without {left}");
                }
            }
            all.finish();
        }
        Side::Client => {
            let steps = &[&opened_by_us()[..], steps].concat();
            let all = client::<super::OnHeap>(ALONE, steps, None);
            if all.error.is_none() {
                let others = client::<super::OnHeap>(ALONE, steps, Some(left));
                if !all.shared && !others.shared {
                    let (all, others) = (all.of_others(left), others.of_others(left));
                    assert_eq!(all, others, "without {left}");
                }
            }
            all.finish();
        }
    }
    steps.len()
}

/// Five calls of different kinds, as a client opens them.
fn opened_by_peer() -> Vec<Step> {
    let opened = |(kind, id)| Step::Frame(Sent::opening(kind, id));
    (0..).zip(1..6).map(opened).collect()
}

/// Five calls.
fn opened_by_us() -> Vec<Step> {
    let open = |kind: u8| {
        Step::Do(super::Op::Open {
            kind: super::Kind::Unknown,
            deadline: (kind == 3).then_some(10),
            headers: 0,
        })
    };
    (0..5).map(open).collect()
}

/// What a run of [`limits`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Steps taken, of both ends.
    pub steps: usize,
    /// The most bytes by which the windows of the server had grown, and those of the client.
    pub grown: [u64; 2],
}

/// Both ends, with limits that a few steps reach, on the heap: what is held is within the bound
/// after every step. A client begins with some calls, as a server does with those of its peer.
pub fn limits(mut setup: PeerSetup, steps: &[Step]) -> Reached {
    setup.tight = 3;
    setup.max_streams = setup.max_streams % 6 + 1;
    let server = server::<super::OnHeap>(setup, steps, None);
    let opened = [&opened_by_us()[..], steps].concat();
    let client = client::<super::OnHeap>(setup, &opened, None);
    let grown = [server.grown, client.grown];
    server.finish();
    client.finish();
    Reached {
        steps: 2 * steps.len(),
        grown,
    }
}
