//! Any peer: frames in any order, beside applications that do anything, never break an end, and
//! never what another stream sees.

use core::time::Duration;

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{
    Client, Hold, Negotiation, OpenOptions, Opening, RevisionZeroLimits, Role, Server, Side, Time,
};
use grpctunnel_tests::harness::frames::{
    Fields, Frame, cancel, close, half, hdr, metadata, more, msg, new, none, on, set, wu,
};
use grpctunnel_tests::harness::{
    ClientEnd, Endpoint, InPlace, OnHeap, Said, Seen, ServerEnd, Store, config,
};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

/// A frame of a peer, for one of a few ids.
#[derive(Clone, Copy, Debug)]
struct Sent {
    kind: u8,
    id: i64,
    size: u32,
    len: u16,
}

/// One step.
#[derive(Clone, Copy, Debug)]
enum Step {
    Peer(Sent),
    Read(i64),
    Send(i64, u16),
    Finish(i64, u8),
    Release(i64),
    Advance(u8),
}

impl Step {
    /// The stream that it is about.
    const fn id(self) -> Option<i64> {
        match self {
            Self::Peer(Sent { id, .. })
            | Self::Read(id)
            | Self::Send(id, _)
            | Self::Finish(id, _)
            | Self::Release(id) => Some(id),
            Self::Advance(_) => None,
        }
    }
}

/// Frames of a tunnel client. Calls are opened in order by `opening` below.
fn from_client(sent: Sent) -> Frame {
    let Sent {
        kind,
        id,
        size,
        len,
    } = sent;
    match kind % 8 {
        0 | 1 => msg(id, size, usize::from(len)),
        2 | 3 => more(id, usize::from(len)),
        4 => half(id),
        5 => cancel(id),
        6 => wu(id, size),
        _ => none(id),
    }
}

/// Frames of a tunnel server.
fn from_server(sent: Sent) -> Frame {
    let Sent {
        kind,
        id,
        size,
        len,
    } = sent;
    match kind % 9 {
        0 | 1 => msg(id, size, usize::from(len)),
        2 | 3 => more(id, usize::from(len)),
        4 => hdr(id, &[("k", "v")]),
        5 => close(id, i32::from(len % 18)),
        6 => wu(id, size),
        7 => on(
            id,
            &Fields::new().message(2, &metadata(&[(b"k", &[b"\xff"])])),
        ),
        _ => set(id, size, &[0, 1]),
    }
}

/// How a `new_stream` may look.
fn opening(id: i64, kind: u8) -> Frame {
    match kind % 5 {
        0 | 1 => new(id, "svc/m").into(),
        2 => new(id, "svc/m").revision(0).into(),
        3 => new(id, "svc/m").window(5).timeout("1S").into(),
        _ => new(id, "").into(),
    }
}

fn limits<S: Store>() -> grpctunnel_core::Config {
    let mut config = config::<S>();
    config.limits.revision_zero = RevisionZeroLimits {
        stream: 20_000,
        tunnel: 1 << 20,
        stall: Duration::from_secs(10),
    };
    config
}

/// An end with its clock.
struct Run<R: Role, S: Store> {
    end: Endpoint<R, S>,
    now: Time,
    seen: Vec<Seen>,
    closed: Vec<i64>,
}

impl<R: Role, S: Store> Run<R, S> {
    const fn new(end: Endpoint<R, S>) -> Self {
        Self {
            end,
            now: Time::ZERO,
            seen: Vec::new(),
            closed: Vec::new(),
        }
    }

    fn has(&self, call: i64) -> bool {
        self.end.calls().any(|known| known == call)
    }

    fn feed(&mut self, frame: &[u8]) {
        let before = self.end.tunnel.error().cloned();
        if self.end.tunnel.wants_read()
            && let Err(error) = self.end.feed(self.now, frame)
        {
            assert_eq!(self.end.tunnel.error(), Some(&error), "kept");
            assert!(before.is_none_or(|before| before == error), "the first one");
        }
        self.settle();
    }

