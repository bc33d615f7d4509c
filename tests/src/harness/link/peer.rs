//! A peer that behaves as the Go module does: chunks of 16,384 bytes, a stop when there is no
//! credit, every update added up, and an update for each chunk that it gets.

use std::collections::VecDeque;

use grpctunnel_core::Side;

use super::super::fail;
use super::super::frames::{self, Fields, cancel, close, new, on, set, wu};
use super::super::sent::SentFrame;
use super::Source;

const CHUNK: u32 = 16_384;
const WINDOW: u32 = 65_536;
static PAYLOAD: [u8; CHUNK as usize] = [7; CHUNK as usize];

/// A frame of the peer, on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Settings,
    New(i64),
    /// A message begins: the stream, bytes of all of it, and of this chunk.
    Message(i64, u32, u32),
    More(i64, u32),
    WindowUpdate(i64, u32),
    Cancel(i64),
    Close(i64),
}

impl Frame {
    /// Its bytes, without the prefix.
    pub(super) fn write(self) -> frames::Frame {
        let payload = |len: u32| PAYLOAD.get(..len as usize).unwrap_or(&PAYLOAD);
        match self {
            Self::Settings => set(-1, WINDOW, &[0, 1]),
            Self::New(id) => new(id, "link/Carry").into(),
            Self::Message(id, size, len) => {
                let message = Fields::new().number(1, i64::from(size));
                on(
                    id,
                    &Fields::new().message(3, &message.bytes(2, payload(len))),
                )
            }
            Self::More(id, len) => on(id, &Fields::new().bytes(4, payload(len))),
            Self::WindowUpdate(id, bytes) => wu(id, bytes),
            Self::Cancel(id) => cancel(id),
            Self::Close(id) => close(id, 0),
        }
    }

    /// Bytes that it takes on the link, to within a few.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Message(_, _, len) | Self::More(_, len) => len as usize + 20,
            _ => 40,
        }
    }

    /// Bytes of payload, and the call that they are for.
    pub(super) const fn payload(self) -> Option<(i64, u32)> {
        match self {
            Self::Message(id, _, len) | Self::More(id, len) => Some((id, len)),
            _ => None,
        }
    }
}

/// What the peer knows of a call.
#[derive(Debug)]
pub(super) struct PeerCall {
    id: i64,
    /// What it may send.
    pub(super) window: u32,
    /// Bytes that are missing of its message.
    missing: u32,
    /// Bytes that its application has made and that were not sent.
    made: u64,
    /// Bytes that are on their way.
    pub(super) in_flight: u64,
    over: bool,
}

/// The peer.
#[derive(Debug)]
pub(super) struct Peer {
    side: Side,
    control: VecDeque<Frame>,
    calls: Vec<PeerCall>,
    /// Whose turn it is.
    turn: usize,
}

impl Peer {
    fn new(side: Side, control: Option<Frame>) -> Self {
        Self {
            side,
            control: control.into_iter().collect(),
            calls: Vec::new(),
            turn: 0,
        }
    }

    /// A tunnel client, which waits for settings.
    pub(super) fn client() -> Self {
        Self::new(Side::Client, None)
    }

    /// A tunnel server.
    pub(super) fn server() -> Self {
        Self::new(Side::Server, Some(Frame::Settings))
    }

    fn open(&mut self, id: i64, window: u32) {
        self.calls.push(PeerCall {
            id,
            window,
            missing: 0,
            made: 0,
            in_flight: 0,
            over: false,
        });
    }

    /// A call that has not ended here.
    pub(super) fn live(&self, id: i64) -> Option<&PeerCall> {
        let mut calls = self.calls.iter();
        calls.find(|call| call.id == id && !call.over)
    }

    pub(super) fn call(&mut self, id: i64) -> &mut PeerCall {
        let found = self.calls.iter_mut().find(|call| call.id == id);
        found.unwrap_or_else(|| fail(format_args!("the peer has no call {id}")))
    }

    /// A frame of ours came. `calls` is how many it is to open.
    pub(super) fn hear(&mut self, sent: &SentFrame, calls: usize) {
        match sent {
            SentFrame::Settings { window, .. } => {
                for id in (1..).take(calls) {
                    self.control.push_back(Frame::New(id));
                    self.open(id, *window);
                }
            }
            SentFrame::New { id, window, .. } => self.open(*id, *window),
            SentFrame::Message { .. } | SentFrame::More { .. } => {
                let bytes = u32::try_from(sent.payload().len()).unwrap_or(u32::MAX);
                self.control
                    .push_back(Frame::WindowUpdate(sent.id(), bytes));
            }
            SentFrame::WindowUpdate { id, bytes } => {
                let call = self.call(*id);
                let sum = call.window.checked_add(*bytes);
                let Some(sum) = sum.filter(|sum| *sum <= i32::MAX.unsigned_abs()) else {
                    fail(format_args!("{sent}: too much credit on {}", call.window));
                };
                call.window = sum;
            }
            SentFrame::Close { id, .. } | SentFrame::Cancel(id) => self.call(*id).over = true,
            SentFrame::Headers { .. } | SentFrame::HalfClose(_) => {}
            other => fail(format_args!("{other}: unexpected")),
        }
    }

    /// Its application has more to send on each call.
    pub(super) fn make(&mut self, bytes: u32) {
        for call in &mut self.calls {
            call.made += u64::from(bytes);
        }
    }

    /// A tunnel client opens another call.
    pub(super) fn open_a_call(&mut self) {
        let id = self.calls.iter().map(|call| call.id).max().unwrap_or(0) + 1;
        self.control.push_back(Frame::New(id));
        self.open(id, WINDOW);
    }

    pub(super) fn end_a_call(&mut self) {
        let side = self.side;
        let Some(call) = self.calls.iter_mut().find(|call| !call.over) else {
            fail("the peer has no live call");
        };
        call.over = true;
        self.control.push_back(match side {
            Side::Client => Frame::Cancel(call.id),
            Side::Server => Frame::Close(call.id),
        });
    }

    /// The next frame that it sends: what it owes first, then a chunk of one call after another.
    pub(super) fn next(&mut self, source: Source, message: u32) -> Option<Frame> {
        if let Some(frame) = self.control.pop_front() {
            return Some(frame);
        }
        for _ in 0..self.calls.len() {
            self.turn = (self.turn + 1) % self.calls.len();
            let call = self.calls.get_mut(self.turn)?;
            if source == Source::Endless {
                call.made = u64::MAX;
            }
            let frame = call.chunk(message);
            if frame.is_some() {
                return frame;
            }
        }
        None
    }
}

impl PeerCall {
    fn chunk(&mut self, message: u32) -> Option<Frame> {
        let begins = self.missing == 0;
        let missing = if begins { message } else { self.missing };
        let made = u32::try_from(self.made).unwrap_or(u32::MAX);
        let len = CHUNK.min(self.window).min(missing).min(made);
        if self.over || len == 0 {
            return None;
        }
        self.window -= len;
        self.made -= u64::from(len);
        self.in_flight += u64::from(len);
        self.missing = missing - len;
        Some(if begins {
            Frame::Message(self.id, message, len)
        } else {
            Frame::More(self.id, len)
        })
    }
}
