//! The meaning of a frame, in a form that the codec's and prost's types are both turned into.

use std::collections::BTreeMap;

use grpctunnel_core::wire::{
    self, ClientKind, ContentFault, Extension, ExtensionSet, Revision, ServerKind,
};
use grpctunnel_proto::v1::{self, client_to_server, server_to_client};
use prost::Message;

use super::plain::{ANY, Plain};

/// Values by key.
pub(super) type Headers = BTreeMap<Vec<u8>, Values>;

/// The values of one key.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Values {
    pub(super) strings: Vec<Vec<u8>>,
    pub(super) raw: Vec<Vec<u8>>,
}

/// The oneof member of a frame, of either direction.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    None,
    NewStream {
        /// Empty if it is not UTF-8.
        method: String,
        metadata: Headers,
        window: u32,
        revision: i32,
        timeout: Option<wire::Timeout>,
    },
    Message {
        size: u32,
        data: Vec<u8>,
        compressed: bool,
    },
    More(Vec<u8>),
    HalfClose,
    Cancel,
    WindowUpdate(u32),
    Extensions(Vec<Extension>),
    Ping(u64),
    Pong(u64),
    Settings {
        window: u32,
        /// Whether zero and one can be used.
        revisions: [bool; 2],
        /// The first eight as they came.
        first_revisions: Vec<i32>,
        extensions: Vec<Extension>,
    },
    Headers(Headers),
    Close {
        code: i32,
        /// Empty if it is not UTF-8.
        message: String,
        details: Vec<Detail>,
        trailers: Headers,
        unprocessed: bool,
    },
    Drain(i64),
}

/// A typed error detail.
#[derive(Debug, PartialEq)]
pub(super) struct Detail {
    type_url: Vec<u8>,
    value: Vec<u8>,
}

impl Meaning {
    /// As the codec read it, with what it complains about.
    pub(super) fn of_client(kind: &ClientKind<'_>) -> (Self, Option<ContentFault>) {
        let meaning = match kind {
            ClientKind::None => Self::None,
            ClientKind::NewStream(new) => {
                let meaning = Self::NewStream {
                    method: new.method.to_owned(),
                    metadata: headers(&new.metadata),
                    window: new.initial_window_size,
                    revision: new.revision,
                    timeout: new.timeout,
                };
                return (meaning, new.fault);
            }
            ClientKind::Message(message) => Self::message(message),
            ClientKind::More(data) => Self::More(data.to_vec()),
            ClientKind::HalfClose => Self::HalfClose,
            ClientKind::Cancel => Self::Cancel,
            ClientKind::WindowUpdate(bytes) => Self::WindowUpdate(*bytes),
            ClientKind::Extensions(set) => Self::Extensions(named(*set)),
            ClientKind::Ping(opaque) => Self::Ping(*opaque),
            ClientKind::Pong(opaque) => Self::Pong(*opaque),
        };
        (meaning, None)
    }

    /// As the codec read it, with what it complains about.
    pub(super) fn of_server(kind: &ServerKind<'_>) -> (Self, Option<ContentFault>) {
        let meaning = match kind {
            ServerKind::None => Self::None,
            ServerKind::Settings(settings) => Self::settings(settings),
            ServerKind::Headers(head) => {
                return (Self::Headers(headers(&head.metadata)), head.fault);
            }
            ServerKind::Message(message) => Self::message(message),
            ServerKind::More(data) => Self::More(data.to_vec()),
            ServerKind::Close(close) => return (Self::close(close), close.fault),
            ServerKind::WindowUpdate(bytes) => Self::WindowUpdate(*bytes),
            ServerKind::Drain { last_stream_id } => Self::Drain(*last_stream_id),
            ServerKind::Ping(opaque) => Self::Ping(*opaque),
            ServerKind::Pong(opaque) => Self::Pong(*opaque),
        };
        (meaning, None)
    }

    fn message(message: &wire::MessageData<'_>) -> Self {
        Self::Message {
            size: message.size,
            data: message.data.to_vec(),
            compressed: message.compressed,
        }
    }

    fn settings(settings: &wire::Settings) -> Self {
        Self::Settings {
            window: settings.initial_window_size,
            revisions: [Revision::Zero, Revision::One].map(|one| settings.supports(one)),
            first_revisions: settings.revisions().to_vec(),
            extensions: settings.extensions.map(named).unwrap_or_default(),
        }
    }

    fn close(close: &wire::CloseStream<'_>) -> Self {
        Self::Close {
            code: close.status.code,
            message: close.status.message.to_owned(),
            details: close.status.details().map(detail).collect(),
            trailers: headers(&close.trailers),
            unprocessed: close.unprocessed,
        }
    }
}

fn headers(metadata: &wire::Metadata<'_>) -> Headers {
    metadata
        .all_entries()
        .map(|entry| {
            let values = Values {
                strings: entry.values().map(<[u8]>::to_vec).collect(),
                raw: entry.raw_values().map(<[u8]>::to_vec).collect(),
            };
            (entry.key().to_vec(), values)
        })
        .collect()
}

fn named(set: ExtensionSet) -> Vec<Extension> {
    let all = EXTENSIONS.map(|(_, extension)| extension);
    all.into_iter().filter(|one| set.contains(*one)).collect()
}

/// A detail as the codec hands it out, which is the body of an `Any`, unread.
fn detail(body: &[u8]) -> Detail {
    let mut plain = Plain::new(body);
    let rewritten = plain.rewrite(ANY, body).unwrap_or_default();
    let any = prost_types::Any::decode(&rewritten[..]).unwrap_or_default();
    Detail {
        type_url: plain.original(&any.type_url).0.to_vec(),
        value: any.value,
    }
}

