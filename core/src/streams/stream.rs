//! The record of one stream.

use super::Slot;
use super::end::{End, Ended, Notice, Terminal};
use super::links::{Link, NO_SLOT};
use super::receive::ReceiveHalf;
use super::send::{Next, SendHalf};
use crate::code::Side;
use crate::time::Time;
use crate::types::{Hold, Key, MethodKind, Unread};
use crate::wire::Revision;

/// A tunnel client's stream has no id before its `new_stream` leaves.
pub(crate) const NO_ID: i64 = -1;

/// What another part of the tunnel notes on a stream, which takes a bit of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mark {
    /// The last message has left, and the caller was not told yet.
    WritableDue = 1,
    /// Over its revision-zero budget.
    OverBudget = 1 << 1,
    /// A grant of its is watched; see `tunnel::growth`.
    Sampled = 1 << 2,
    /// Its window has grown, and the grant of it has not left.
    HasGrown = 1 << 3,
}

/// The marks on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Marks(u8);

impl Marks {
    #[inline(always)]
    pub(crate) const fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    pub(crate) const fn set(&mut self, mark: Mark) {
        self.0 |= mark as u8;
    }

    /// Removes a mark, and returns whether it was there.
    pub(crate) const fn take(&mut self, mark: Mark) -> bool {
        let had = self.has(mark);
        self.0 &= !(mark as u8);
        had
    }
}

/// Everything the core keeps of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(super) id: i64,
    pub(super) deadline: Time,
    pub(super) hold_until: Time,
    pub(super) generation: u32,
    /// Position in the timer heap, or `NO_SLOT`.
    pub(super) timer: u32,
    pub(super) links: [Link; 3],
    pub(crate) receive: ReceiveHalf,
    pub(crate) send: SendHalf,
    pub(crate) kind: MethodKind,
    pub(crate) revision: Revision,
    pub(crate) marks: Marks,
    pub(super) end: End,
}

impl Stream {
    pub(crate) fn new(id: i64, revision: Revision, send_window: u32, receive: u32) -> Self {
        let receive = match revision {
            Revision::One => receive,
            Revision::Zero => u32::MAX,
        };
        Self {
            id,
            deadline: Time::MAX,
            hold_until: Time::MAX,
            generation: 0,
            timer: NO_SLOT,
            links: [Link::default(); 3],
            receive: ReceiveHalf::new(receive),
            send: SendHalf::new(send_window),
            kind: MethodKind::Unknown,
            revision,
            marks: Marks::default(),
            end: End::Open,
        }
    }

    /// What is in no slot: in no queue, with nothing to send.
    pub(super) fn vacant() -> Self {
        Self {
            end: End::Vacant,
            ..Self::new(NO_ID, Revision::Zero, 0, 0)
        }
    }

    /// Its id on the wire; [`NO_ID`] before it has one.
    #[inline]
    pub(crate) const fn id(&self) -> i64 {
        self.id
    }

    pub(crate) const fn deadline(&self) -> Time {
        self.deadline
    }

    pub(crate) const fn hold_until(&self) -> Time {
        self.hold_until
    }

    /// Its key, if it is in this slot.
    #[inline(always)]
    pub(crate) const fn key(&self, slot: Slot) -> Key {
        Key {
            slot: slot.0,
            generation: self.generation,
        }
    }

    /// Ends it. Its first end stays: false for a second one.
    pub(super) fn end(&mut self, end: Ended) -> bool {
        self.end.end(end)
    }

    /// The event about its end, which the caller gets once.
    pub(crate) fn take_report(&mut self) -> Option<(Terminal, Unread)> {
        self.end.take_report()
    }

    /// What its peer is to be told about its end, once.
    pub(crate) fn take_notice(&mut self) -> Option<(Notice, Terminal)> {
        self.end.take_notice()
    }

    /// Whether the record is of no stream.
    #[inline(always)]
    pub(super) fn is_vacant(&self) -> bool {
        self.end == End::Vacant
    }

    /// Whether it takes no more commands or frames.
    #[inline(always)]
    pub(crate) fn has_ended(&self) -> bool {
        !self.end.is_open()
    }

    #[inline(always)]
    pub(crate) const fn has(&self, mark: Mark) -> bool {
        self.marks.has(mark)
    }

    /// Whether the stream has to send, in the order of its frames.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<Next> {
        if self.has_ended() {
            return None;
        }
        self.send.next(self.revision)
    }

    /// Whether the core has a control frame to send for it.
    pub(crate) fn has_control(&self) -> bool {
        self.end.has_notice() || self.grant_is_due()
    }

    /// Whether a `window_update` is due. None is once the peer can send no more.
    #[inline]
    pub(crate) fn grant_is_due(&self) -> bool {
        self.revision == Revision::One
            && !self.has_ended()
            && !self.receive.is_finished()
            && self.receive.window().is_due()
    }

    /// When the core ends it; before it is among the streams.
    pub(crate) const fn with_deadline(mut self, deadline: Option<Time>) -> Self {
        self.deadline = match deadline {
            Some(deadline) => deadline,
            None => Time::MAX,
        };
        self
    }

    /// When its earliest timer fires.
    pub(crate) fn fires_at(&self) -> Time {
        self.deadline.min(self.hold_until)
    }

    /// Whether nothing of it is needed any more.
    pub(crate) fn is_retired(&self) -> bool {
        self.end.is_told() && self.receive.is_released()
    }

    /// Whether what the peer still sends is discarded, so that its bytes are credited at once.
    #[inline]
    pub(crate) fn discards(&self) -> bool {
        !self.receive.is_reading() || self.send.is_closing()
    }

    /// Whether this end has sent, or tried to send, its `new_stream`.
    pub(crate) fn on_wire(&self, side: Side) -> bool {
        side == Side::Server || self.id != NO_ID
    }

    /// Whether the caller's `close` with success waits for the half-close.
    pub(crate) fn must_hold(&self, hold: Hold) -> Option<core::time::Duration> {
        match hold {
            Hold::UntilHalfClose { max } if !self.receive.is_finished() => Some(max),
            _ => None,
        }
    }
}
