//! What a session tells its application.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::owned::{OwnedMetadata, OwnedStatus};
use crate::code::Side;
use crate::error::{Gone, OpenError};
use crate::reason::{Reason, StreamReason};
use crate::time::Time;
use crate::types::{Carrier, End, Key};
use crate::wire::{BinDialect, EncodeError};

/// Names one call of one session. An old key never names another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    pub(super) side: Side,
    pub(super) stream: Key,
}

impl CallKey {
    /// Which side of the call this end is: the client of one that it opened, the server of one
    /// that it accepted.
    #[must_use]
    pub const fn side(self) -> Side {
        self.side
    }
}

/// What happened, from [`Session::poll_event`](super::Session::poll_event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "each event is reported once"]
pub enum SessionEvent {
    /// A call came in: [`accept`](super::Session::accept) until there is none.
    Incoming,
    /// There is something to [`recv`](super::Session::recv), until it returns `None`.
    Readable(CallKey),
    /// [`send`](super::Session::send) or [`may_send`](super::Session::may_send) has said that there is no
    /// room. Now there is, or the call is over.
    Writable(CallKey),
    /// [`open`](super::Session::open) may succeed: at the start, and after it was refused as
    /// `NotSettled` or `Full`.
    MayOpen,
    /// The peer takes no more calls. Those that it did not handle end unprocessed.
    Draining,
    /// A probe or ping was answered after this time.
    RoundTrip(Duration),
    /// Whether the peer answers. One that does not is not to be picked for new calls.
    Responsive(bool),
    /// What to do with the carrier, when all that [`poll_bytes`](super::Session::poll_bytes) gave has
    /// been written: end our direction and wait for the peer's, or close it. The last event.
    Carrier(Carrier),
}

/// What [`Session::recv`](super::Session::recv) returns: everything on a call, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "what was received is not handed out again"]
pub enum Received {
    /// Response headers, at most once and before any message. At the client only.
    Headers(OwnedMetadata),
    /// A whole message.
    Message(Vec<u8>),
    /// There will be no more messages. At the server only.
    HalfClosed,
    /// The call is over, and its key with it.
    Ended(CallEnd),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallEnd {
    /// The server's status; or what this end makes of `reason`.
    pub status: OwnedStatus,
    /// The server's trailers.
    pub trailers: OwnedMetadata,
    /// Why, where it was not the server's `close`.
    pub reason: Option<Reason>,
    /// Whether no handler has seen the call, so that it is safe to make it again.
    pub unprocessed: bool,
}

impl CallEnd {
    pub(super) fn of_reason(reason: impl Into<Reason>, side: Side) -> Self {
        let reason = reason.into();
        Self {
            status: OwnedStatus::of_reason(reason, side),
            trailers: OwnedMetadata::new(),
            reason: Some(reason),
            unprocessed: false,
        }
    }

    pub(super) fn of(end: End<'_>, side: Side, dialect: BinDialect) -> Self {
        match end {
            End::Status {
                status,
                trailers,
                unprocessed,
            } => Self {
                status: OwnedStatus::of(status),
                trailers: OwnedMetadata::of(trailers, dialect),
                reason: None,
                unprocessed,
            },
            End::TunnelLost { cause, sent } => Self {
                unprocessed: !sent,
                ..Self::of_reason(cause, side)
            },
            End::Deadline => Self::of_reason(StreamReason::DeadlineExceeded, side),
            End::Violation(reason) => Self::of_reason(reason, side),
            End::PeerCancelled | End::Cancelled | End::Closed => {
                Self::of_reason(StreamReason::Cancelled, side)
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.status.memory().saturating_add(self.trailers.memory())
    }
}

/// A call that came in, from [`Session::accept`](super::Session::accept).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a call that nobody closes stays open until its client gives up"]
pub struct IncomingCall {
    /// Its key.
    pub key: CallKey,
    /// `service/method`.
    pub method: String,
    /// Request metadata.
    pub metadata: OwnedMetadata,
    /// When it ends by itself.
    pub deadline: Option<Time>,
}

/// Why [`Session::open`](super::Session::open) opened no call. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenCallError {
    /// The method or the metadata cannot be sent.
    Head(EncodeError),
    /// The tunnel takes no call, or not now.
    Tunnel(OpenError),
    /// Calls go the other way only: this end is no client.
    NoClient,
}

/// Why [`Session::send`](super::Session::send) took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// There is no room behind the messages that wait: try again after
    /// [`SessionEvent::Writable`].
    Full,
    /// The call is over; [`Session::recv`](super::Session::recv) says how.
    Gone,
    /// No message may follow [`Session::half_close`](super::Session::half_close).
    HalfClosed,
    /// The method has one message in this direction, which was sent.
    SecondMessage,
    /// A message has at most 2^32-1 bytes.
    TooLarge,
}

/// Why [`Session::respond`](super::Session::respond) sent nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespondError {
    /// The metadata cannot be sent.
    Head(EncodeError),
    /// Headers or a message were sent before.
    Late,
    /// The call is over, or one that this end opened.
    Gone,
}

/// Why [`Session::close`](super::Session::close) did not close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseError {
    /// The trailers cannot be sent.
    Head(EncodeError),
    /// The call is over, or one that this end opened.
    Gone,
}

impl fmt::Display for OpenCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Tunnel(error) => error.fmt(f),
            Self::NoClient => f.write_str("calls go the other way only; this end serves"),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "messages wait to be sent; try again when the call is writable",
            Self::Gone => return Gone.fmt(f),
            Self::HalfClosed => "no message may follow a half-close",
            Self::SecondMessage => "the method has one message in this direction",
            Self::TooLarge => "a message has at most 2^32-1 bytes",
        })
    }
}

impl fmt::Display for RespondError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Late => f.write_str("headers go out once, before any message"),
            Self::Gone => Gone.fmt(f),
        }
    }
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Gone => Gone.fmt(f),
        }
    }
}

impl core::error::Error for OpenCallError {}
impl core::error::Error for SendError {}
impl core::error::Error for RespondError {}
impl core::error::Error for CloseError {}
