//! What may happen to an end that has any peer.

use grpctunnel_core::Side;

use super::super::frames::{
    Fields, Frame, cancel, close, close_with, content, drain, extensions, half, hdr, metadata,
    more, msg, new, none, on, ping, pong, set, set_with, status, strings, wu,
};
use super::super::op::Op;
use super::super::pair::Window;
use super::Bulk;

/// How the end is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct PeerSetup {
    /// Accepted with or without negotiation, or requested; modulo 4.
    pub opening: u8,
    /// Whether the end speaks revision one.
    pub flow_control: bool,
    /// Its receive window.
    pub window: Window,
    /// Calls at once, one at least.
    pub max_streams: u8,
    /// How the peer opens; modulo 8. Nothing at 0, extensions at 2, a small window at 3; else
    /// what is usual.
    pub prelude: u8,
    /// Its extensions, a bit each.
    pub extensions: u8,
    /// Whether its limits are such that a few steps reach them: where it is 3 modulo 4.
    pub tight: u8,
    /// Whether its queued frames leave only in a step of their own, where it is 3 modulo 4.
    pub lazy: u8,
}

/// A frame of the peer, of one of a few shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which shape.
    pub kind: u8,
    /// The stream.
    pub id: i64,
    /// The announced size, credit or code.
    pub size: u32,
    /// Bytes of payload; those above 20,000 are left out.
    pub len: u16,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A frame comes.
    Frame(Sent),
    /// Rounds in which the peer sends all that it may on a call.
    Bulk(Bulk),
    /// Any bytes come as a frame.
    Raw(Vec<u8>),
    /// The application acts, time passes, frames leave, the carrier breaks. What names a call names
    /// one of the first eight; what is the other end's to do does nothing.
    Do(Op),
    /// The response headers of the carrier come.
    Opened {
        /// Whether they negotiate.
        on: bool,
    },
    /// The peer finishes the carrier.
    Finished,
}

/// The number of the call that a step names.
pub(super) fn number(call: u8) -> i64 {
    i64::from(call % 8) + 1
}

impl Step {
    /// Its stream.
    pub(super) fn stream(&self) -> Option<i64> {
        match self {
            Self::Frame(sent) => Some(sent.id),
            Self::Do(op) => op.call().map(number),
            Self::Bulk(bulk) => Some(number(bulk.call)),
            Self::Raw(_) | Self::Opened { .. } | Self::Finished => None,
        }
    }
}

impl Op {
    /// The call that it names.
    const fn call(&self) -> Option<u8> {
        match self {
            Self::Send { call, .. }
            | Self::Provide { call, .. }
            | Self::HalfClose { call }
            | Self::Cancel { call }
            | Self::Respond { call, .. }
            | Self::Close { call, .. }
            | Self::Read { call, .. }
            | Self::StopReading { call, .. }
            | Self::Release { call, .. } => Some(*call),
            Self::Open { .. }
            | Self::Transmit { .. }
            | Self::Deliver { .. }
            | Self::Advance { .. }
            | Self::Drain { .. }
            | Self::Cut => None,
        }
    }
}

/// The first kind that opens a stream.
const NEW: u8 = 24;

/// The peer's opening and then the steps, chosen so that most of them mean something: ids rise,
/// and frames are for streams that there are. Some are left as they are.
pub(super) fn sensible(by: Side, setup: &PeerSetup, steps: &[Step]) -> Vec<Step> {
    let mut all = prelude(by, setup);
    let mut ids = Ids {
        by,
        extends: setup.prelude % 8 == 2 && setup.extensions != 0,
        negotiated: setup.opening % 4 != 2,
        lazy: setup.lazy % 4 == 3,
        highest: 0,
        opened: 0,
    };
    for step in &all {
        if let Step::Frame(sent) = step {
            ids.highest = ids.highest.max(sent.id);
        }
    }
    for step in steps {
        let mut step = step.clone();
        if ids.make_sensible(&mut step) {
            all.push(step);
        }
    }
    all
}

