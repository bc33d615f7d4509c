//! Why a stream or a tunnel ended, with the gRPC status that it becomes.

use core::fmt;

use crate::code::{Code, Side};

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
    ($(#[$about:meta])* $reasons:ident; $( $(#[$doc:meta])* $name:ident: $code:expr, $text:literal; )*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $reasons { $( $(#[$doc])* $name, )* }

        impl $reasons {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

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

        impl fmt::Display for $reasons {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
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
    /// Why the core ended a stream, or refused one: one variant a rule. The tunnel goes on.
    StreamReason;

    // Streams refused or ended by the tunnel server's rules for `new_stream`.
    /// `new_stream.method_name` is empty.
    EmptyMethod: at(Code::InvalidArgument), "the method name is empty; expected service/method";
    /// `new_stream.method_name` is not `service/method`.
    MalformedMethod: at(Code::InvalidArgument), "the method name has no slash; expected service/method";
    /// A method name that no service can have.
    UnknownMethod: at(Code::Unimplemented), "no service has a method of this name";
    /// `new_stream.protocol_revision` is none that we know.
    UnsupportedRevision: at(Code::Unavailable), "unsupported protocol revision; this tunnel speaks 0 and 1";
    /// The tunnel is draining.
    ShuttingDown: at(Code::Unavailable), "the tunnel server is shutting down; the call was not processed";
    /// A string of the frame is not UTF-8.
    NotUtf8: CodeAt::Data, "a string of the frame is not UTF-8";
    /// The metadata of one frame is larger than the limit in bytes.
    MetadataTooLarge: at(Code::ResourceExhausted), "the metadata is larger than the receiver's limit (limits.metadata_bytes)";
    /// The metadata of one frame has more entries than the limit.
    TooManyMetadataEntries: at(Code::ResourceExhausted), "the metadata has more entries than the receiver's limit (limits.metadata_entries)";
    /// The method name is longer than the limit.
    MethodNameTooLong: at(Code::ResourceExhausted), "the method name is longer than the receiver's limit (limits.method_name)";
    /// The status is larger than the limit.
    StatusTooLarge: at(Code::ResourceExhausted), "the status is larger than the receiver's limit (limits.status)";
    /// All streams of the tunnel are taken.
    TooManyStreams: at(Code::ResourceExhausted), "too many streams on the tunnel (limits.max_streams); not processed";

    // What the extension `TRANSPARENT` brings.
    /// `content-type` is not one value of `application/grpc`, alone or followed by `+` or `;`.
    BadContentType: CodeAt::Data, "content-type is not one value of application/grpc";
    /// `:authority` is not one valid value.
    BadAuthority: CodeAt::Data, ":authority is not one valid value";
    /// `grpc-encoding` is not one valid value.
    BadEncoding: CodeAt::Data, "grpc-encoding is not one valid value";
    /// A compressed message on a call without `grpc-encoding`, or with `identity`.
    CompressedWithoutEncoding: at(Code::Internal), "a compressed message on a call that names no encoding";

    // Ends of a stream that are nobody's fault.
    /// The deadline of the call passed.
    DeadlineExceeded: at(Code::DeadlineExceeded), "deadline exceeded";
    /// The call was cancelled.
    Cancelled: at(Code::Cancelled), "the call was cancelled";
    /// The handler went away without a status.
    HandlerGone: at(Code::Internal), "the handler ended without a status";

    // Violations on a stream.
    /// A frame whose oneof is not set, or holds only fields that we do not know.
    UnknownFrame: at(Code::Internal), "protocol error: a frame of no known kind";
    /// `settings` on a stream.
    SettingsOnStream: at(Code::Internal), "protocol error: settings on a stream";
    /// An envelope before the last message was whole.
    MessageInterrupted: CodeAt::Data, "protocol error: a new message before the last one was whole";
    /// `more_*_data` with no message begun.
    DataWithoutMessage: CodeAt::Data, "protocol error: message data without a message";
    /// More bytes than the envelope's `size`.
    DataBeyondSize: CodeAt::Data, "protocol error: more message data than its size";
    /// The stream ended in the middle of a message.
    Truncated: at(Code::Internal), "truncated: the stream ended in the middle of a message";
    /// Too many empty `more_*_data` in a row.
    TooManyEmptyChunks: at(Code::ResourceExhausted), "too many empty chunks in a row (limits.empty_chunks)";
    /// `size` is above the largest message.
    MessageTooLarge: at(Code::ResourceExhausted), "the message is larger than the receiver's limit (limits.max_message)";
    /// More bytes than the receive window.
    WindowExceeded: at(Code::ResourceExhausted), "flow control: more data than the receive window";
    /// A `window_update` lifts the send window past 2^32-1.
    WindowOverflow: at(Code::Internal), "flow control: window update beyond 2^32-1";
    /// A second request where one is due.
    SecondRequest: at(Code::InvalidArgument), "the method takes one request; a second one came";
    /// No request where one is due.
    MissingRequest: at(Code::Internal), "missing request: the method takes one, none came";
    /// A second response where one is due.
    SecondResponse: at(Code::Internal), "the method has one response; a second one came";
    /// No response where one is due.
    MissingResponse: at(MISSING_RESPONSE), "missing response: the call ended OK without one";
    /// The caller's receive buffer has no room, which its window allowed.
    ReceiveBufferFull: at(Code::ResourceExhausted), "the receive buffer has no room for a further message";
    /// A revision-zero stream is over its receive budget.
    RevisionZeroBudget: at(Code::ResourceExhausted), "a reader without flow control fell too far behind (limits.revision_zero)";
}

reasons! {
    /// Why the tunnel ended, and every stream with it, or why it takes no more calls: one variant a
    /// rule.
    TunnelReason;

    // Ends of a stream that are nobody's fault.
    /// The tunnel server drains and did not handle the call.
    PeerDraining: at(Code::Unavailable), "the tunnel server is draining; the call was not processed";

    // The opening.
    /// No response headers in time.
    OpenTimeout: at(Code::DeadlineExceeded), "the peer did not answer the opening of the tunnel in time (limits.open_timeout)";
    /// No settings in time.
    SettingsTimeout: at(Code::DeadlineExceeded), "the tunnel server sent no settings in time (limits.settings_timeout)";
    /// The first frame was not settings.
    NotSettings: at(Code::Internal), "protocol error: the first frame was not settings";
    /// Settings on a stream other than -1.
    SettingsStreamId: at(Code::Internal), "protocol error: settings on a stream other than -1";
    /// Settings that were not negotiated.
    UnexpectedSettings: at(Code::Internal), "protocol error: settings that were not negotiated";
    /// No revision that both ends speak.
    NoCommonRevision: at(Code::FailedPrecondition), "no protocol revision in common";

    // Violations.
    /// The bytes of a frame cannot be decoded.
    Undecodable: at(Code::Internal), "protocol error: a frame that cannot be decoded";
    /// A frame is larger than the limit.
    FrameTooLarge: at(Code::ResourceExhausted), "a frame is larger than the receiver's limit (limits.max_frame)";
    /// A frame came compressed, or with another flag that is not agreed.
    FrameFlags: at(Code::Internal), "protocol error: a frame with flags that were not agreed";
    /// The carrier ended in the middle of a frame.
    FrameTruncated: at(Code::Internal), "protocol error: the carrier ended in the middle of a frame";
    /// A frame for a stream that was never created.
    StreamNeverCreated: at(Code::Internal), "protocol error: a frame for a stream that was never created";
    /// `new_stream` with an id that is open or was used, or is below one that was.
    StreamIdNotIncreasing: at(Code::Internal), "protocol error: stream ids must increase";
    /// `new_stream` with a negative id.
    StreamIdNegative: at(Code::Internal), "protocol error: a stream id is negative";

    // Abuse budgets.
    /// Too many frames that mean nothing.
    TooManyUselessFrames: at(Code::ResourceExhausted), "too many useless frames (limits.useless_frames)";
    /// Too many window updates for what was sent.
    TooManyWindowUpdates: at(Code::ResourceExhausted), "too many window updates (limits.window_updates)";
    /// Too many streams ended by protocol errors.
    TooManyProtocolErrors: at(Code::ResourceExhausted), "too many streams ended by protocol errors (limits.protocol_errors)";
    /// Too many refusals that the peer does not read.
    TooManyRejections: at(Code::ResourceExhausted), "too many refused streams whose refusals are not read (limits.pending_rejections)";

    // The carrier.
    /// The carrier ended cleanly while this end still needed it.
    CarrierFinished: at(Code::Unavailable), "the peer ended the tunnel";
    /// The carrier broke.
    CarrierFailed: at(Code::Unavailable), "the tunnel's transport failed";
    /// The peer accepts no byte.
    Stalled: at(Code::Unavailable), "the peer accepted no byte of the tunnel for too long";
    /// Two probes or pings in a row were answered by nothing.
    Unresponsive: at(Code::Unavailable), "the peer answered neither of two probes (limits.liveness)";
    /// The drain limit passed.
    DrainLimit: at(Code::Unavailable), "the tunnel was drained and its time is up";
    /// The peer did not finish its side after we finished ours.
    GraceExpired: at(Code::Unavailable), "the peer did not finish the tunnel in time after we had";
    /// This end was told to give the tunnel up.
    Aborted: at(Code::Unavailable), "the tunnel was given up by this end";
}

/// Why a call ended, if neither its caller nor its handler did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// For a reason of its own.
    Stream(StreamReason),
    /// With its tunnel.
    Tunnel(TunnelReason),
}

impl Reason {
    /// The gRPC code it becomes at the given side of the tunnel.
    #[must_use]
    pub const fn code(self, side: Side) -> Code {
        match self {
            Self::Stream(reason) => reason.code(side),
            Self::Tunnel(reason) => reason.code(side),
        }
    }

    /// The text that goes into the status, and to the application.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Stream(reason) => reason.text(),
            Self::Tunnel(reason) => reason.text(),
        }
    }
}

impl From<StreamReason> for Reason {
    fn from(reason: StreamReason) -> Self {
        Self::Stream(reason)
    }
}

impl From<TunnelReason> for Reason {
    fn from(reason: TunnelReason) -> Self {
        Self::Tunnel(reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl StreamReason {
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

impl StreamReason {
    /// Whether a call that was refused for it before a handler saw it may succeed at another try,
    /// here or elsewhere.
    pub(crate) const fn is_curable(self) -> bool {
        matches!(self, Self::TooManyStreams | Self::ShuttingDown)
    }
}
