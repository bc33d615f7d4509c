//! The carrier between the two ends.

use core::hash::{Hash, Hasher};
use std::rc::Rc;

use grpctunnel_core::wire::{ClientKind, DecodeLimits, ServerKind, decode_client, decode_server};
use grpctunnel_core::{Cause, Negotiation, Side};

/// What a frame moves, as far as credit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    /// `new_stream`.
    Call,
    /// Payload bytes.
    Data(u32),
    /// Credit.
    Credit(u32),
    /// Neither.
    Nothing(&'static str),
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) id: i64,
    pub(super) moves: Moves,
    pub(super) bytes: Rc<[u8]>,
}

impl Frame {
    /// Reads what an end has written. `None`: it cannot be read.
    pub(super) fn read(from: Side, bytes: &[u8]) -> Option<Self> {
        let limits = DecodeLimits::default();
        let (id, moves) = match from {
            Side::Client => {
                let frame = decode_client(bytes, &limits).ok()?;
                (frame.stream_id, from_client(&frame.kind))
            }
            Side::Server => {
                let frame = decode_server(bytes, &limits).ok()?;
                (frame.stream_id, from_server(&frame.kind))
            }
        };
        Some(Self {
            id,
            moves,
            bytes: bytes.into(),
        })
    }

    /// Everything but the number of its stream, of which only the distance to `base` counts.
    fn fingerprint<H: Hasher>(&self, base: i64, state: &mut H) {
        // The id is the first field: its tag, then a varint.
        let id_bytes = self.bytes.iter().skip(1).take_while(|byte| **byte >= 0x80);
        let rest = self.bytes.get(id_bytes.count().saturating_add(2)..);
        if self.id < 0 {
            self.id.hash(state);
        } else {
            (self.id.wrapping_sub(base), 1_u8).hash(state);
        }
        rest.hash(state);
    }
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn from_client(kind: &ClientKind<'_>) -> Moves {
    match kind {
        ClientKind::NewStream(_) => Moves::Call,
        ClientKind::Message(message) => Moves::Data(len(message.data)),
        ClientKind::More(data) => Moves::Data(len(data)),
        ClientKind::WindowUpdate(bytes) => Moves::Credit(*bytes),
        ClientKind::HalfClose => Moves::Nothing("half_close"),
        ClientKind::Cancel => Moves::Nothing("cancel"),
        ClientKind::None => Moves::Nothing("nothing"),
        ClientKind::Extensions(_) => Moves::Nothing("extensions"),
        ClientKind::Ping(_) => Moves::Nothing("ping"),
        ClientKind::Pong(_) => Moves::Nothing("pong"),
    }
}

fn from_server(kind: &ServerKind<'_>) -> Moves {
    match kind {
        ServerKind::Message(message) => Moves::Data(len(message.data)),
        ServerKind::More(data) => Moves::Data(len(data)),
        ServerKind::WindowUpdate(bytes) => Moves::Credit(*bytes),
        ServerKind::Settings(_) => Moves::Nothing("settings"),
        ServerKind::Headers(_) => Moves::Nothing("response_headers"),
        ServerKind::Close(_) => Moves::Nothing("close_stream"),
        ServerKind::None => Moves::Nothing("nothing"),
        ServerKind::Drain { .. } => Moves::Nothing("drain"),
        ServerKind::Ping(_) => Moves::Nothing("ping"),
        ServerKind::Pong(_) => Moves::Nothing("pong"),
    }
}

/// What one direction carries.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The headers of the carrier, to the end that opened it.
    Opened(Negotiation),
    Frame(Frame),
    End(Cause),
}

/// One direction of the carrier.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) items: Vec<Item>,
    /// Its sender has ended it, or it is broken: nothing more goes in.
    pub(super) over: bool,
}

impl Link {
    pub(super) fn put(&mut self, item: Item) {
        if !self.over {
            self.over = matches!(item, Item::End(_));
            self.items.push(item);
        }
    }

    pub(super) fn take(&mut self) -> Option<Item> {
        (!self.items.is_empty()).then(|| self.items.remove(0))
    }

    /// What is on its way is lost.
    pub(super) fn cut(&mut self) {
        self.items.clear();
        self.over = false;
        self.put(Item::End(Cause::Failed));
    }

    /// The frames of one stream.
    pub(super) fn frames(&self, id: i64) -> impl Iterator<Item = &Frame> {
        self.items.iter().filter_map(move |item| match item {
            Item::Frame(frame) if frame.id == id => Some(frame),
            _ => None,
        })
    }

    pub(super) fn fingerprint<H: Hasher>(&self, base: i64, state: &mut H) {
        (self.over, self.items.len()).hash(state);
        for item in &self.items {
            match item {
                Item::Opened(negotiation) => negotiation.hash(state),
                Item::Frame(frame) => frame.fingerprint(base, state),
                Item::End(cause) => cause.hash(state),
            }
        }
    }
}
