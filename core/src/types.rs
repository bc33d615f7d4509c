//! The values that go in and out of a tunnel.

use core::ops::Range;
use core::time::Duration;

use crate::error::{ConfigError, TunnelError};
use crate::limits::Limits;
use crate::reason::{StreamReason, TunnelReason};
use crate::time::Time;
use crate::wire::{ExtensionSet, Metadata, Prefix, Revision, Sink, SinkFull, Status};

/// Names one stream of one tunnel. A slot that is used again has another generation, so an old key
/// names no new stream until its slot was used 2^32 times more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// A small number, unique among the streams that are not retired: an index for the caller's
    /// own table. It is below [`Limits::max_streams`].
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

/// What becomes of whole messages that the reader has not read when its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unread {
    /// They are delivered, then the end.
    Deliver,
    /// They are thrown away, and the reader gets the end at once.
    Discard,
}

/// How a stream ended. Each opened stream yields exactly one, either in [`Input::Ended`] or in
/// [`Event::Ended`].
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

/// What a tunnel waits for; see [`Tunnel::next_timer`](crate::Tunnel::next_timer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timer {
    /// The opening fails: [`Limits::open_timeout`].
    Opening,
    /// The opening fails: [`Limits::settings_timeout`].
    Settings,
    /// The carrier is aborted, because the peer did not finish it: [`Limits::finish_grace`].
    Grace,
    /// The deadline of a call.
    Deadline(Key),
    /// A [`Hold`] is over: the OK of a call leaves.
    Hold(Key),
    /// The limit given to [`drain`](crate::Tunnel::drain).
    Drain,
    /// The slowest reader without flow control loses its stream:
    /// [`RevisionZeroLimits::stall`](crate::RevisionZeroLimits::stall).
    Stall,
    /// A heartbeat is sent: [`Liveness::heartbeat`](crate::Liveness::heartbeat).
    Heartbeat,
    /// A probe, its half-close or a ping is sent.
    Question,
    /// The answer to it was due: [`Liveness::answer`](crate::Liveness::answer).
    Answer,
}

/// What the core has to say without a frame having said it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The tunnel client knows which revision it uses, and may open streams.
    Settled(Revision),
    /// `open` may be called again after `NotSettled` or `Full`.
    MayOpen,
    /// The last message of the stream has left: its memory is free, `send_message` may be called.
    Writable(Key),
    /// The stream ended.
    Ended {
        /// The stream.
        stream: Key,
        /// How.
        why: End<'static>,
        /// What becomes of whole messages that were not read.
        unread: Unread,
    },
    /// The tunnel server has said that it drains: no call can be opened any more. Those that it
    /// did not handle end with [`TunnelReason::PeerDraining`]. At the tunnel client only.
    Draining,
    /// A probe or ping was answered after this time. See [`Limits::liveness`].
    RoundTrip(Duration),
    /// Whether the peer answers: false when a probe or ping was answered by nothing, then true
    /// when something is received again. A tunnel that does not answer is not to be picked for
    /// new calls.
    Responsive(bool),
    /// What the carrier must do now. Nothing more will be transmitted.
    Carrier(Carrier),
}

/// What the carrier must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Finish cleanly: half-close at a network client, OK trailers at a network server.
    Finish,
    /// Give up: reset at a network client, this error's status at a network server.
    Abort(TunnelError),
}

/// How the carrier ended, as the caller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Cleanly: half-close of a network client, OK trailers of a network server.
    Finished,
    /// In any other way.
    Failed,
}

/// Where a range of bytes lies in the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The head given to `open`.
    Open,
    /// The head given to `respond`.
    Headers,
    /// The message given to `send_message`.
    Message,
    /// The head given to `close`.
    Close,
}

/// The rest of a frame, behind its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// A text of the core's own.
    Static(&'static str),
    /// Bytes of the caller's. Where the range ends at the part's length, its memory is free.
    Caller {
        /// Whose.
        stream: Key,
        /// Which.
        part: Part,
        /// Which bytes of it.
        range: Range<u32>,
    },
}

/// One frame to send: its prefix (gRPC's length prefix included), then its body.
#[derive(Clone, Debug)]
#[must_use = "a frame that is not sent is lost, and the tunnel with it"]
pub struct Transmit {
    /// The first bytes.
    pub prefix: Prefix,
    /// The rest.
    pub body: Body,
}