/// Which streams there are.
struct Ids {
    by: Side,
    extends: bool,
    negotiated: bool,
    lazy: bool,
    highest: i64,
    /// Calls of a client that have not left.
    opened: i64,
}

impl Ids {
    /// False if nothing sensible can be made of it.
    fn make_sensible(&mut self, step: &mut Step) -> bool {
        match step {
            Step::Frame(sent) => return sent.len % 64 == 63 || self.make_frame_sensible(sent),
            Step::Do(Op::Open { .. }) if self.by == Side::Server => {
                self.opened += 1;
                self.flush(!self.lazy);
            }
            Step::Do(Op::Transmit { .. }) | Step::Bulk(_) => self.flush(true),
            _ => {}
        }
        true
    }

    fn flush(&mut self, now: bool) {
        if now {
            self.highest += core::mem::take(&mut self.opened);
        }
    }

    fn make_frame_sensible(&mut self, sent: &mut Sent) -> bool {
        sent.len = sent.len.min(14_000);
        match (self.by, sent.kind % 32) {
            (Side::Client, NEW..) => {
                self.highest = self.highest.saturating_add(1);
                sent.id = self.highest;
                return true;
            }
            (Side::Client, 18..=20) | (Side::Server, 18 | 19 | 23) if self.extends => {
                sent.id = -1;
                return true;
            }
            (Side::Server, 18) => sent.kind = 10,
            (Side::Server, 20..=22) if !self.negotiated => sent.kind = 6,
            _ => {}
        }
        if self.highest > 0 && (sent.id < 1 || sent.id > self.highest) {
            sent.id = sent.id.saturating_sub(1).rem_euclid(self.highest) + 1;
        }
        self.highest > 0
    }
}

fn prelude(by: Side, setup: &PeerSetup) -> Vec<Step> {
    if setup.prelude.is_multiple_of(8) {
        return Vec::new();
    }
    let mut all = vec![Step::Opened { on: true }];
    let extends = setup.prelude % 8 == 2;
    match by {
        Side::Client => {
            if extends && setup.extensions & 31 != 0 {
                all.push(Step::Frame(Sent {
                    kind: 18,
                    id: -1,
                    size: 1,
                    len: 4,
                }));
            }
            let opening = |id| Step::Frame(Sent::opening(0, id));
            all.extend([1, 2, 3].map(opening));
        }
        Side::Server => {
            if setup.opening % 4 == 2 {
                return all;
            }
            let mut settings = Sent::settings(if setup.prelude % 8 == 3 { 20 } else { 65_536 });
            if extends {
                settings.len = 6;
            }
            all.push(Step::Frame(settings));
        }
    }
    all
}

/// Entries that are too many or too large for tight limits, of which one is no text.
fn bad_metadata() -> Fields {
    metadata(&[(b"k", &[b"v", b"\xff"]), (b"l", &[&[b'x'; 300]])])
}

/// What the extension `TRANSPARENT` brings, of which most is in order.
fn transparent(pick: u16) -> Fields {
    let entries = match pick / 2 % 8 {
        0 => [
            ("content-type", "application/grpc"),
            ("grpc-encoding", "gzip"),
        ],
        1 => [
            ("content-type", "application/grpc+x"),
            (":authority", "a:1"),
        ],
        2 => [("grpc-encoding", "identity"), (":authority", "a")],
        3 => [("content-type", "text/plain"), ("grpc-encoding", "gzip")],
        4 => [("grpc-encoding", "a b"), (":authority", "a")],
        5 => [("grpc-encoding", "gzip"), (":authority", "a/b")],
        6 => [("grpc-encoding", ""), ("k", "v")],
        _ => [("grpc-encoding", "gzip"), ("k", "v")],
    };
    strings(&entries)
}

/// A message whose flag says that it is compressed.
fn compressed(id: i64, len: usize) -> Frame {
    let size = i64::try_from(len).unwrap_or(i64::MAX);
    let fields = Fields::new().number(1, size).bytes(2, &content(0, len));
    on(id, &Fields::new().message(3, &fields.number(100, 1)))
}

