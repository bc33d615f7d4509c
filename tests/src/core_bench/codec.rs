//! Each frame kind, encoded and decoded by the core and by prost.

use std::hint::black_box;

use grpctunnel_core::wire::{
    ClientKind, DecodeLimits, ExtensionSet, HeadOptions, Metadata, Prefix, Revision, ServerKind,
    StatusHead, decode_client, decode_server, encode_close, encode_headers, encode_open, prefix,
};
use grpctunnel_proto::google::rpc::Status;
use grpctunnel_proto::v1::{
    ClientToServer, CloseStream, Drain, Extensions, MessageData, NewStream, Ping, Pong,
    ServerToClient, Settings, client_to_server as up, metadata::Values, server_to_client as down,
};
use prost::Message;
use prost::bytes::Bytes;

use super::ends::METHOD;
use super::{Rounds, right, rounds};

/// A stream id of two bytes, as most are in a busy tunnel.
const ID: i64 = 1_001;
const WINDOW: u32 = 65_536;
const CHUNK: u32 = 16_384;
static PAYLOAD: [u8; CHUNK as usize] = [1; CHUNK as usize];
const OPAQUE: u64 = 0x0123_4567_89ab_cdef;
const CODE: i32 = 5;
const STATUS: &str = "no shelf 1234 in the theater";

/// What calls usually carry.
const METADATA: [(&str, &str); 8] = [
    ("authorization", "Bearer 0123456789abcdef0123456789abcdef"),
    ("grpc-previous-rpc-attempts", "1"),
    (
        "traceparent",
        "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
    ),
    ("tracestate", "vendor=0123456789abcdef"),
    ("user-agent", "grpc-example/1.2.3"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x-request-id", "01234567-89ab-cdef-0123-456789abcdef"),
    ("x-tenant", "example"),
];

/// The first entries of it.
pub(super) fn pairs(count: usize) -> impl Iterator<Item = (&'static str, &'static [u8])> + Clone {
    let pair = |(key, value): &(&'static str, &'static str)| (*key, value.as_bytes());
    METADATA.iter().take(count).map(pair)
}

fn metadata(count: usize) -> grpctunnel_proto::v1::Metadata {
    let entry = |(key, value): &(&str, &str)| {
        let values = Values {
            val: vec![(*value).to_owned()],
            raw: Vec::new(),
        };
        ((*key).to_owned(), values)
    };
    grpctunnel_proto::v1::Metadata {
        md: METADATA.iter().take(count).map(entry).collect(),
    }
}

/// Whose code is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// The core decodes in place, and encodes all but the payload, which it leaves to its caller.
    Core,
    /// The core, and then every entry of the metadata is read.
    CoreRead,
    /// Prost decodes from, and encodes into, `Bytes`; payload is shared when decoding and copied
    /// when encoding.
    Prost,
}

/// A frame of the reference.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Client(ClientToServer),
    Server(ServerToClient),
}

/// A kind of frame.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The oneof's member, and how it is filled.
    pub name: &'static str,
    value: fn() -> Value,
    /// Encodes the prefix, and, in front of it in time, the head.
    encode: fn(&mut Vec<u8>) -> Prefix,
}

const fn client(frame: up::Frame) -> Value {
    Value::Client(ClientToServer {
        stream_id: ID,
        frame: Some(frame),
    })
}

const fn server(frame: down::Frame) -> Value {
    Value::Server(ServerToClient {
        stream_id: ID,
        frame: Some(frame),
    })
}

fn of_tunnel(value: Value) -> Value {
    match value {
        Value::Client(frame) => Value::Client(ClientToServer {
            stream_id: -1,
            ..frame
        }),
        Value::Server(frame) => Value::Server(ServerToClient {
            stream_id: -1,
            ..frame
        }),
    }
}

fn message(len: usize) -> MessageData {
    MessageData {
        size: CHUNK,
        data: Bytes::from_static(PAYLOAD.get(..len).unwrap_or(&PAYLOAD)),
        compressed: false,
    }
}

fn new_stream(entries: usize) -> Value {
    client(up::Frame::NewStream(NewStream {
        method_name: METHOD.to_owned(),
        request_headers: (entries > 0).then(|| metadata(entries)),
        initial_window_size: WINDOW,
        protocol_revision: 1,
    }))
}

