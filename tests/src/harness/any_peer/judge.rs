//! What must be true of an end, whatever its peer does.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use grpctunnel_core::wire::{ClientKind, DecodeLimits, ServerKind, decode_client, decode_server};
use grpctunnel_core::{Carrier, Side};

use super::super::fail;
use super::super::seen::Seen;
use super::super::sent::{Headers, SentFrame, Status};
use super::super::validator::Validator;
use super::PeerSetup;

/// What the end reads of a frame that the reference decoder refuses for a string that is not
/// UTF-8, as far as what may follow depends on it.
fn lenient(by: Side, frame: &[u8]) -> Option<SentFrame> {
    let limits = DecodeLimits::default();
    match by {
        Side::Client => {
            let frame = decode_client(frame, &limits).ok()?;
            let ClientKind::NewStream(new) = frame.kind else {
                return None;
            };
            Some(SentFrame::New {
                id: frame.stream_id,
                method: String::new(),
                headers: Headers::new(),
                window: new.initial_window_size,
                revision: new.revision,
            })
        }
        Side::Server => {
            let frame = decode_server(frame, &limits).ok()?;
            let id = frame.stream_id;
            match frame.kind {
                ServerKind::Headers(_) => Some(SentFrame::Headers {
                    id,
                    headers: Headers::new(),
                }),
                ServerKind::Close(_) => Some(SentFrame::Close {
                    id,
                    status: Status::default(),
                    trailers: Headers::new(),
                    unprocessed: false,
                }),
                _ => None,
            }
        }
    }
}

/// What an application has seen of one call.
#[derive(Debug, Default)]
struct Call {
    headers: bool,
    got: bool,
    half_closed: bool,
    over: bool,
}

/// Bytes of a frame's framing: gRPC's length prefix.
const PREFIX: usize = 5;

/// Watches one end.
pub(super) struct Judge {
    side: Side,
    calls: HashMap<i64, Call>,
    carrier: bool,
    given_up: bool,
    /// Response headers are outstanding.
    requested: bool,
    validator: Validator,
    /// The validator cannot read everything that the end can.
    blind: bool,
    max_streams: usize,
    rejections: usize,
    /// Control frames that have left since something happened to the end.
    control: usize,
    /// Bytes that may leave, for what came and what the application did.
    allowed: usize,
    left: usize,
    digest: DefaultHasher,
}

impl Judge {
    pub(super) fn new(side: Side, setup: &PeerSetup) -> Self {
        let limits = setup.config().limits;
        let negotiated = matches!(setup.opening % 4, 0 | 1);
        Self {
            side,
            calls: HashMap::new(),
            carrier: false,
            given_up: false,
            requested: setup.opening % 4 == 3,
            validator: Validator::new(negotiated, setup.window.bytes()),
            blind: false,
            max_streams: limits.max_streams as usize,
            rejections: limits.pending_rejections as usize,
            control: 0,
            // Settings, or the answer to them.
            allowed: 64,
            left: 0,
            digest: DefaultHasher::new(),
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// The response headers came.
    pub(super) fn opened(&mut self, on: bool) {
        if core::mem::take(&mut self.requested) {
            self.validator.negotiated(on);
        }
    }

    /// A frame of the peer was taken in.
    pub(super) fn heard(&mut self, frame: &[u8]) {
        let by = match self.side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        match SentFrame::try_read(by, frame).or_else(|| lenient(by, frame)) {
            Some(sent) => self.blind |= !self.validator.heard_any(self.side, &sent, frame),
            // The end reads what prost refuses: what it says of it cannot be held against it.
            None => self.blind = true,
        }
    }

    /// The peer has paid for answers with a frame of so many bytes.
    pub(super) fn paid(&mut self, len: usize) {
        self.flush();
        self.allowed += 2 * (len + PREFIX) + 64;
    }

    /// The application did something that may send so many bytes, and a frame's framing and some
    /// words of the core.
    pub(super) fn acted(&mut self, bytes: usize) {
        self.flush();
        self.allowed += bytes + bytes / 64 + 200;
    }

    /// Time may end every call, and test the tunnel.
    pub(super) fn time_passed(&mut self) {
        self.flush();
        self.allowed += 200 * (self.calls.len() + 2);
    }

    /// A drain ends every call sooner or later.
    pub(super) fn drained(&mut self) {
        self.flush();
        self.allowed += 200 * (self.calls.len() + 2);
    }

    /// What leaves from here on waits now: nothing else has come in.
    pub(super) const fn flush(&mut self) {
        self.control = 0;
    }

    /// A frame leaves.
    pub(super) fn sent(&mut self, sent: &SentFrame, len: usize) {
        assert!(!self.carrier, "{sent}: the carrier is finished");
        (sent.to_string(), len).hash(&mut self.digest);
        if !self.blind {
            self.validator.sent(self.side, sent);
        }
        if !matches!(sent, SentFrame::Message { .. } | SentFrame::More { .. }) {
            self.control += 1;
        }
        // Window update, head or cancel, and close of each stream, and the tunnel's own.
        let most = 3 * self.max_streams + self.rejections + 4;
        assert!(
            self.control <= most,
            "{sent}: {} control frames",
            self.control
        );
        self.left += len + PREFIX;
        let (left, allowed) = (self.left, self.allowed);
        assert!(
            left <= allowed,
            "{sent}: {left} bytes, {allowed} are paid for"
        );
    }

    /// An application saw something.
    pub(super) fn saw(&mut self, seen: &Seen) {
        if let Seen::Carrier(what) = seen {
            // A peer that does not finish its side is given up in the end.
            let first = !self.carrier;
            let gives_up = matches!(what, Carrier::Abort(_)) && !self.given_up;
            assert!(first || gives_up, "the carrier ends twice");
            self.given_up |= gives_up;
            self.carrier = true;
            assert!(self.calls.values().all(|call| call.over), "calls are left");
            return;
        }
        let Some(number) = seen.call() else {
            return;
        };
        let known = self.calls.contains_key(&number);
        assert!(self.side == Side::Client || known || matches!(seen, Seen::Opened { .. }));
        let call = self.calls.entry(number).or_default();
        let late = call.over;
        match seen {
            Seen::Opened { .. } => assert!(!known, "{number} opens twice"),
            Seen::Headers { .. } => {
                assert!(!late && !call.got && !call.headers, "headers of {number}");
                call.headers = true;
            }
            Seen::Data { .. } => assert!(!late, "data of {number} behind its end"),
            // What is whole is read behind the end.
            Seen::Got { .. } => call.got = true,
            Seen::HalfClosed(_) => {
                assert!(!late && !call.half_closed, "half-close of {number}");
                call.half_closed = true;
            }
            Seen::Writable(_) => assert!(!late, "{number} is writable behind its end"),
            Seen::Ended { .. } => {
                assert!(!late, "{number} ends twice");
                call.over = true;
            }
            other => fail(format_args!("{other:?} is of no call")),
        }
    }
}
