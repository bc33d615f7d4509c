//! Frames of ours, read with the reference decoder and written down as the catalogue writes them.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use grpctunnel_core::{Code, Side};
use grpctunnel_proto::google::rpc;
use grpctunnel_proto::v1::{
    ClientToServer, MessageData, Metadata, ServerToClient, client_to_server, server_to_client,
};
use prost::Message;

use super::fail;

/// Metadata: values by key.
pub type Headers = BTreeMap<String, Vec<String>>;

/// A status as it is on the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The code's number.
    pub code: i32,
    /// The text.
    pub message: String,
    /// The details, each a serialized `google.protobuf.Any`.
    pub details: Vec<Vec<u8>>,
}

/// A frame that one of our ends sent.
#[derive(Clone, Debug, PartialEq)]
pub enum SentFrame {
    /// `settings`.
    Settings {
        /// Its id.
        id: i64,
        /// The receive window of new streams.
        window: u32,
        /// The revisions on offer.
        revisions: Vec<i32>,
        /// The extensions on offer.
        extensions: Vec<i32>,
    },
    /// `extensions`: the answer to the offer.
    Extensions(Vec<i32>),
    /// `drain`, with its `last_stream_id`.
    Drain(i64),
    /// `ping`, with its `opaque`.
    Ping(u64),
    /// `pong`, with its `opaque`.
    Pong(u64),
    /// `new_stream`.
    New {
        /// Its id.
        id: i64,
        /// The method's name.
        method: String,
        /// The metadata, `grpc-timeout` included.
        headers: Headers,
        /// The receive window for responses.
        window: u32,
        /// The revision of the stream.
        revision: i32,
    },
    /// `response_headers`.
    Headers {
        /// The stream.
        id: i64,
        /// The metadata.
        headers: Headers,
    },
    /// `request_message` or `response_message`.
    Message {
        /// The stream.
        id: i64,
        /// Bytes of the whole message.
        size: u32,
        /// Those in this frame.
        data: Bytes,
        /// Whether the message is compressed.
        compressed: bool,
    },
    /// `more_request_data` or `more_response_data`.
    More {
        /// The stream.
        id: i64,
        /// Its bytes.
        data: Bytes,
    },
    /// `half_close`.
    HalfClose(i64),
    /// `cancel`.
    Cancel(i64),
    /// `window_update`.
    WindowUpdate {
        /// The stream.
        id: i64,
        /// Bytes granted.
        bytes: u32,
    },
    /// `close_stream`.
    Close {
        /// The stream.
        id: i64,
        /// The status; an absent one is OK.
        status: Status,
        /// The trailers.
        trailers: Headers,
        /// Whether it says that no handler saw the call.
        unprocessed: bool,
    },
    /// Anything else, which no end sends by default.
    Other(String),
}

fn headers(metadata: Option<Metadata>) -> Headers {
    let entries = metadata.unwrap_or_default().md;
    entries
        .into_iter()
        .map(|(key, mut values)| {
            let raw = values.raw.iter().map(|raw| raw.escape_ascii().to_string());
            values.val.extend(raw);
            (key, values.val)
        })
        .collect()
}

fn message(id: i64, message: MessageData) -> SentFrame {
    SentFrame::Message {
        id,
        size: message.size,
        data: message.data,
        compressed: message.compressed,
    }
}

fn status(status: Option<rpc::Status>) -> Status {
    let status = status.unwrap_or_default();
    Status {
        code: status.code,
        message: status.message,
        details: status.details.iter().map(Message::encode_to_vec).collect(),
    }
}

impl SentFrame {
    /// Reads a frame of the given end.
    #[must_use]
    pub fn read(by: Side, frame: &[u8]) -> Self {
        let sent = Self::try_read(by, frame);
        sent.unwrap_or_else(|| fail(format_args!("a frame of ours is refused: {frame:?}")))
    }

    /// Reads any frame of the given end; `None` if the reference decoder refuses it.
    #[must_use]
    pub fn try_read(by: Side, frame: &[u8]) -> Option<Self> {
        let frame = Bytes::copy_from_slice(frame);
        match by {
            Side::Client => ClientToServer::decode(frame).map(Self::by_client).ok(),
            Side::Server => ServerToClient::decode(frame).map(Self::by_server).ok(),
        }
    }

