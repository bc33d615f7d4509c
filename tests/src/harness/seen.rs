//! What an application sees of its tunnel, kept and written down.

use core::time::Duration;
use std::fmt;

use grpctunnel_core::wire::{self, Revision};
use grpctunnel_core::{Carrier, End, Side, StreamReason, Time, TunnelReason, Unread};

use super::sent::{Headers, Status, code_name};

/// How a stream ended, as reported to its application.
#[derive(Clone, Debug, PartialEq)]
pub enum Over {
    /// The tunnel server's `close_stream`.
    Status {
        /// The status.
        status: Status,
        /// The trailers.
        trailers: Headers,
        /// Whether the server marked the call as unprocessed.
        unprocessed: bool,
    },
    /// The tunnel client's `cancel`.
    PeerCancelled,
    /// The application's own `cancel`.
    Cancelled,
    /// The deadline.
    Deadline,
    /// A rule that was broken, or a limit.
    Violation(StreamReason),
    /// The end of the tunnel.
    Lost {
        /// Why.
        cause: TunnelReason,
        /// Whether the call had been sent.
        sent: bool,
    },
    /// The application's own `close` has left.
    Closed,
}

/// Metadata as the core hands it out. The core promises UTF-8.
#[must_use]
pub(super) fn headers(metadata: wire::Metadata<'_>) -> Headers {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    metadata
        .iter()
        .map(|entry| (string(entry.key()), entry.values().map(string).collect()))
        .collect()
}

impl Over {
    pub(super) fn of(end: End<'_>) -> Self {
        match end {
            End::Status {
                status,
                trailers,
                unprocessed,
            } => Self::Status {
                unprocessed,
                status: Status {
                    code: status.code,
                    message: status.message.to_owned(),
                    details: status.details().map(<[u8]>::to_vec).collect(),
                },
                trailers: headers(trailers),
            },
            End::PeerCancelled => Self::PeerCancelled,
            End::Cancelled => Self::Cancelled,
            End::Deadline => Self::Deadline,
            End::Violation(reason) => Self::Violation(reason),
            End::TunnelLost { cause, sent } => Self::Lost { cause, sent },
            End::Closed => Self::Closed,
            other => super::fail(format_args!(
                "an end that the harness does not know: {other:?}"
            )),
        }
    }

    /// Whether the call succeeded.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.code == 0,
            Self::Closed => true,
            _ => false,
        }
    }

    /// The gRPC code of the call at the given side.
    #[must_use]
    pub fn code(&self, side: Side) -> i32 {
        use grpctunnel_core::Code;
        match self {
            Self::Status { status, .. } => status.code,
            Self::PeerCancelled | Self::Cancelled => Code::Cancelled.as_i32(),
            Self::Deadline => Code::DeadlineExceeded.as_i32(),
            Self::Violation(reason) => reason.code(side).as_i32(),
            Self::Lost { .. } => Code::Unavailable.as_i32(),
            Self::Closed => Code::Ok.as_i32(),
        }
    }

    pub(super) fn notation(&self, side: Side) -> String {
        let code = code_name(self.code(side));
        match self {
            Self::Status {
                unprocessed: true, ..
            } => format!("{code},unprocessed"),
            Self::Status { .. } | Self::Cancelled | Self::Deadline => code,
            Self::PeerCancelled => format!("{code},by peer"),
            Self::Violation(reason) => format!("{code},{reason:?}"),
            Self::Lost { cause, sent } => {
                let sent = if *sent { "sent" } else { "never sent" };
                format!("{code},{cause:?},{sent}")
            }
            Self::Closed => "closed".to_owned(),
        }
    }
}

/// One thing that an application saw. Streams have the numbers that [`Endpoint`] gives them.
///
/// [`Endpoint`]: super::Endpoint
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The tunnel client is settled.
    Settled(Revision),
    /// A call may be opened again.
    MayOpen,
    /// A call came in.
    Opened {
        /// Its number.
        call: i64,
        /// The method.
        method: String,
        /// The metadata.
        headers: Headers,
        /// When the core will end it.
        deadline: Option<Time>,
    },
    /// Response headers came.
    Headers {
        /// The call.
        call: i64,
        /// The metadata.
        headers: Headers,
    },
    /// Payload came, and was not buffered.
    Data {
        /// The call.
        call: i64,
        /// How much.
        len: usize,
        /// Whether it is to be discarded.
        discard: bool,
    },
    /// A whole message was read.
    Got {
        /// The call.
        call: i64,
        /// The message.
        message: Vec<u8>,
    },
    /// The client has half-closed.
    HalfClosed(i64),
    /// The last message has left.
    Writable(i64),
    /// The call ended.
    Ended {
        /// The call.
        call: i64,
        /// How.
        over: Over,
        /// What becomes of messages that were not read.
        unread: Unread,
    },
    /// The server drains.
    Draining,
    /// A probe or ping was answered.
    RoundTrip(Duration),
    /// The peer answers again, or does not.
    Responsive(bool),
    /// The carrier is to be finished or given up.
    Carrier(Carrier),
}

impl Seen {
    /// Its call.
    #[must_use]
    pub const fn call(&self) -> Option<i64> {
        match self {
            Self::Opened { call, .. }
            | Self::Headers { call, .. }
            | Self::Data { call, .. }
            | Self::Got { call, .. }
            | Self::HalfClosed(call)
            | Self::Writable(call)
            | Self::Ended { call, .. } => Some(*call),
            Self::Settled(_)
            | Self::MayOpen
            | Self::Draining
            | Self::RoundTrip(_)
            | Self::Responsive(_)
            | Self::Carrier(_) => None,
        }
    }

    /// `opened(1,a/b)`, `got(1,n)`, `ended(1,CODE,..)`: in the manner of the catalogue.
    #[must_use]
    pub fn notation(&self, side: Side) -> String {
        match self {
            Self::Settled(revision) => format!("settled({revision:?})"),
            Self::MayOpen => "may open".to_owned(),
            Self::Opened { call, method, .. } => format!("opened({call},{method})"),
            Self::Headers { call, .. } => format!("hdr({call})"),
            Self::Data {
                call,
                len,
                discard: false,
            } => format!("data({call},{len})"),
            Self::Data { call, len, .. } => format!("discard({call},{len})"),
            Self::Got { call, message } => format!("got({call},{})", message.len()),
            Self::HalfClosed(call) => format!("half({call})"),
            Self::Writable(call) => format!("writable({call})"),
            Self::Ended { call, over, .. } => format!("ended({call},{})", over.notation(side)),
            Self::Draining => "draining".to_owned(),
            Self::RoundTrip(time) => format!("round trip({time:?})"),
            Self::Responsive(true) => "responsive".to_owned(),
            Self::Responsive(false) => "unresponsive".to_owned(),
            Self::Carrier(Carrier::Finish) => "finish".to_owned(),
            Self::Carrier(Carrier::Abort(error)) => {
                let code = code_name(error.code().as_i32());
                format!("abort({code},{:?})", error.reason())
            }
        }
    }
}

/// Shows a list of things as their notation.
pub(super) struct Listed<'a>(pub(super) &'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}