impl Transmit {
    /// Adds the frame to `out`, its length prefix first. `memory` is asked at most once for the
    /// bytes of a part, all of them: the head or the message that the caller gave to the tunnel.
    ///
    /// # Errors
    /// `out` has no room for the whole frame, or the part is shorter than the caller said. Nothing
    /// was added.
    pub fn write_to<'m>(
        &self,
        out: &mut impl Sink,
        memory: impl FnOnce(Key, Part) -> &'m [u8],
    ) -> Result<(), SinkFull> {
        let body = match &self.body {
            Body::None => &[],
            Body::Static(text) => text.as_bytes(),
            Body::Caller {
                stream,
                part,
                range,
            } => {
                let range = usize::try_from(range.start)
                    .ok()
                    .zip(usize::try_from(range.end).ok());
                let part = memory(*stream, *part);
                range
                    .and_then(|(start, end)| part.get(start..end))
                    .ok_or(SinkFull)?
            }
        };
        out.reserve(self.prefix.len().saturating_add(body.len()))?;
        out.put(&self.prefix)?;
        out.put(body)
    }
}

/// What the header `grpctunnel-negotiate` of the other side said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Negotiation {
    /// `on`: the tunnel server sends settings first.
    On,
    /// Absent, or anything else: revision zero, no settings.
    Off,
}

impl Negotiation {
    /// The name of the header.
    pub const HEADER: &'static str = "grpctunnel-negotiate";
    /// Its value.
    pub const VALUE: &'static str = "on";

    /// Reads the values of the header, in wire order: the first one decides, byte for byte.
    pub fn from_header<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        match values.into_iter().next() {
            Some(value) if value == Self::VALUE.as_bytes() => Self::On,
            _ => Self::Off,
        }
    }
}

/// How the carrier comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    /// This end opens it and waits for response headers; then call `handle_opened`.
    Requested,
    /// This end opens it, to a peer that it was told knows revision zero only and sends its
    /// headers late: nothing is negotiated and nothing is waited for.
    RequestedFromOld,
    /// This end accepted it, and the request headers said this.
    Accepted(Negotiation),
}

/// The settings of one end of a tunnel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// All bounds.
    pub limits: Limits,
    /// Whether this end speaks revision one. Without it a tunnel server offers revision zero
    /// only (and still serves a stream that asks for one), and a tunnel client uses no other.
    pub flow_control: bool,
    /// The id of a tunnel client's first stream. Known clients begin with 1.
    pub first_stream_id: i64,
    /// The extensions that this end offers, or answers with. Default none; a
    /// [bare byte stream](crate::bare) adds `DRAIN` and `PING`.
    ///
    /// `DRAIN` and `PING` need nothing of the caller. With `RAW_METADATA` the caller must read
    /// [`Entry::raw_values`](crate::wire::Entry::raw_values) as well, with `TRANSPARENT` it must
    /// honour [`Envelope::compressed`] and pass on the metadata that belongs to it.
    pub extensions: ExtensionSet,
}

impl Config {
    /// Checks every setting; a tunnel is made of a valid `Config` only.
    ///
    /// # Errors
    /// The first setting that is out of its range, by its name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.first_stream_id < 0 {
            return Err(ConfigError::new("first_stream_id", "0 or more"));
        }
        self.limits.validate()
    }

    /// The same, for a caller whose receive buffers hold `bytes` each and cannot grow, such as
    /// those over [`FixedStore`](crate::receive_buffer::FixedStore).
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and where a receive window may become larger than the
    /// buffer.
    pub fn validate_for_buffers_of(&self, bytes: u32) -> Result<(), ConfigError> {
        self.validate()?;
        let window = &self.limits.receive_window;
        if self.flow_control && window.initial > bytes {
            return Err(ConfigError::new(
                "limits.receive_window.initial",
                "no more than the receive buffer of fixed size holds",
            ));
        }
        if self.flow_control && window.grows() && window.max > bytes {
            return Err(ConfigError::new(
                "limits.receive_window.max",
                "no more than the receive buffer of fixed size holds",
            ));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            flow_control: true,
            first_stream_id: 1,
            extensions: ExtensionSet::EMPTY,
        }
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

/// What a tunnel counted in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Streams opened (client) or accepted (server).
    pub opened: u64,
    /// Streams refused by the tunnel server's core.
    pub refused: u64,
    /// Frames that meant nothing.
    pub ignored: u64,
    /// Streams ended by a violation.
    pub violations: u64,
    /// Deadlines that passed.
    pub deadlines: u64,
}
