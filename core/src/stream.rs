//! The record of one stream.

use crate::error::{Reason, Side};
use crate::links::{Link, NO_SLOT};
use crate::message::Incoming;
use crate::time::Time;
use crate::types::{Hold, MethodKind, Unread};
use crate::window::{ReceiveWindow, SendWindow};
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
    Violation(Reason),
    TunnelLost(Reason),
    /// The same, and the peer cannot have processed the call.
    NotProcessed(Reason),
    Closed,
}

impl Terminal {
    /// The tunnel is gone for the stream. `sent`: its `new_stream` may have been processed.
    pub(crate) const fn lost(cause: Reason, sent: bool) -> Self {
        if sent {
            Self::TunnelLost(cause)
        } else {
            Self::NotProcessed(cause)
        }
    }
}

/// A frame of the caller's that is due once a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Once {
    #[default]
    Open,
    Pending,
    Sent,
}

/// The tunnel server's `close_stream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Close {
    #[default]
    Open,
    /// OK, waiting for the half-close.
    Held,
    Pending,
}

/// The messages that this end sends on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Sending {
    /// The envelope is due.
    Begins { compressed: bool },
    /// The envelope is gone, the message not yet.
    Continues,
    /// None was ever begun.
    #[default]
    Nothing,
    /// The last one is gone, or given up.
    Done,
}

/// What this end sends on a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendHalf {
    pub(crate) window: SendWindow<u32>,
    /// The message that is being sent: its size, the bytes provided, the bytes gone.
    pub(crate) size: u32,
    pub(crate) ready: u32,
    pub(crate) sent: u32,
    /// Length of the head of `open` or `respond`.
    pub(crate) head_len: u32,
    pub(crate) close_len: u32,
    pub(crate) sending: Sending,
    /// `new_stream` of a client, `response_headers` of a server.
    pub(crate) head: Once,
    pub(crate) half_close: Once,
    pub(crate) close: Close,
}

/// The next frame that a stream has to send, in its own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Head,
    /// A chunk of at most so many bytes.
    Chunk(u32),
    HalfClose,
    Close,
}

impl SendHalf {
    /// Whether a message has been begun and is not gone.
    pub(crate) const fn is_inside(&self) -> bool {
        matches!(self.sending, Sending::Begins { .. } | Sending::Continues)
    }

    /// Whether a message was ever begun.
    pub(crate) const fn any_message(&self) -> bool {
        !matches!(self.sending, Sending::Nothing)
    }

    /// What can be sent now. `None`: nothing, or nothing without credit or bytes.
    pub(crate) fn next(&self, revision: Revision) -> Option<Next> {
        if self.head == Once::Pending {
            return Some(Next::Head);
        }
        if self.is_inside() {
            if self.size == 0 {
                return Some(Next::Chunk(0));
            }
            let ready = self.ready.saturating_sub(self.sent);
            let allowed = match revision {
                Revision::Zero => ready,
                Revision::One => ready.min(self.window.available()),
            };
            return (allowed > 0).then_some(Next::Chunk(allowed));
        }
        if self.half_close == Once::Pending {
            return Some(Next::HalfClose);
        }
        (self.close == Close::Pending).then_some(Next::Close)
    }

    /// Whether bytes are at hand and only credit is missing.
    pub(crate) fn is_blocked_on_credit(&self, revision: Revision) -> bool {
        revision == Revision::One
            && self.head != Once::Pending
            && self.is_inside()
            && self.ready > self.sent
            && self.window.available() == 0
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    pub(crate) id: i64,
    pub(crate) deadline: Time,
    pub(crate) hold_until: Time,
    pub(crate) generation: u32,
    /// Position in the timer heap, or `NO_SLOT`.
    pub(crate) timer: u32,
    pub(crate) links: [Link; 3],
    pub(crate) receive: ReceiveWindow<u32>,
    pub(crate) incoming: Incoming,
    pub(crate) send: SendHalf,
    pub(crate) kind: MethodKind,
    pub(crate) revision: Revision,
    pub(crate) flags: Flags,
    pub(crate) ended: Option<Terminal>,
    pub(crate) unread: Unread,
    /// A `close_stream` of the core's own that has not been sent yet.
    pub(crate) close_due: Option<Reason>,
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
            send: SendHalf {
                window: SendWindow::new(send_window),
                ..SendHalf::default()
            },
            kind: MethodKind::Unknown,
            revision,
            flags: Flags::of(Flag::InUse),
            ended: None,
            unread: Unread::Deliver,
            close_due: None,
            #[cfg(feature = "search")]
            withheld: 0,
        }
    }

    #[inline]
    pub(crate) const fn has(&self, flag: Flag) -> bool {
        self.flags.has(flag)
    }

    /// Whether the stream has to send, in the order of its frames.
    pub(crate) fn next(&self) -> Option<Next> {
        if self.ended.is_some() {
            return None;
        }
        self.send.next(self.revision)
    }

    /// Whether the core has a control frame to send for it.
    pub(crate) fn has_control(&self) -> bool {
        self.has(Flag::CancelDue) || self.close_due.is_some() || self.grant_is_due()
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
    pub(crate) fn discards(&self) -> bool {
        self.has(Flag::Stopped) || self.send.close != Close::Open
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
