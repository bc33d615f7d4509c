//! What one incoming frame means to the caller.

use super::call::{Envelope, Key};
use crate::reason::{StreamReason, TunnelReason};
use crate::time::Time;
use crate::wire::{Metadata, Status};

/// What becomes of whole messages that the reader has not read when its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unread {
    /// They are delivered, then the end.
    Deliver,
    /// They are thrown away, and the reader gets the end at once.
    Discard,
}

/// How a stream ended. Each opened stream yields exactly one, either in [`Input::Ended`] or in
/// [`Event::Ended`](crate::Event::Ended).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum End<'f> {
    /// The tunnel server's `close_stream`. At the tunnel client only.
    Status {
        /// Code, message and details; an absent status is OK.
        status: Status<'f>,
        /// The trailers.
        trailers: Metadata<'f>,
        /// Whether the tunnel server has said that no handler saw the call, so that it is safe to
        /// retry: the extension `UNPROCESSED`.
        unprocessed: bool,
    },
    /// The tunnel client's `cancel`. At the tunnel server only.
    PeerCancelled,
    /// The caller's own `cancel`.
    Cancelled,
    /// The deadline passed.
    Deadline,
    /// The peer broke a rule, or a limit was reached.
    Violation(StreamReason),
    /// The tunnel ended, or takes no more calls.
    TunnelLost {
        /// Why.
        cause: TunnelReason,
        /// Whether the peer may have processed the call. If not (its `new_stream` was never handed
        /// to the carrier, or the tunnel server has said that it did not handle it), it is safe
        /// to retry. Always true at a tunnel server.
        sent: bool,
    },
    /// The caller's own `close` was handed to the carrier. At the tunnel server only.
    Closed,
}

/// What one incoming frame means. At most one thing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[must_use = "what a frame means is reported once"]
pub enum Input<'f> {
    /// Nothing for the caller.
    Ignored,
    /// A call came in. At the tunnel server only.
    Opened {
        /// The new stream.
        stream: Key,
        /// `new_stream.method_name`, `service/method` without a slash in front.
        method: &'f str,
        /// `new_stream.request_headers`, `grpc-timeout` included.
        metadata: Metadata<'f>,
        /// When the core will end the stream.
        deadline: Option<Time>,
    },
    /// `response_headers`. At the tunnel client only, at most once a stream. Where a message or
    /// the end comes first, the headers are empty.
    Headers {
        /// The stream.
        stream: Key,
        /// Its metadata.
        metadata: Metadata<'f>,
    },
    /// Payload: the beginning of a message, more of it, or all of it.
    Data {
        /// The stream.
        stream: Key,
        /// The bytes, borrowed from the frame.
        bytes: &'f [u8],
        /// The envelope, if the message begins here.
        begins: Option<Envelope>,
        /// Whether the message ends here.
        ends: bool,
        /// Whether nobody reads any more: drop the bytes, and do not report them to `consumed`.
        discard: bool,
    },
    /// The client's `half_close`. At the tunnel server only.
    HalfClosed {
        /// The stream.
        stream: Key,
    },
    /// The stream ended because of this frame.
    Ended {
        /// The stream.
        stream: Key,
        /// How.
        why: End<'f>,
        /// What becomes of whole messages that were not read.
        unread: Unread,
    },
}
