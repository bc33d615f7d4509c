//! The errors of the core's calls, with the gRPC codes they become.

use core::fmt;

use crate::code::{Code, Side};
use crate::reason::TunnelReason;

/// The tunnel has ended, and why. The first one is kept and returned again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelError {
    side: Side,
    reason: TunnelReason,
    offered: heapless::Vec<i32, 8>,
    supported: &'static [i32],
}

impl TunnelError {
    pub(crate) const fn new(side: Side, reason: TunnelReason) -> Self {
        Self {
            side,
            reason,
            offered: heapless::Vec::new(),
            supported: &[],
        }
    }

    pub(crate) fn no_common_revision(side: Side, offered: &[i32], ours: &'static [i32]) -> Self {
        let mut error = Self::new(side, TunnelReason::NoCommonRevision);
        for revision in offered {
            if error.offered.push(*revision).is_err() {
                break;
            }
        }
        error.supported = ours;
        error
    }

    /// Which rule ended the tunnel.
    #[must_use]
    pub const fn reason(&self) -> TunnelReason {
        self.reason
    }

    /// The gRPC code: of the opening, if the tunnel never settled, and of the carrier's status
    /// where this end accepted it.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.reason.code(self.side)
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.text())?;
        if self.reason == TunnelReason::NoCommonRevision {
            write!(
                f,
                ": the tunnel server speaks {:?}, this client {:?}",
                self.offered, self.supported
            )?;
        }
        Ok(())
    }
}

impl core::error::Error for TunnelError {}

/// A setting of a [`Config`](crate::Config) that no tunnel can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    expected: &'static str,
}

impl ConfigError {
    pub(crate) const fn new(field: &'static str, expected: &'static str) -> Self {
        Self { field, expected }
    }

    /// The field, as it is reached from the `Config`: `limits.receive_window.initial`.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "config.{} is out of range; expected {}",
            self.field, self.expected
        )
    }
}

impl core::error::Error for ConfigError {}

/// Why a stream could not be opened. Nothing changed, and nothing was sent: safe to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The tunnel is not settled yet; `Event::MayOpen` tells when it is.
    NotSettled,
    /// As many streams are open as the limit allows; `Event::MayOpen` tells when one is free.
    Full,
    /// The tunnel is draining.
    Draining,
    /// The tunnel has ended.
    Ended,
    /// All stream ids were used.
    IdsExhausted,
    /// The head is larger than any peer would take.
    HeadTooLarge,
}

impl OpenError {
    /// The gRPC code for a call that is failed because of it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::HeadTooLarge | Self::Full => Code::ResourceExhausted,
            Self::NotSettled | Self::Draining | Self::Ended | Self::IdsExhausted => {
                Code::Unavailable
            }
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSettled => "the tunnel is not settled yet",
            Self::Full => "too many streams are open on this tunnel",
            Self::Draining => "the tunnel is draining",
            Self::Ended => "the tunnel has ended",
            Self::IdsExhausted => "all stream ids of this tunnel were used; open another tunnel",
            Self::HeadTooLarge => "the method and metadata are larger than a peer would take",
        })
    }
}

impl core::error::Error for OpenError {}

/// The stream or call is over, or there is none of this key. A race, not a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// More bytes than the message has left, or than are unread. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyBytes;

/// The message is not whole, so its side cannot be closed with success. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageIncomplete;

/// Why a command on a stream was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// See [`struct@Gone`].
    Gone,
    /// The last message is not out yet; `Event::Writable` tells when it is.
    Busy,
    /// After `half_close`, or after `close`.
    SendSideClosed,
    /// A second message on a method that has one.
    SecondMessage,
    /// See [`struct@TooManyBytes`].
    TooManyBytes,
    /// See [`struct@MessageIncomplete`].
    MessageIncomplete,
    /// Response headers twice, or after a message.
    HeadersLate,
    /// A compressed message, and the extension `TRANSPARENT` is not in effect.
    CompressionNotAgreed,
    /// The head is larger than any peer would take.
    HeadTooLarge,
}

impl CommandError {
    /// The gRPC code for a call that is failed because of it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Gone => Code::Cancelled,
            Self::HeadTooLarge => Code::ResourceExhausted,
            Self::CompressionNotAgreed => Code::Unimplemented,
            _ => Code::Internal,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => GONE,
            Self::Busy => "the last message is not out yet",
            Self::SendSideClosed => "nothing can be sent after half-close or close",
            Self::SecondMessage => "the method has one message in this direction, and it was sent",
            Self::TooManyBytes => TOO_MANY_BYTES,
            Self::MessageIncomplete => MESSAGE_INCOMPLETE,
            Self::HeadersLate => "response headers go once, before the first message",
            Self::CompressionNotAgreed => {
                "a compressed message needs the extension TRANSPARENT in effect"
            }
            Self::HeadTooLarge => "the head is larger than a peer would take",
        })
    }
}

impl core::error::Error for CommandError {}

const GONE: &str = "the call is over";
const TOO_MANY_BYTES: &str = "more bytes than the message or the reader has";
const MESSAGE_INCOMPLETE: &str = "the message is not whole";

/// Errors of one kind, which are also kinds of a [`CommandError`].
macro_rules! single {
    ($($name:ident: $text:ident),*) => {$(
        impl From<$name> for CommandError {
            fn from(_: $name) -> Self {
                Self::$name
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }

        impl core::error::Error for $name {}
    )*};
}
single!(Gone: GONE, TooManyBytes: TOO_MANY_BYTES, MessageIncomplete: MESSAGE_INCOMPLETE);