/// Reads what prost decoded, with the strings as they were before the rewriting.
pub(super) struct Reference<'p> {
    plain: &'p Plain,
    not_utf8: bool,
}

impl<'p> Reference<'p> {
    pub(super) const fn new(plain: &'p Plain) -> Self {
        Self {
            plain,
            not_utf8: false,
        }
    }

    /// Whether a string that was read is not UTF-8.
    pub(super) const fn saw_not_utf8(&self) -> bool {
        self.not_utf8
    }

    pub(super) fn client(&mut self, frame: &v1::ClientToServer) -> Meaning {
        use client_to_server::Frame;
        match &frame.frame {
            None => Meaning::None,
            Some(Frame::NewStream(new)) => self.new_stream(new),
            Some(Frame::RequestMessage(message)) => of_message(message),
            Some(Frame::MoreRequestData(data)) => Meaning::More(data.to_vec()),
            Some(Frame::HalfClose(())) => Meaning::HalfClose,
            Some(Frame::Cancel(())) => Meaning::Cancel,
            Some(Frame::WindowUpdate(bytes)) => Meaning::WindowUpdate(*bytes),
            Some(Frame::Extensions(list)) => Meaning::Extensions(listed(&list.extensions)),
            Some(Frame::Ping(ping)) => Meaning::Ping(ping.opaque),
            Some(Frame::Pong(pong)) => Meaning::Pong(pong.opaque),
        }
    }

    pub(super) fn server(&mut self, frame: &v1::ServerToClient) -> Meaning {
        use server_to_client::Frame;
        match &frame.frame {
            None => Meaning::None,
            Some(Frame::Settings(settings)) => of_settings(settings),
            Some(Frame::ResponseHeaders(head)) => Meaning::Headers(self.headers(Some(head))),
            Some(Frame::ResponseMessage(message)) => of_message(message),
            Some(Frame::MoreResponseData(data)) => Meaning::More(data.to_vec()),
            Some(Frame::CloseStream(close)) => self.close(close),
            Some(Frame::WindowUpdate(bytes)) => Meaning::WindowUpdate(*bytes),
            Some(Frame::Drain(drain)) => Meaning::Drain(drain.last_stream_id),
            Some(Frame::Ping(ping)) => Meaning::Ping(ping.opaque),
            Some(Frame::Pong(pong)) => Meaning::Pong(pong.opaque),
        }
    }

    fn new_stream(&mut self, new: &v1::NewStream) -> Meaning {
        let metadata = self.headers(new.request_headers.as_ref());
        let timeout = metadata
            .get(&b"grpc-timeout"[..])
            .and_then(|values| values.strings.last())
            .and_then(|value| wire::Timeout::parse(value));
        Meaning::NewStream {
            method: self.readable(&new.method_name),
            metadata,
            window: new.initial_window_size,
            revision: new.protocol_revision,
            timeout,
        }
    }

    fn close(&mut self, close: &v1::CloseStream) -> Meaning {
        let status = close.status.clone().unwrap_or_default();
        let details = status.details.iter().map(|any| Detail {
            type_url: self.bytes(&any.type_url),
            value: any.value.clone(),
        });
        Meaning::Close {
            details: details.collect(),
            code: status.code,
            message: self.readable(&status.message),
            trailers: self.headers(close.response_trailers.as_ref()),
            unprocessed: close.unprocessed,
        }
    }

    fn headers(&mut self, metadata: Option<&v1::Metadata>) -> Headers {
        let mut headers = Headers::new();
        for (key, values) in metadata.into_iter().flat_map(|metadata| &metadata.md) {
            let strings = values.val.iter().map(|value| self.bytes(value)).collect();
            let raw = values.raw.iter().map(|value| value.to_vec()).collect();
            headers.insert(self.bytes(key), Values { strings, raw });
        }
        headers
    }

    fn bytes(&mut self, text: &str) -> Vec<u8> {
        let (bytes, not_utf8) = self.plain.original(text);
        self.not_utf8 |= not_utf8;
        bytes.to_vec()
    }

    fn readable(&mut self, text: &str) -> String {
        String::from_utf8(self.bytes(text)).unwrap_or_default()
    }
}

fn of_message(message: &v1::MessageData) -> Meaning {
    Meaning::Message {
        size: message.size,
        data: message.data.to_vec(),
        compressed: message.compressed,
    }
}

fn of_settings(settings: &v1::Settings) -> Meaning {
    let offered = &settings.supported_protocol_revisions;
    Meaning::Settings {
        window: settings.initial_window_size,
        revisions: [
            offered.contains(&0) || offered.is_empty(),
            offered.contains(&1),
        ],
        first_revisions: offered.iter().take(8).copied().collect(),
        extensions: listed(&settings.extensions),
    }
}

/// The known ones among the numbers.
fn listed(numbers: &[i32]) -> Vec<Extension> {
    let known = EXTENSIONS.into_iter();
    known
        .filter_map(|(number, extension)| numbers.contains(&(number as i32)).then_some(extension))
        .collect()
}

/// The extensions that both know.
const EXTENSIONS: [(v1::Extension, Extension); 5] = [
    (v1::Extension::RawMetadata, Extension::RawMetadata),
    (v1::Extension::Transparent, Extension::Transparent),
    (v1::Extension::Drain, Extension::Drain),
    (v1::Extension::Ping, Extension::Ping),
    (v1::Extension::Unprocessed, Extension::Unprocessed),
];
