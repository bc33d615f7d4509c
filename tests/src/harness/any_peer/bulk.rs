//! A peer that sends on one call all that it may, round trip after round trip.

use grpctunnel_core::Role;

use super::super::frames::{more, msg};
use super::super::store::Store;
use super::Run;
use super::steps::number;

/// So many rounds: the peer uses up its credit on a call, the application reads, a round trip passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Bulk {
    /// Which call; one of the first eight.
    pub call: u8,
    /// How many rounds, modulo 8, and one.
    pub rounds: u8,
    /// Tenths of a second of a round trip, modulo 4.
    pub tenths: u8,
    /// How many messages the credit is split into, modulo 64, and one.
    pub messages: u8,
    /// Hundreds of bytes, above 128, that the application leaves unread.
    pub leaves: u8,
}

/// Bytes of the largest message that such a peer sends.
const MESSAGE: u32 = 10_000;

impl Bulk {
    const fn rounds(self) -> u8 {
        self.rounds % 8 + 1
    }

    const fn leaves(self) -> usize {
        self.leaves.saturating_sub(128) as usize * 100
    }
}

impl<R: Role, S: Store> Run<R, S> {
    pub(super) fn bulk(&mut self, bulk: Bulk) {
        let call = number(bulk.call);
        for _ in 0..bulk.rounds() {
            if self.has(call) && !self.end.released(call) {
                self.fill(call, u32::from(bulk.messages % 64) + 1);
                self.read_down_to(call, bulk.leaves());
            }
            self.round_trip(bulk);
        }
    }

    /// What is left of it where its stream is left out: the time that it takes.
    pub(super) fn bulk_of_none(&mut self, bulk: Bulk) {
        for _ in 0..bulk.rounds() {
            self.round_trip(bulk);
        }
    }

    fn round_trip(&mut self, bulk: Bulk) {
        self.flush();
        self.advance(bulk.tenths % 4);
    }

    /// The peer sends as much as it may on a call, and goes on with the message that it is in.
    fn fill(&mut self, call: i64, messages: u32) {
        let mut credit = self.credit(call);
        let message = (credit / messages).clamp(1, MESSAGE);
        while credit > 0 && self.credit(call) > 0 {
            let to_come = self.end.to_come(call);
            let most = if to_come == 0 {
                message
            } else {
                to_come.min(MESSAGE)
            };
            let bytes = credit.min(most);
            self.feed_on(call, |id| match to_come {
                0 => msg(id, bytes, bytes as usize),
                _ => more(id, bytes as usize),
            });
            credit -= bytes;
        }
    }

    /// Bytes that the peer may send on a call.
    fn credit(&self, call: i64) -> u32 {
        let key = self.end.key(call);
        let live = self.end.over(call).is_none() && !self.end.half_closed(call);
        let stream = self.end.tunnel.inspect(key).filter(|_| live);
        stream.and_then(|it| it.receive_credit()).unwrap_or(0)
    }

    fn feed_on(&mut self, call: i64, frame: impl Fn(i64) -> Vec<u8>) {
        let stream = self.end.tunnel.inspect(self.end.key(call));
        if let Some(id) = stream.and_then(|it| it.id()) {
            self.feed(&frame(id));
        }
    }

    fn read_down_to(&mut self, call: i64, leaves: usize) {
        self.judge.acted(0);
        while let Some(more) = self.end.buffered(call).checked_sub(leaves) {
            if !self.end.read(call, more) {
                break;
            }
        }
        self.settle();
    }
}