fn encode_new_stream(head: &mut Vec<u8>, entries: usize) -> Prefix {
    let options = HeadOptions::default();
    let encoded = right(encode_open(head, METHOD, pairs(entries), &options));
    prefix::new_stream(black_box(ID), encoded.len(), WINDOW, Revision::One, None)
}

fn encode_response_headers(head: &mut Vec<u8>) -> Prefix {
    let options = HeadOptions::default();
    let encoded = right(encode_headers(head, pairs(8), &options));
    prefix::headers(black_box(ID), encoded.len())
}

fn close(code: i32, text: &str, entries: usize) -> Value {
    server(down::Frame::CloseStream(CloseStream {
        response_trailers: (entries > 0).then(|| metadata(entries)),
        status: (code != 0).then(|| Status {
            code,
            message: text.to_owned(),
            details: Vec::new(),
        }),
        unprocessed: false,
    }))
}

fn encode_close_stream(head: &mut Vec<u8>, status: StatusHead<'_>, entries: usize) -> Prefix {
    let options = HeadOptions::default();
    let encoded = right(encode_close(head, status, pairs(entries), &options));
    prefix::close(black_box(ID), encoded.len())
}

const FAILED: StatusHead<'_> = StatusHead {
    code: CODE,
    message: STATUS,
    details: &[],
};

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "new_stream, no metadata",
            value: || new_stream(0),
            encode: |head| encode_new_stream(head, 0),
        },
        Self {
            name: "new_stream, 8 entries",
            value: || new_stream(8),
            encode: |head| encode_new_stream(head, 8),
        },
        Self {
            name: "request_message, 16 KiB",
            value: || client(up::Frame::RequestMessage(message(CHUNK as usize))),
            encode: |_| prefix::message(black_box(ID), CHUNK, CHUNK, false),
        },
        Self {
            name: "more_request_data, 16 KiB",
            value: || client(up::Frame::MoreRequestData(Bytes::from_static(&PAYLOAD))),
            encode: |_| prefix::more(black_box(ID), CHUNK),
        },
        Self {
            name: "half_close",
            value: || client(up::Frame::HalfClose(())),
            encode: |_| prefix::half_close(black_box(ID)),
        },
        Self {
            name: "cancel",
            value: || client(up::Frame::Cancel(())),
            encode: |_| prefix::cancel(black_box(ID)),
        },
        Self {
            name: "window_update, client",
            value: || client(up::Frame::WindowUpdate(WINDOW / 2)),
            encode: |_| prefix::window_update(black_box(ID), WINDOW / 2),
        },
        Self {
            name: "extensions",
            value: || {
                of_tunnel(client(up::Frame::Extensions(Extensions {
                    extensions: vec![1, 2, 3, 4, 5],
                })))
            },
            encode: |_| prefix::extensions(black_box(ExtensionSet::ALL)),
        },
        Self {
            name: "ping, client",
            value: || of_tunnel(client(up::Frame::Ping(Ping { opaque: OPAQUE }))),
            encode: |_| prefix::ping(black_box(OPAQUE)),
        },
        Self {
            name: "settings",
            value: || {
                of_tunnel(server(down::Frame::Settings(Settings {
                    supported_protocol_revisions: vec![0, 1],
                    initial_window_size: WINDOW,
                    extensions: vec![1, 2, 3, 4, 5],
                })))
            },
            encode: |_| {
                let revisions = [Revision::Zero, Revision::One];
                prefix::settings(black_box(WINDOW), &revisions, Some(ExtensionSet::ALL))
            },
        },
        Self {
            name: "response_headers, 8 entries",
            value: || server(down::Frame::ResponseHeaders(metadata(8))),
            encode: encode_response_headers,
        },
        Self {
            name: "response_message, 16 KiB",
            value: || server(down::Frame::ResponseMessage(message(CHUNK as usize))),
            encode: |_| prefix::message(black_box(ID), CHUNK, CHUNK, false),
        },
        Self {
            name: "more_response_data, 16 KiB",
            value: || server(down::Frame::MoreResponseData(Bytes::from_static(&PAYLOAD))),
            encode: |_| prefix::more(black_box(ID), CHUNK),
        },
        Self {
            name: "close_stream, OK",
            value: || close(0, "", 0),
            encode: |head| encode_close_stream(head, StatusHead::default(), 0),
        },
        Self {
            name: "close_stream, status and 8 entries",
            value: || close(CODE, STATUS, 8),
            encode: |head| encode_close_stream(head, FAILED, 8),
        },
        Self {
            name: "window_update, server",
            value: || server(down::Frame::WindowUpdate(WINDOW / 2)),
            encode: |_| prefix::window_update(black_box(ID), WINDOW / 2),
        },
        Self {
            name: "drain",
            value: || of_tunnel(server(down::Frame::Drain(Drain { last_stream_id: ID }))),
            encode: |_| prefix::drain(black_box(ID)),
        },
        Self {
            name: "pong, server",
            value: || of_tunnel(server(down::Frame::Pong(Pong { opaque: OPAQUE }))),
            encode: |_| prefix::pong(black_box(OPAQUE)),
        },
    ];

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|kind| kind.name == name).copied()
    }

    /// The frame as prost writes it.
    fn bytes(self) -> Bytes {
        match (self.value)() {
            Value::Client(frame) => frame.encode_to_vec().into(),
            Value::Server(frame) => frame.encode_to_vec().into(),
        }
    }
}

