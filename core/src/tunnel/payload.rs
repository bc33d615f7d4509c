//! Payload on its way to the caller, with the credit that it takes.

use super::{Role, Tunnel};
use crate::budget::Earned;
use crate::length::on_wire;
use crate::reason::{StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::streams::{Mark, Piece, Slot, Stream};
use crate::time::Time;
use crate::types::{Input, Key};
use crate::wire::Revision;

/// Payload for the caller. Small, as is `Refused`, because moving an `Input` costs more than the
/// rest of what a chunk does.
pub(super) struct Payload {
    pub(super) stream: Key,
    piece: Piece,
    discard: bool,
}

impl Payload {
    #[inline(always)]
    pub(super) fn into_input(self, bytes: &[u8]) -> Input<'_> {
        Input::Data {
            stream: self.stream,
            bytes,
            begins: self.piece.begins,
            ends: self.piece.ends,
            discard: self.discard,
        }
    }
}

/// A rule that data or credit broke.
pub(super) enum Refused {
    /// The stream of this slot ends; see `violate`.
    Stream(Slot, StreamReason),
    /// The tunnel ends.
    Tunnel(TunnelReason),
}

/// What decides where payload goes: read while the record is at hand.
#[derive(Clone, Copy)]
pub(super) struct Known {
    slot: Slot,
    stream: Key,
    discard: bool,
    /// It has no flow control, so that unread bytes are counted.
    counted: bool,
    sampled: bool,
}

impl Known {
    #[inline(always)]
    pub(super) fn of(stream: &Stream, slot: Slot) -> Self {
        Self {
            slot,
            stream: stream.key(slot),
            discard: !stream.receive.is_reading(),
            counted: stream.revision == Revision::Zero,
            sampled: stream.has(Mark::Sampled),
        }
    }
}

impl From<TunnelReason> for Refused {
    fn from(reason: TunnelReason) -> Self {
        Self::Tunnel(reason)
    }
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    #[inline(always)]
    pub(super) fn hand_on(
        &mut self,
        now: Time,
        known: Known,
        bytes: &[u8],
        piece: Piece,
    ) -> Result<Option<Payload>, Refused> {
        let len = on_wire(bytes.len());
        self.growth.count(len);
        let Known {
            slot,
            stream,
            discard,
            counted,
            sampled,
        } = known;
        if sampled {
            self.watch_data(now, slot, len);
        }
        if discard {
            self.credit(slot, len);
        } else if counted && let Err(reason) = self.note_unread(now, slot, len) {
            return Err(Refused::Stream(slot, reason));
        }
        self.budget.earn(Earned::UsefulFrame);
        Ok(Some(Payload {
            stream,
            piece,
            discard,
        }))
    }

    /// Data that the application no longer wants, while this end closes: credited at once.
    pub(super) fn discard(&mut self, slot: Slot, bytes: &[u8]) -> Payload {
        self.credit(slot, on_wire(bytes.len()));
        self.budget.earn(Earned::UsefulFrame);
        Payload {
            stream: self.streams.key(slot),
            piece: Piece {
                begins: None,
                ends: false,
            },
            discard: true,
        }
    }

    /// Credits everything unread, because nobody will read it.
    pub(super) fn credit_unread(&mut self, slot: Slot) {
        let unread = self.streams.get(slot).receive.window().unread();
        self.credit(slot, unread);
        self.note_read(slot, unread);
    }

    /// Gives back credit for bytes that nobody will read, or that were read.
    #[inline]
    pub(super) fn credit(&mut self, slot: Slot, bytes: u32) {
        let stream = self.streams.get_mut(slot);
        let window = stream.receive.window_mut();
        let due = window.consume(bytes).unwrap_or(false);
        match stream.revision {
            Revision::Zero => {
                window.take_grant();
            }
            Revision::One if due => self.streams.queue_control(slot),
            Revision::One => {}
        }
    }
}