impl Sent {
    /// A call that begins, in one of five ways.
    #[must_use]
    pub const fn opening(how: u8, id: i64) -> Self {
        Self {
            kind: 24,
            id,
            size: how as u32,
            len: 0,
        }
    }

    /// Settings with this window.
    #[must_use]
    pub const fn settings(window: u32) -> Self {
        Self {
            kind: 20,
            id: -1,
            size: window,
            len: 0,
        }
    }

    fn len(self) -> usize {
        usize::from(self.len.min(20_000))
    }

    /// The frame, of a tunnel client.
    #[must_use]
    pub fn by_client(self) -> Frame {
        let Self { id, size, .. } = self;
        match self.kind % 32 {
            0..=4 => msg(id, size, self.len()),
            5 if self.len % 8 == 7 => compressed(id, self.len()),
            5 => msg(id, u32::from(self.len), self.len()),
            6..=9 => more(id, self.len()),
            10 | 11 => half(id),
            12 => cancel(id),
            13..=16 => wu(id, size),
            17 => none(id),
            18 => extensions(id, &content(size as usize % 6, self.len() % 6)),
            19 => ping(id, u64::from(size)),
            20 => pong(id, u64::from(size)),
            21..=23 => more(id, self.len().min(20)),
            _ => self.new_stream(),
        }
    }

    fn new_stream(self) -> Frame {
        let Self { id, size, .. } = self;
        let plain = new(id, "svc/m");
        match size % 14 {
            12 => plain.headers(transparent(self.len)).into(),
            0 | 1 | 5 => plain.into(),
            2 => plain.revision(0).into(),
            3 => plain.window(5).timeout("1S").into(),
            4 => new(id, "").into(),
            6 => plain.window(u32::from(self.len)).into(),
            7 => plain.revision(i32::from(self.len)).into(),
            8 => plain
                .headers(strings(&[("k", "v"), ("grpc-timeout", "0n")]))
                .into(),
            9 => plain.headers(bad_metadata()).into(),
            10 => plain.method(&content(97, self.len())).into(),
            _ => plain.window(u32::MAX).into(),
        }
    }

    /// The frame, of a tunnel server.
    #[must_use]
    pub fn by_server(self) -> Frame {
        let Self { id, size, .. } = self;
        match self.kind % 32 {
            0..=4 => msg(id, size, self.len()),
            5 if self.len % 8 == 7 => compressed(id, self.len()),
            5 => msg(id, u32::from(self.len), self.len()),
            6..=9 => more(id, self.len()),
            10 | 11 => hdr(id, &[("k", "v")]),
            12 if self.len % 2 == 1 => on(id, &Fields::new().message(2, &transparent(self.len))),
            12 => on(id, &Fields::new().message(2, &bad_metadata())),
            13..=16 => wu(id, size),
            17 => none(id),
            18 => drain(i64::from(size % 10) - 1),
            19 => ping(id, u64::from(size)),
            20..=22 => self.by_server_settings(),
            23 => pong(id, u64::from(size)),
            24 => close_with(id, &Fields::new().message(2, &status(5, b"\xff"))),
            25 => close_with(id, &Fields::new().message(1, &bad_metadata())),
            27 => close_with(
                id,
                &Fields::new()
                    .message(2, &status(i32::from(self.len % 3), b""))
                    .number(100, i64::from(size % 2)),
            ),
            26 => close_with(id, &Fields::new().message(2, &status(5, &[b'x'; 120]))),
            _ => close(id, i32::from(self.len % 18)),
        }
    }

    fn by_server_settings(self) -> Frame {
        match self.len % 8 {
            6 => set_with(self.size, &[1, 2, 3, 4, 5]),
            7 => set_with(self.size, &[self.size.to_le_bytes()[0] % 8]),
            5 => set(self.id, self.size, &[0]),
            4 => set(self.id, self.size, &[]),
            3 => set(self.id, self.size, &[7, 1, 0]),
            _ => set(-1, self.size, &[0, 1]),
        }
    }
}
