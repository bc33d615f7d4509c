//! What can go wrong, whose fault it was, how far it reaches, and the gRPC status it becomes.

use core::fmt;

/// A gRPC status code (`google.rpc.Code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// The call was cancelled, typically by the caller.
    Cancelled = 1,
    /// An error of no known kind.
    Unknown = 2,
    /// The client specified an invalid argument.
    InvalidArgument = 3,
    /// The deadline passed before the call finished.
    DeadlineExceeded = 4,
    /// A requested entity was not found.
    NotFound = 5,
    /// The entity that a client tried to create exists.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A resource or a limit is exhausted.
    ResourceExhausted = 8,
    /// The system is not in the state that the call needs.
    FailedPrecondition = 9,
    /// The call was aborted, typically by a conflict.
    Aborted = 10,
    /// The call went past a valid range.
    OutOfRange = 11,
    /// The method is not implemented here.
    Unimplemented = 12,
    /// An invariant was broken, or the peer broke the protocol.
    Internal = 13,
    /// The service cannot be reached now.
    Unavailable = 14,
    /// Data was lost or damaged.
    DataLoss = 15,
    /// The caller is not authenticated.
    Unauthenticated = 16,
}

impl Code {
    /// The code of a number on the wire; `None` for a number that gRPC does not define.
    #[must_use]
    pub const fn from_i32(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Ok,
            1 => Self::Cancelled,
            2 => Self::Unknown,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => return None,
        })
    }

    /// The number on the wire.
    #[must_use]
    pub const fn as_i32(self) -> i32 {
        self as i32
    }
}

/// Which end of the tunnel this is. The frame types follow it, not who opened the carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The tunnel client: it starts the calls.
    Client,
    /// The tunnel server: it handles them.
    Server,
}

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One stream ends, the tunnel goes on.
    Stream,
    /// The tunnel ends, and every stream with it.
    Tunnel,
}

/// The code for a request or a response of the wrong shape: the fault of the caller at a tunnel
/// server, a broken peer at a tunnel client.
const fn data_code(side: Side) -> Code {
    match side {
        Side::Server => Code::InvalidArgument,
        Side::Client => Code::Internal,
    }
}

/// The code for a unary or client-streaming call that ended OK without a response. The gRPC
/// status table says UNIMPLEMENTED; grpc-go and tonic say INTERNAL, and so do we.
pub const MISSING_RESPONSE: Code = Code::Internal;