    fn by_client(frame: ClientToServer) -> Self {
        use client_to_server::Frame;
        let id = frame.stream_id;
        match frame.frame {
            Some(Frame::NewStream(new)) => Self::New {
                id,
                method: new.method_name,
                headers: headers(new.request_headers),
                window: new.initial_window_size,
                revision: new.protocol_revision,
            },
            Some(Frame::RequestMessage(data)) => message(id, data),
            Some(Frame::MoreRequestData(data)) => Self::More { id, data },
            Some(Frame::HalfClose(())) => Self::HalfClose(id),
            Some(Frame::Cancel(())) => Self::Cancel(id),
            Some(Frame::WindowUpdate(bytes)) => Self::WindowUpdate { id, bytes },
            Some(Frame::Extensions(set)) if id == -1 => Self::Extensions(set.extensions),
            Some(Frame::Ping(ping)) if id == -1 => Self::Ping(ping.opaque),
            Some(Frame::Pong(pong)) if id == -1 => Self::Pong(pong.opaque),
            other => Self::Other(format!("{id} {other:?}")),
        }
    }

    fn by_server(frame: ServerToClient) -> Self {
        use server_to_client::Frame;
        let id = frame.stream_id;
        match frame.frame {
            Some(Frame::Settings(settings)) => Self::Settings {
                id,
                window: settings.initial_window_size,
                revisions: settings.supported_protocol_revisions,
                extensions: settings.extensions,
            },
            Some(Frame::ResponseHeaders(metadata)) => Self::Headers {
                id,
                headers: headers(Some(metadata)),
            },
            Some(Frame::ResponseMessage(data)) => message(id, data),
            Some(Frame::MoreResponseData(data)) => Self::More { id, data },
            Some(Frame::CloseStream(close)) => Self::Close {
                id,
                status: status(close.status),
                trailers: headers(close.response_trailers),
                unprocessed: close.unprocessed,
            },
            Some(Frame::WindowUpdate(bytes)) => Self::WindowUpdate { id, bytes },
            Some(Frame::Drain(drain)) if id == -1 => Self::Drain(drain.last_stream_id),
            Some(Frame::Ping(ping)) if id == -1 => Self::Ping(ping.opaque),
            Some(Frame::Pong(pong)) if id == -1 => Self::Pong(pong.opaque),
            other => Self::Other(format!("{id} {other:?}")),
        }
    }

    /// The stream that it is about.
    #[must_use]
    pub const fn id(&self) -> i64 {
        match self {
            Self::Settings { id, .. }
            | Self::New { id, .. }
            | Self::Headers { id, .. }
            | Self::Message { id, .. }
            | Self::More { id, .. }
            | Self::HalfClose(id)
            | Self::Cancel(id)
            | Self::WindowUpdate { id, .. }
            | Self::Close { id, .. } => *id,
            Self::Extensions(_)
            | Self::Drain(_)
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::Other(_) => -1,
        }
    }

    /// Its payload, which flow control counts.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Message { data, .. } | Self::More { data, .. } => data,
            _ => &[],
        }
    }
}

/// The name of a code, or its number.
#[must_use]
pub fn code_name(code: i32) -> String {
    let Some(known) = Code::from_i32(code) else {
        return code.to_string();
    };
    let name = format!("{known:?}");
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

/// `new(1,a/b)`, `msg(1,size,n)`, `close(1,CODE)`: the notation of the catalogue.
impl fmt::Display for SentFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings {
                id,
                window,
                revisions,
                extensions,
            } if extensions.is_empty() => write!(f, "set({id},{window},{revisions:?})"),
            Self::Settings {
                id,
                window,
                revisions,
                extensions,
            } => write!(f, "set({id},{window},{revisions:?},{extensions:?})"),
            Self::Extensions(set) => write!(f, "extensions({set:?})"),
            Self::Drain(last) => write!(f, "drain({last})"),
            Self::Ping(opaque) => write!(f, "ping({opaque})"),
            Self::Pong(opaque) => write!(f, "pong({opaque})"),
            Self::New { id, method, .. } => write!(f, "new({id},{method})"),
            Self::Headers { id, .. } => write!(f, "hdr({id})"),
            Self::Message { id, size, data, .. } => write!(f, "msg({id},{size},{})", data.len()),
            Self::More { id, data } => write!(f, "more({id},{})", data.len()),
            Self::HalfClose(id) => write!(f, "half({id})"),
            Self::Cancel(id) => write!(f, "cancel({id})"),
            Self::WindowUpdate { id, bytes } => write!(f, "wu({id},{bytes})"),
            Self::Close {
                id,
                status,
                unprocessed,
                ..
            } => {
                let mark = if *unprocessed { ",unprocessed" } else { "" };
                write!(f, "close({id},{}{mark})", code_name(status.code))
            }
            Self::Other(what) => write!(f, "other({what})"),
        }
    }
}
