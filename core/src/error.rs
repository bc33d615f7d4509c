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

/// Why a command on a stream was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The stream has ended, or the key is not one of a live stream. A race, not a mistake.
    Gone,
    /// The last message is not out yet; `Event::Writable` tells when it is.
    Busy,
    /// After `half_close`, or after `close`.
    SendSideClosed,
    /// A second message on a method that has one.
    SecondMessage,
    /// More bytes than the message's size, or than are unread.
    TooManyBytes,
    /// The message is not whole, so its side cannot be closed with success.
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
            Self::Gone => "the stream has ended",
            Self::Busy => "the last message is not out yet",
            Self::SendSideClosed => "nothing can be sent after half-close or close",
            Self::SecondMessage => "the method has one message in this direction, and it was sent",
            Self::TooManyBytes => "more bytes than the message or the reader has",
            Self::MessageIncomplete => "the message is not whole",
            Self::HeadersLate => "response headers go once, before the first message",
            Self::CompressionNotAgreed => {
                "a compressed message needs the extension TRANSPARENT in effect"
            }
            Self::HeadTooLarge => "the head is larger than a peer would take",
        })
    }
}

impl core::error::Error for CommandError {}
