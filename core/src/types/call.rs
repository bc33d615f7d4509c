//! What a call is made of, as its caller names it.

use core::time::Duration;

use crate::time::Time;

/// Names one stream of one tunnel. A slot that is used again has another generation, so an old key
/// names no new stream until its slot was used 2^32 times more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// A small number, unique among the streams that are not retired: an index for the caller's
    /// own table. It is below [`Limits::max_streams`](crate::Limits::max_streams).
    #[must_use]
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

/// How a method exchanges messages, where the caller knows it. The wire does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// Not known: nothing about the number of messages is enforced.
    #[default]
    Unknown,
    /// One request, one response.
    Unary,
    /// Requests, one response.
    ClientStreaming,
    /// One request, responses.
    ServerStreaming,
    /// Requests and responses.
    Bidi,
}

impl MethodKind {
    pub(crate) const fn single_request(self) -> bool {
        matches!(self, Self::Unary | Self::ServerStreaming)
    }

    pub(crate) const fn single_response(self) -> bool {
        matches!(self, Self::Unary | Self::ClientStreaming)
    }
}

/// The envelope of a message: `MessageData` without its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// `MessageData.size`: bytes of the whole message.
    pub size: u32,
    /// `MessageData.compressed`, of the extension `TRANSPARENT`.
    pub compressed: bool,
}

impl Envelope {
    /// An uncompressed message of `size` bytes.
    #[must_use]
    pub const fn new(size: u32) -> Self {
        Self {
            size,
            compressed: false,
        }
    }
}

/// How long `close` with OK waits for the client's half-close.
///
/// The Go client loses the response of a call that ends OK before its half-close went out, so a
/// tunnel server holds it for methods with one request and for client-streaming ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Not at all: always right for bidi methods and for errors.
    Never,
    /// Until the half-close, or for so long. Right for a method whose kind is known: 10 s; where
    /// it is not known: 1 s, so that a bidi call may be late but is never stuck.
    UntilHalfClose {
        /// The longest wait.
        max: Duration,
    },
}

impl Hold {
    /// What is right for a method of this kind.
    #[must_use]
    pub const fn of(kind: MethodKind) -> Self {
        let max = match kind {
            MethodKind::Bidi => return Self::Never,
            MethodKind::Unknown => Duration::from_secs(1),
            MethodKind::Unary | MethodKind::ClientStreaming | MethodKind::ServerStreaming => {
                Duration::from_secs(10)
            }
        };
        Self::UntilHalfClose { max }
    }
}

/// What a tunnel client says about a call that it opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// When the call ends if it has not by then. It is sent as `grpc-timeout`, and enforced here.
    pub deadline: Option<Time>,
    /// The kind of its method.
    pub kind: MethodKind,
}
