//! The record of one stream.

use super::Slot;
use super::links::{Link, NO_SLOT};
use super::send::{Next, SendHalf};
use crate::code::Side;
use crate::message::Incoming;
use crate::reason::{StreamReason, TunnelReason};
use crate::time::Time;
use crate::types::{Hold, Key, MethodKind, Unread};
use crate::window::ReceiveWindow;
use crate::wire::Revision;

/// A tunnel client's stream has no id before its `new_stream` leaves.
pub(crate) const NO_ID: i64 = -1;

/// How a stream ended, as far as the record keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Terminal {
    Status,
    PeerCancelled,
    Cancelled,
    Deadline,
    Violation(StreamReason),
    TunnelLost(TunnelReason),
    /// The same, and the peer cannot have processed the call.
    NotProcessed(TunnelReason),
    Closed,
}

impl Terminal {
    /// The tunnel is gone for the stream. `sent`: its `new_stream` may have been processed.
    pub(crate) const fn lost(cause: TunnelReason, sent: bool) -> Self {
        if sent {
            Self::TunnelLost(cause)
        } else {
            Self::NotProcessed(cause)
        }
    }
}

/// A fact about a stream, which takes a bit of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Flag {
    /// The client has half-closed, or the server has closed.
    PeerDone = 1,
    /// Response headers came, or can no longer come.
    HeadersDone = 1 << 1,
    /// Nobody reads any more; what comes is credited at once.
    Stopped = 1 << 2,
    /// Over its revision-zero budget.
    OverBudget = 1 << 3,
    /// The terminal event has not been polled yet.
    EndDue = 1 << 4,
    WritableDue = 1 << 5,
    CancelDue = 1 << 6,
    /// A `close_stream` of the core's own, which its end decides.
    CloseDue = 1 << 12,
    Released = 1 << 7,
    InUse = 1 << 8,
    /// The peer has named an encoding, so that its messages may be compressed.
    Encoded = 1 << 9,
    /// A grant of its is watched; see `tunnel::growth`.
    Sampled = 1 << 10,
    /// Its window has grown, and the grant of it has not left.
    HasGrown = 1 << 11,
}

/// The flags that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const fn of(flag: Flag) -> Self {
        Self(flag as u16)
    }

    pub(crate) const fn has(self, flag: Flag) -> bool {
        self.0 & flag as u16 != 0
    }

    pub(crate) const fn set(&mut self, flag: Flag) {
        self.0 |= flag as u16;
    }

    pub(crate) const fn clear(&mut self, flag: Flag) {
        self.0 &= !(flag as u16);
    }

    /// Clears a flag, and returns whether it was set.
    pub(crate) const fn take(&mut self, flag: Flag) -> bool {
        let had = self.has(flag);
        self.clear(flag);
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
    pub(crate) receive: ReceiveWindow<u32>,
    pub(crate) incoming: Incoming,
    pub(crate) send: SendHalf,
    pub(crate) kind: MethodKind,
    pub(crate) revision: Revision,
    pub(crate) flags: Flags,
    pub(super) ended: Option<Terminal>,
    pub(super) unread: Unread,
    /// Nothing is granted before so much is to be granted.
    #[cfg(feature = "search")]
    pub(crate) withheld: u16,
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
            receive: ReceiveWindow::new(receive),
            incoming: Incoming::default(),
            send: SendHalf::new(send_window),
            kind: MethodKind::Unknown,
            revision,
            flags: Flags::of(Flag::InUse),
            ended: None,
            unread: Unread::Deliver,
            #[cfg(feature = "search")]
            withheld: 0,
        }
    }

    /// What is in no slot: ended, in no queue, with nothing to send.
    pub(super) fn vacant() -> Self {
        Self {
            flags: Flags::default(),
            ended: Some(Terminal::Closed),
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

    /// How it ended, and what becomes of what was not read.
    pub(crate) const fn ended(&self) -> (Option<Terminal>, Unread) {
        (self.ended, self.unread)
    }

    /// How it ended, if the core has that to tell, which is taken.
    pub(crate) fn take_close(&mut self) -> Option<Terminal> {
        let due = self.flags.take(Flag::CloseDue);
        self.ended.filter(|_| due)
    }

    #[inline]
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    #[inline]
    pub(crate) const fn has(&self, flag: Flag) -> bool {
        self.flags.has(flag)
    }

    /// Whether the stream has to send, in the order of its frames.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<Next> {
        if self.ended.is_some() {
            return None;
        }
        self.send.next(self.revision)
    }

    /// Whether the core has a control frame to send for it.
    pub(crate) fn has_control(&self) -> bool {
        self.has(Flag::CancelDue) || self.has(Flag::CloseDue) || self.grant_is_due()
    }

    /// Whether a `window_update` is due. None is once the peer can send no more.
    #[inline]
    pub(crate) fn grant_is_due(&self) -> bool {
        #[cfg(feature = "search")]
        if self.receive.pending() < u32::from(self.withheld) {
            return false;
        }
        self.revision == Revision::One
            && self.ended.is_none()
            && !self.has(Flag::PeerDone)
            && self.receive.is_due()
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
        self.ended.is_some()
            && self.has(Flag::Released)
            && !self.has(Flag::EndDue)
            && !self.has_control()
    }

    /// Whether the peer is heard no more, so that its bytes are credited at once.
    #[inline]
    pub(crate) fn discards(&self) -> bool {
        self.has(Flag::Stopped) || self.send.is_closing()
    }

    /// Whether this end has sent, or tried to send, its `new_stream`.
    pub(crate) fn on_wire(&self, side: Side) -> bool {
        side == Side::Server || self.id != NO_ID
    }

    /// Whether the caller's `close` with success waits for the half-close.
    pub(crate) fn must_hold(&self, hold: Hold) -> Option<core::time::Duration> {
        match hold {
            Hold::UntilHalfClose { max } if !self.has(Flag::PeerDone) => Some(max),
            _ => None,
        }
    }
}