fn read(metadata: &Metadata<'_>) {
    for entry in metadata {
        black_box(entry.key());
        for value in entry.values() {
            black_box(value);
        }
    }
}

/// Decodes a frame each round.
#[must_use]
pub fn decode(kind: Kind, codec: Codec) -> Rounds {
    let limits = DecodeLimits::default();
    let frame = kind.bytes();
    match ((kind.value)(), codec) {
        (Value::Client(_), Codec::Prost) => rounds(move || {
            let frame = ClientToServer::decode(black_box(&frame).clone());
            black_box(&frame);
        }),
        (Value::Server(_), Codec::Prost) => rounds(move || {
            let frame = ServerToClient::decode(black_box(&frame).clone());
            black_box(&frame);
        }),
        (Value::Client(_), Codec::Core) => rounds(move || {
            black_box(&decode_client(black_box(&frame), &limits));
        }),
        (Value::Server(_), Codec::Core) => rounds(move || {
            black_box(&decode_server(black_box(&frame), &limits));
        }),
        (Value::Client(_), Codec::CoreRead) => rounds(move || {
            let frame = right(decode_client(black_box(&frame), &limits));
            if let ClientKind::NewStream(new) = &black_box(&frame).kind {
                read(&new.metadata);
            }
        }),
        (Value::Server(_), Codec::CoreRead) => rounds(move || {
            let frame = right(decode_server(black_box(&frame), &limits));
            match &black_box(&frame).kind {
                ServerKind::Headers(headers) => read(&headers.metadata),
                ServerKind::Close(close) => read(&close.trailers),
                _ => {}
            }
        }),
    }
}

/// Encodes a frame each round, into memory that is used again.
#[must_use]
pub fn encode(kind: Kind, codec: Codec) -> Rounds {
    let mut out = Vec::with_capacity(2 * CHUNK as usize);
    match ((kind.value)(), codec) {
        (Value::Client(frame), Codec::Prost) => rounds(move || {
            out.clear();
            right(black_box(&frame).encode(&mut out));
            black_box(&out);
        }),
        (Value::Server(frame), Codec::Prost) => rounds(move || {
            out.clear();
            right(black_box(&frame).encode(&mut out));
            black_box(&out);
        }),
        (_, Codec::Core | Codec::CoreRead) => rounds(move || {
            out.clear();
            black_box(&(kind.encode)(&mut out));
            black_box(&out);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core_bench::ends::without_length;

    /// What is compared encodes the same frame.
    #[test]
    fn the_core_writes_what_prost_reads_as_the_same_frame() {
        for kind in Kind::ALL {
            let mut head = Vec::new();
            let prefix = (kind.encode)(&mut head);
            let mut frame = without_length(&prefix).to_vec();
            if kind.name.contains("16 KiB") {
                head = PAYLOAD.to_vec();
            }
            frame.extend_from_slice(&head);
            let frame = Bytes::from(frame);
            let value = match (kind.value)() {
                Value::Client(_) => Value::Client(ClientToServer::decode(frame).unwrap()),
                Value::Server(_) => Value::Server(ServerToClient::decode(frame).unwrap()),
            };
            assert!(value == (kind.value)(), "{}: {value:?}", kind.name);
        }
    }
}
