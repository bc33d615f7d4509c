//! The decoded frames, borrowed from their bytes.

use super::content::ContentFault;
use super::extension::ExtensionSet;
use super::metadata::Metadata;
use super::settings::Settings;
use super::status::Status;
use super::timeout::Timeout;
use super::transparent::Transparent;

/// A frame from the tunnel client: `ClientToServer`, from
/// [`decode_client`](super::decode_client).
#[derive(Clone, Copy, Debug)]
pub struct ClientFrame<'f> {
    /// `stream_id`: any number; -1 where the frame is about the tunnel.
    pub stream_id: i64,
    /// The member of the oneof `frame`.
    pub kind: ClientKind<'f>,
}

/// The members of `ClientToServer.frame`.
#[derive(Clone, Copy, Debug)]
pub enum ClientKind<'f> {
    /// No member is set, or none that we know.
    None,
    /// `new_stream`: a call begins.
    NewStream(NewStream<'f>),
    /// `request_message`: a message begins.
    Message(MessageData<'f>),
    /// `more_request_data`: the next bytes of the message.
    More(&'f [u8]),
    /// `half_close`: there will be no more messages.
    HalfClose,
    /// `cancel`: the client wants no more of the call.
    Cancel,
    /// `window_update`: bytes that the client takes beyond what it granted before; 0 means
    /// nothing.
    WindowUpdate(u32),
    /// `extensions`: the answer to the server's offer; the numbers that we know.
    Extensions(ExtensionSet),
    /// `ping`, with its `opaque`, which the `pong` repeats.
    Ping(u64),
    /// `pong`, with the `opaque` of its `ping`.
    Pong(u64),
}

/// `new_stream`: the beginning of a call.
#[derive(Clone, Copy, Debug)]
pub struct NewStream<'f> {
    /// `method_name`, `service/method` with or without a slash before it, or anything else; empty
    /// where it is not UTF-8.
    pub method: &'f str,
    /// `request_headers`; the `grpc-timeout` is still in it.
    pub metadata: Metadata<'f>,
    /// `initial_window_size`: bytes of response messages that the client takes before it grants
    /// more. Revision zero ignores it.
    pub initial_window_size: u32,
    /// `protocol_revision`, any number.
    pub revision: i32,
    /// The last value of `grpc-timeout` in the metadata; `None` where there is none, or one that
    /// [`Timeout::parse`] does not take.
    pub timeout: Option<Timeout>,
    /// What the metadata holds of the extension `TRANSPARENT`.
    pub transparent: Transparent,
    /// What is wrong with the method name or the metadata.
    pub fault: Option<ContentFault>,
}

/// `request_message` or `response_message`: the beginning of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageData<'f> {
    /// `size`: bytes of the whole message, as announced.
    pub size: u32,
    /// `data`: the first bytes of it; all, some, none, or (a fault of the peer) too many.
    pub data: &'f [u8],
    /// `compressed`, of the extension `TRANSPARENT`: the message is, by the call's encoding.
    pub compressed: bool,
}

/// A frame from the tunnel server: `ServerToClient`, from
/// [`decode_server`](super::decode_server).
#[derive(Clone, Copy, Debug)]
pub struct ServerFrame<'f> {
    /// `stream_id`: any number; -1 where the frame is about the tunnel.
    pub stream_id: i64,
    /// The member of the oneof `frame`.
    pub kind: ServerKind<'f>,
}

/// The members of `ServerToClient.frame`.
#[derive(Clone, Copy, Debug)]
pub enum ServerKind<'f> {
    /// No member is set, or none that we know.
    None,
    /// `settings`: what the server can do.
    Settings(Settings),
    /// `response_headers`
    Headers(Headers<'f>),
    /// `response_message`: a message begins.
    Message(MessageData<'f>),
    /// `more_response_data`: the next bytes of the message.
    More(&'f [u8]),
    /// `close_stream`: the call is over.
    Close(CloseStream<'f>),
    /// `window_update`: bytes that the server takes beyond what it granted before; 0 means
    /// nothing.
    WindowUpdate(u32),
    /// `drain`: the server takes no more calls.
    Drain {
        /// `last_stream_id`: no stream above it was or will be handled; -1: there was none.
        last_stream_id: i64,
    },
    /// `ping`, with its `opaque`, which the `pong` repeats.
    Ping(u64),
    /// `pong`, with the `opaque` of its `ping`.
    Pong(u64),
}

/// `response_headers`
#[derive(Clone, Copy, Debug)]
pub struct Headers<'f> {
    /// The metadata.
    pub metadata: Metadata<'f>,
    /// What the metadata holds of the extension `TRANSPARENT`.
    pub transparent: Transparent,
    /// What is wrong with the metadata.
    pub fault: Option<ContentFault>,
}

/// `close_stream`: the end of a call.
#[derive(Clone, Copy, Debug)]
pub struct CloseStream<'f> {
    /// `status`; OK where it is missing.
    pub status: Status<'f>,
    /// `response_trailers`
    pub trailers: Metadata<'f>,
    /// `unprocessed`, of the extension `UNPROCESSED`: no handler saw the call.
    pub unprocessed: bool,
    /// What the trailers hold of the extension `TRANSPARENT`.
    pub transparent: Transparent,
    /// What is wrong with the status or the trailers.
    pub fault: Option<ContentFault>,
}