    /// Everything leaves, and nothing behind a stream's end.
    fn settle(&mut self) {
        let side = self.end.side();
        while let Some(frame) = self.end.transmit(self.now) {
            let said = Said::read(side, &frame);
            let last = matches!(said, Said::Close { .. } | Said::Cancel(_));
            assert!(!self.closed.contains(&said.id()), "{said}: behind the end");
            if last {
                self.closed.push(said.id());
            }
        }
        self.seen.append(&mut self.end.take_seen());
    }

    fn both(&mut self, step: Step) {
        match step {
            Step::Read(call) if self.has(call) && !self.end.released(call) => {
                while self.end.read(call, 5_000) {}
            }
            Step::Send(call, len) if self.has(call) => {
                let message = vec![7; usize::from(len)];
                self.end.send(call, message, usize::from(len)).ok();
            }
            Step::Release(call) if self.has(call) => self.end.release(call),
            Step::Advance(tenths) => {
                let time = Duration::from_millis(100 * u64::from(tenths));
                self.now = self.now.saturating_add(time);
                self.end.timeout(self.now);
            }
            _ => {}
        }
        self.settle();
    }

    /// What was seen of all streams but one, each in its order.
    fn of_others(&self, without: i64) -> Vec<String> {
        let mut seen: Vec<(i64, String)> = self
            .seen
            .iter()
            .filter_map(|seen| Some((call_of(seen)?, seen.notation(self.end.side()))))
            .filter(|(call, _)| *call != without)
            .collect();
        seen.sort_by_key(|(call, _)| *call);
        seen.into_iter().map(|(_, seen)| seen).collect()
    }

    /// Nothing is left once all is let go.
    fn finish(&mut self) {
        let calls: Vec<i64> = self.end.calls().collect();
        for call in &calls {
            self.end.release(*call);
        }
        // An OK may be held, and behind it a message that waits for credit.
        self.both(Step::Advance(10));
        self.end.drain(self.now, Duration::ZERO);
        self.both(Step::Advance(0));
        for call in calls {
            assert!(self.end.over(call).is_some(), "call {call} is over");
        }
        assert_eq!(self.end.tunnel.streams(), 0);
        assert_eq!(self.end.tunnel.active_streams(), 0);
        assert!(self.end.tunnel.wants_read());
    }
}

const fn call_of(seen: &Seen) -> Option<i64> {
    match seen {
        Seen::Opened { call, .. }
        | Seen::Headers { call, .. }
        | Seen::Data { call, .. }
        | Seen::Got { call, .. }
        | Seen::HalfClosed(call)
        | Seen::Writable(call)
        | Seen::Ended { call, .. } => Some(*call),
        Seen::Settled(_)
        | Seen::MayOpen
        | Seen::Draining
        | Seen::RoundTrip(_)
        | Seen::Responsive(_)
        | Seen::Carrier(_) => None,
    }
}

/// A server with some calls, and the steps but those of one stream.
fn server<S: Store>(calls: &[u8], steps: &[Step], without: Option<i64>) -> Run<Server, S> {
    let accepted = Opening::Accepted(Negotiation::On);
    let mut run = Run::<Server, S>::new(ServerEnd::server(Time::ZERO, limits::<S>(), accepted));
    run.settle();
    for (id, kind) in (1..).zip(calls) {
        if without != Some(id) {
            run.feed(&opening(id, *kind));
        }
    }
    for step in steps
        .iter()
        .filter(|step| step.id().is_none() || step.id() != without)
    {
        match *step {
            Step::Peer(sent) => run.feed(&from_client(sent)),
            Step::Finish(call, code) if run.has(call) => {
                let now = run.now;
                let status = StatusHead {
                    code: i32::from(code % 3),
                    message: "",
                    details: &[],
                };
                let hold = Hold::UntilHalfClose {
                    max: Duration::from_secs(1),
                };
                if code % 2 == 0 {
                    run.end.respond(call, &[]).ok();
                }
                run.end.close(now, call, status, &[], hold).ok();
            }
            step => run.both(step),
        }
        run.settle();
    }
    run
}

