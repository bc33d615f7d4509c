//! The record of one stream.

use crate::error::{Reason, Side};
use crate::links::Link;
use crate::message::Incoming;
use crate::time::Time;
use crate::types::{Hold, MethodKind, Unread};
use crate::window::{ReceiveWindow, SendWindow};
use crate::wire::Revision;

/// No slot.
pub(crate) const NO_SLOT: u32 = u32::MAX;
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
    TunnelLost { cause: Reason, sent: bool },
    Closed,
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
    pub(crate) message: bool,
    pub(crate) compressed: bool,
    pub(crate) envelope_sent: bool,
    /// Whether a message was ever begun.
    pub(crate) any_message: bool,
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
    /// What can be sent now. `None`: nothing, or nothing without credit or bytes.
    pub(crate) fn next(&self, revision: Revision) -> Option<Next> {
        if self.head == Once::Pending {
            return Some(Next::Head);
        }
        if self.message {
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
            && self.message
            && self.ready > self.sent
            && self.window.available() == 0
    }

    /// Forgets everything that was not sent yet.
    pub(crate) fn abandon(&mut self) {
        self.message = false;
        if self.head == Once::Pending {
            self.head = Once::Open;
        }
        self.half_close = Once::Sent;
        self.close = Close::Open;
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
    /// The client has half-closed, or the server has closed.
    pub(crate) peer_done: bool,
    /// Response headers came, or can no longer come.
    pub(crate) headers_done: bool,
    /// Nobody reads any more; what comes is credited at once.
    pub(crate) stopped: bool,
    /// Over its revision-zero budget.
    pub(crate) over_budget: bool,
    pub(crate) ended: Option<Terminal>,
    pub(crate) unread: Unread,
    /// The terminal event has not been polled yet.
    pub(crate) end_due: bool,
    pub(crate) writable_due: bool,
    pub(crate) cancel_due: bool,
    /// A `close_stream` of the core's own that has not been sent yet.
    pub(crate) close_due: Option<Reason>,
    pub(crate) released: bool,
    pub(crate) in_use: bool,
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
            peer_done: false,
            headers_done: false,
            stopped: false,
            over_budget: false,
            ended: None,
            unread: Unread::Deliver,
            end_due: false,
            writable_due: false,
            cancel_due: false,
            close_due: None,
            released: false,
            in_use: true,
            #[cfg(feature = "search")]
            withheld: 0,
        }
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
        self.cancel_due || self.close_due.is_some() || self.grant_is_due()
    }

    /// Whether a `window_update` is due. None is once the peer can send no more.
    pub(crate) fn grant_is_due(&self) -> bool {
        #[cfg(feature = "search")]
        if self.receive.pending() < u32::from(self.withheld) {
            return false;
        }
        self.revision == Revision::One
            && self.ended.is_none()
            && !self.peer_done
            && self.receive.is_due()
    }

    /// When its earliest timer fires.
    pub(crate) fn fires_at(&self) -> Time {
        self.deadline.min(self.hold_until)
    }

    /// Whether nothing of it is needed any more.
    pub(crate) fn is_retired(&self) -> bool {
        self.ended.is_some() && self.released && !self.end_due && !self.has_control()
    }

    /// Whether the peer is heard no more, so that its bytes are credited at once.
    pub(crate) fn discards(&self) -> bool {
        self.stopped || self.send.close != Close::Open
    }

    /// Whether this end has sent, or tried to send, its `new_stream`.
    pub(crate) fn on_wire(&self, side: Side) -> bool {
        side == Side::Server || self.id != NO_ID
    }

    /// Whether the caller's `close` with success waits for the half-close.
    pub(crate) fn must_hold(&self, hold: Hold) -> Option<core::time::Duration> {
        match hold {
            Hold::UntilHalfClose { max } if !self.peer_done => Some(max),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;

    /// The memory formula in the documentation counts on it.
    #[test]
    fn a_stream_takes_at_most_128_bytes() {
        assert!(size_of::<Stream>() <= 128, "{}", size_of::<Stream>());
    }
}