macro_rules! reasons {
    ($( $(#[$doc:meta])* $name:ident: $scope:ident, $code:expr, $text:literal; )*) => {
        /// Why the core ended a stream, refused one, or ended the tunnel: one variant a rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Reason { $( $(#[$doc])* $name, )* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// How far it reaches.
            #[must_use]
            pub const fn scope(self) -> Scope {
                match self { $( Self::$name => Scope::$scope, )* }
            }

            /// The gRPC code it becomes at the given side of the tunnel.
            #[must_use]
            pub const fn code(self, side: Side) -> Code {
                let by_side: CodeAt = match self { $( Self::$name => $code, )* };
                match by_side {
                    CodeAt::Both(code) => code,
                    CodeAt::Data => data_code(side),
                }
            }

            /// The text that goes into the status, and to the application.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }
        }
    };
}

/// A code that may depend on the side.
enum CodeAt {
    Both(Code),
    Data,
}

const fn at(code: Code) -> CodeAt {
    CodeAt::Both(code)
}

reasons! {
    // Streams refused or ended by the tunnel server's rules for `new_stream`.
    /// `new_stream.method_name` is empty.
    EmptyMethod: Stream, at(Code::InvalidArgument), "the method name is empty; expected service/method";
    /// `new_stream.method_name` is not `service/method`.
    MalformedMethod: Stream, at(Code::InvalidArgument), "the method name has no slash; expected service/method";
    /// A method name that no service can have.
    UnknownMethod: Stream, at(Code::Unimplemented), "no service has a method of this name";
    /// `new_stream.protocol_revision` is none that we know.
    UnsupportedRevision: Stream, at(Code::Unavailable), "unsupported protocol revision; this tunnel speaks 0 and 1";
    /// The tunnel is draining.
    ShuttingDown: Stream, at(Code::Unavailable), "the tunnel server is shutting down; the call was not processed";
    /// A string of the frame is not UTF-8.
    NotUtf8: Stream, CodeAt::Data, "a string of the frame is not UTF-8";
    /// The metadata of one frame is larger than the limit in bytes.
    MetadataTooLarge: Stream, at(Code::ResourceExhausted), "the metadata is larger than the receiver's limit (limits.metadata_bytes)";
    /// The metadata of one frame has more entries than the limit.
    TooManyMetadataEntries: Stream, at(Code::ResourceExhausted), "the metadata has more entries than the receiver's limit (limits.metadata_entries)";
    /// The method name is longer than the limit.
    MethodNameTooLong: Stream, at(Code::ResourceExhausted), "the method name is longer than the receiver's limit (limits.method_name)";
    /// The status is larger than the limit.
    StatusTooLarge: Stream, at(Code::ResourceExhausted), "the status is larger than the receiver's limit (limits.status)";
    /// All streams of the tunnel are taken.
    TooManyStreams: Stream, at(Code::ResourceExhausted), "too many streams on the tunnel (limits.max_streams); not processed";

    // What the extension `TRANSPARENT` brings.
    /// `content-type` is not one value of `application/grpc`, alone or followed by `+` or `;`.
    BadContentType: Stream, CodeAt::Data, "content-type is not one value of application/grpc";
    /// `:authority` is not one valid value.
    BadAuthority: Stream, CodeAt::Data, ":authority is not one valid value";
    /// `grpc-encoding` is not one valid value.
    BadEncoding: Stream, CodeAt::Data, "grpc-encoding is not one valid value";
    /// A compressed message on a call without `grpc-encoding`, or with `identity`.
    CompressedWithoutEncoding: Stream, at(Code::Internal), "a compressed message on a call that names no encoding";

    // Ends of a stream that are nobody's fault.
    /// The tunnel server drains and did not handle the call.
    PeerDraining: Stream, at(Code::Unavailable), "the tunnel server is draining; the call was not processed";
    /// The deadline of the call passed.
    DeadlineExceeded: Stream, at(Code::DeadlineExceeded), "deadline exceeded";
    /// The call was cancelled.
    Cancelled: Stream, at(Code::Cancelled), "the call was cancelled";
    /// The handler went away without a status.
    HandlerGone: Stream, at(Code::Internal), "the handler ended without a status";

    // Violations on a stream.
    /// A frame whose oneof is not set, or holds only fields that we do not know.
    UnknownFrame: Stream, at(Code::Internal), "protocol error: a frame of no known kind";
    /// `settings` on a stream.
    SettingsOnStream: Stream, at(Code::Internal), "protocol error: settings on a stream";
    /// An envelope before the last message was whole.
    MessageInterrupted: Stream, CodeAt::Data, "protocol error: a new message before the last one was whole";
    /// `more_*_data` with no message begun.
    DataWithoutMessage: Stream, CodeAt::Data, "protocol error: message data without a message";
    /// More bytes than the envelope's `size`.
    DataBeyondSize: Stream, CodeAt::Data, "protocol error: more message data than its size";
    /// The stream ended in the middle of a message.
    Truncated: Stream, at(Code::Internal), "truncated: the stream ended in the middle of a message";
    /// Too many empty `more_*_data` in a row.
    TooManyEmptyChunks: Stream, at(Code::ResourceExhausted), "too many empty chunks in a row (limits.empty_chunks)";
    /// `size` is above the largest message.
    MessageTooLarge: Stream, at(Code::ResourceExhausted), "the message is larger than the receiver's limit (limits.max_message)";
    /// More bytes than the receive window.
    WindowExceeded: Stream, at(Code::ResourceExhausted), "flow control: more data than the receive window";
    /// A `window_update` lifts the send window past 2^32-1.
    WindowOverflow: Stream, at(Code::Internal), "flow control: window update beyond 2^32-1";
    /// A second request where one is due.
    SecondRequest: Stream, at(Code::InvalidArgument), "the method takes one request; a second one came";
    /// No request where one is due.
    MissingRequest: Stream, at(Code::Internal), "missing request: the method takes one, none came";
    /// A second response where one is due.
    SecondResponse: Stream, at(Code::Internal), "the method has one response; a second one came";
    /// No response where one is due.
    MissingResponse: Stream, at(MISSING_RESPONSE), "missing response: the call ended OK without one";
    /// The caller's receive buffer has no room, which its window allowed.
    ReceiveBufferFull: Stream, at(Code::ResourceExhausted), "the receive buffer has no room for a further message";
    /// A revision-zero stream is over its receive budget.
    RevisionZeroBudget: Stream, at(Code::ResourceExhausted), "a reader without flow control fell too far behind (limits.revision_zero)";

    // Ends of the tunnel: the opening.
    /// No response headers in time.
    OpenTimeout: Tunnel, at(Code::DeadlineExceeded), "the peer did not answer the opening of the tunnel in time (limits.open_timeout)";
    /// No settings in time.
    SettingsTimeout: Tunnel, at(Code::DeadlineExceeded), "the tunnel server sent no settings in time (limits.settings_timeout)";
    /// The first frame was not settings.
    NotSettings: Tunnel, at(Code::Internal), "protocol error: the first frame was not settings";
    /// Settings on a stream other than -1.
    SettingsStreamId: Tunnel, at(Code::Internal), "protocol error: settings on a stream other than -1";
    /// Settings that were not negotiated.
    UnexpectedSettings: Tunnel, at(Code::Internal), "protocol error: settings that were not negotiated";
    /// No revision that both ends speak.
    NoCommonRevision: Tunnel, at(Code::FailedPrecondition), "no protocol revision in common";

    // Ends of the tunnel: violations.
    /// The bytes of a frame cannot be decoded.
    Undecodable: Tunnel, at(Code::Internal), "protocol error: a frame that cannot be decoded";
    /// A frame is larger than the limit.
    FrameTooLarge: Tunnel, at(Code::ResourceExhausted), "a frame is larger than the receiver's limit (limits.max_frame)";
    /// A frame came compressed, or with another flag that is not agreed.
    FrameFlags: Tunnel, at(Code::Internal), "protocol error: a frame with flags that were not agreed";
    /// The carrier ended in the middle of a frame.
    FrameTruncated: Tunnel, at(Code::Internal), "protocol error: the carrier ended in the middle of a frame";
    /// A frame for a stream that was never created.
    StreamNeverCreated: Tunnel, at(Code::Internal), "protocol error: a frame for a stream that was never created";
    /// `new_stream` with an id that is open or was used, or is below one that was.
    StreamIdNotIncreasing: Tunnel, at(Code::Internal), "protocol error: stream ids must increase";
    /// `new_stream` with a negative id.
    StreamIdNegative: Tunnel, at(Code::Internal), "protocol error: a stream id is negative";

    // Ends of the tunnel: abuse budgets.
    /// Too many frames that mean nothing.
    TooManyUselessFrames: Tunnel, at(Code::ResourceExhausted), "too many useless frames (limits.useless_frames)";
    /// Too many window updates for what was sent.
    TooManyWindowUpdates: Tunnel, at(Code::ResourceExhausted), "too many window updates (limits.window_updates)";
    /// Too many streams ended by protocol errors.
    TooManyProtocolErrors: Tunnel, at(Code::ResourceExhausted), "too many streams ended by protocol errors (limits.protocol_errors)";
    /// Too many refusals that the peer does not read.
    TooManyRejections: Tunnel, at(Code::ResourceExhausted), "too many refused streams whose refusals are not read (limits.pending_rejections)";

    // Ends of the tunnel: the carrier.
    /// The carrier ended cleanly while this end still needed it.
    CarrierFinished: Tunnel, at(Code::Unavailable), "the peer ended the tunnel";
    /// The carrier broke.
    CarrierFailed: Tunnel, at(Code::Unavailable), "the tunnel's transport failed";
    /// The peer accepts no byte.
    Stalled: Tunnel, at(Code::Unavailable), "the peer accepted no byte of the tunnel for too long";
    /// Two probes or pings in a row were answered by nothing.
    Unresponsive: Tunnel, at(Code::Unavailable), "the peer answered neither of two probes (limits.liveness)";
    /// The drain limit passed.
    DrainLimit: Tunnel, at(Code::Unavailable), "the tunnel was drained and its time is up";
    /// The peer did not finish its side after we finished ours.
    GraceExpired: Tunnel, at(Code::Unavailable), "the peer did not finish the tunnel in time after we had";
    /// This end was told to give the tunnel up.
    Aborted: Tunnel, at(Code::Unavailable), "the tunnel was given up by this end";
}

impl Reason {
    /// Whether the peer itself broke the protocol, for which it has a budget.
    ///
    /// Not among them is what an application behind an honest peer can cause, at any rate: a
    /// method, metadata, a message or a status that this end does not take, the wrong number of
    /// messages, a message left unfinished. Nor is a revision of the protocol to come.
    #[must_use]
    pub(crate) const fn is_protocol_error(self) -> bool {
        matches!(
            self,
            Self::UnknownFrame
                | Self::SettingsOnStream
                | Self::MessageInterrupted
                | Self::DataWithoutMessage
                | Self::DataBeyondSize
                | Self::TooManyEmptyChunks
                | Self::WindowExceeded
                | Self::WindowOverflow
        )
    }
}

impl Reason {
    /// Whether a call that was refused for it before a handler saw it may succeed at another try,
    /// here or elsewhere.
    pub(crate) const fn is_curable(self) -> bool {
        matches!(self, Self::TooManyStreams | Self::ShuttingDown)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The tunnel has ended, and why. The first one is kept and returned again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelError {
    side: Side,
    reason: Reason,
    offered: heapless::Vec<i32, 8>,
    supported: &'static [i32],
}

impl TunnelError {
    pub(crate) const fn new(side: Side, reason: Reason) -> Self {
        Self {
            side,
            reason,
            offered: heapless::Vec::new(),
            supported: &[],
        }
    }

    pub(crate) fn no_common_revision(side: Side, offered: &[i32], ours: &'static [i32]) -> Self {
        let mut error = Self::new(side, Reason::NoCommonRevision);
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
    pub const fn reason(&self) -> Reason {
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
        if self.reason == Reason::NoCommonRevision {
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
    /// A reason that ends tunnels, for a stream.
    NotOfAStream,
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
            Self::NotOfAStream => "the reason is one that ends a tunnel, not a stream",
        })
    }
}

impl core::error::Error for CommandError {}