/// A client with some calls, and the steps but those of one stream.
fn client<S: Store>(calls: &[u8], steps: &[Step], without: Option<i64>) -> Run<Client, S> {
    let accepted = Opening::Accepted(Negotiation::On);
    let mut run = Run::<Client, S>::new(ClientEnd::client(Time::ZERO, limits::<S>(), accepted));
    run.feed(&set(-1, 5_000, &[0, 1]));
    for kind in calls {
        let deadline = (*kind == 3).then_some(Time::from_millis(1_000));
        let options = OpenOptions {
            deadline,
            ..OpenOptions::default()
        };
        run.end.open(run.now, "svc/m", &[], options).ok();
        run.settle();
    }
    for step in steps
        .iter()
        .filter(|step| step.id().is_none() || step.id() != without)
    {
        match *step {
            Step::Peer(sent) => run.feed(&from_server(sent)),
            Step::Finish(call, code) if run.has(call) => {
                if code % 2 == 0 {
                    run.end.half_close(call).ok();
                } else {
                    run.end.cancel(call).ok();
                }
            }
            step => run.both(step),
        }
        run.settle();
    }
    run
}

fn sent() -> impl Strategy<Value = Sent> {
    let size = prop_oneof![4 => 0..20_u32, 2 => 0..70_000_u32, 1 => any::<u32>()];
    let len = prop_oneof![6 => 0..20_u16, 1 => 0..20_000_u16];
    (any::<u8>(), 1..6_i64, size, len).prop_map(|(kind, id, size, len)| Sent {
        kind,
        id,
        size,
        len,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let call = || 1..6_i64;
    prop_oneof![
        12 => sent().prop_map(Step::Peer),
        3 => call().prop_map(Step::Read),
        3 => (call(), 0..9_000_u16).prop_map(|(call, len)| Step::Send(call, len)),
        1 => (call(), any::<u8>()).prop_map(|(call, code)| Step::Finish(call, code)),
        1 => call().prop_map(Step::Release),
        1 => (0..8_u8).prop_map(Step::Advance),
    ]
}

fn calls() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 5)
}

proptest! {
    #[test]
    fn no_client_breaks_a_server(calls in calls(), steps in vec(step(), 0..120), left in 1..6_i64) {
        server::<InPlace>(&calls, &steps, None).finish();
        let mut all = server::<OnHeap>(&calls, &steps, None);
        if all.end.tunnel.error().is_none() {
            let others = server::<OnHeap>(&calls, &steps, Some(left));
            prop_assert_eq!(all.of_others(left), others.of_others(left));
        }
        all.finish();
    }

    #[test]
    fn no_server_breaks_a_client(calls in calls(), steps in vec(step(), 0..120), left in 1..6_i64) {
        client::<InPlace>(&calls, &steps, None).finish();
        let mut all = client::<OnHeap>(&calls, &steps, None);
        if all.end.tunnel.error().is_none() {
            // All calls are opened: of the one, nothing else happens.
            let others = client::<OnHeap>(&calls, &steps, Some(left));
            prop_assert_eq!(all.of_others(left), others.of_others(left));
        }
        all.finish();
    }

    #[test]
    fn no_bytes_break_an_end(frames in vec(vec(any::<u8>(), 0..40), 0..20)) {
        let mut to_server = server::<OnHeap>(&[0, 2], &[], None);
        let mut to_client = client::<OnHeap>(&[0, 2], &[], None);
        for frame in &frames {
            to_server.feed(frame);
            to_client.feed(frame);
        }
        prop_assert_eq!(to_server.end.side(), Side::Server);
        to_server.finish();
        to_client.finish();
    }
}
