//! Writes frames with the core's encoders, and reads them with its decoder and with prost.

use core::time::Duration;
use std::collections::BTreeMap;

use grpctunnel_core::wire::{
    self, ClientKind, DecodeLimits, Extension, ExtensionSet, HeadOptions, PREFIX_LEN, Revision,
    ServerKind, StatusHead, prefix,
};
use grpctunnel_proto::google::rpc;
use grpctunnel_proto::v1::{self, ClientToServer, ServerToClient};
use prost::Message;

use super::{Difference, Outcome, check_client, check_server, difference};

/// Pairs of key and value.
pub type Entries = Vec<(String, Vec<u8>)>;

/// A frame to be written, of either end: every kind that the core has an encoder for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Written {
    /// `new_stream`.
    NewStream {
        /// Method name.
        method: String,
        /// Metadata.
        metadata: Entries,
        /// Initial window.
        window: u32,
        /// Whether it is of revision one.
        one: bool,
        /// Milliseconds of the timeout.
        timeout: Option<u64>,
    },
    /// `response_headers`.
    Headers(Entries),
    /// `request_message` or `response_message`.
    Message {
        /// By the server.
        by_server: bool,
        /// Bytes of the whole.
        size: u32,
        /// The first bytes.
        chunk: Vec<u8>,
        /// Whether it is compressed.
        compressed: bool,
    },
    /// `more_request_data` or `more_response_data`.
    More {
        /// By the server.
        by_server: bool,
        /// The bytes.
        chunk: Vec<u8>,
    },
    /// `half_close`.
    HalfClose,
    /// `cancel`.
    Cancel,
    /// `window_update`.
    WindowUpdate {
        /// By the server.
        by_server: bool,
        /// The bytes.
        bytes: u32,
    },
    /// `close_stream` from its caller.
    Close {
        /// Code.
        code: i32,
        /// Message.
        message: String,
        /// Type and value of each detail.
        details: Vec<(String, Vec<u8>)>,
        /// Trailers.
        trailers: Entries,
    },
    /// `close_stream` of the core's own.
    CloseReason {
        /// Code.
        code: i32,
        /// Message.
        message: String,
    },
    /// `settings`.
    Settings {
        /// Initial window.
        window: u32,
        /// Whether each is one.
        revisions: Vec<bool>,
        /// An offer, a bit each.
        extensions: Option<u8>,
    },
    /// `extensions`.
    Extensions(u8),
    /// `drain`.
    Drain(i64),
    /// `ping`.
    Ping {
        /// By the server.
        by_server: bool,
        /// Its content.
        opaque: u64,
    },
    /// `pong`.
    Pong {
        /// By the server.
        by_server: bool,
        /// Its content.
        opaque: u64,
    },
}

impl Written {
    /// The same, with keys and a method that an encoder takes, as far as it goes.
    #[must_use]
    pub fn plausible(mut self) -> Self {
        match &mut self {
            Self::NewStream {
                method, metadata, ..
            } => {
                *method = format!("s/{}", method.trim_start_matches('/'));
                tidy(metadata);
            }
            Self::Headers(metadata)
            | Self::Close {
                trailers: metadata, ..
            } => tidy(metadata),
            _ => {}
        }
        self
    }
}

/// Keys of the characters that gRPC allows, and those that are equal next to each other.
fn tidy(metadata: &mut Entries) {
    const ENDS: [&str; 4] = ["", "-bin", "k", "grpc-trace-bin"];
    for (key, value) in metadata.iter_mut() {
        let end = ENDS.get(key.len() % 4).copied().unwrap_or_default();
        key.make_ascii_lowercase();
        key.retain(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
        *key = format!("{key}{end}");
        if key.is_empty() {
            key.push('x');
        }
        if !key.ends_with("-bin") {
            *value = String::from_utf8_lossy(value).into_owned().into_bytes();
        }
    }
    metadata.sort_by(|left, right| left.0.cmp(&right.0));
}

/// Every value that the frame of `written` on stream `id` holds comes back from the core's decoder
/// and from prost, with or without raw metadata. False where the encoder rightly
/// refuses it.
///
/// # Errors
/// When a value does not.
pub fn check_roundtrip(id: i64, written: &Written, raw: bool) -> Result<bool, Difference> {
    let options = HeadOptions {
        extensions: if raw {
            ExtensionSet::EMPTY
                .with(Extension::RawMetadata)
                .with(Extension::Unprocessed)
        } else {
            ExtensionSet::EMPTY
        },
        ..HeadOptions::default()
    };
    let Some((by_server, id, prefix, body)) = write(id, written, &options) else {
        return Ok(false);
    };
    let frame = unframed(&prefix, &body)?;
    let outcome = if by_server {
        check_server(&frame)?
    } else {
        check_client(&frame)?
    };
    if outcome != Outcome::Same {
        return difference(format!("{written:?} became {outcome:?}"));
    }
    // What prost reads is, as the two agree, what the core reads.
    let held = if by_server {
        server_holds(id, written, &frame, raw)
    } else {
        client_holds(id, written, &frame, raw)
    };
    match held {
        Some(true) => Ok(true),
        _ => difference(format!("{written:?} came back as another: {frame:?}")),
    }
}

fn unframed(prefix: &[u8], body: &[u8]) -> Result<Vec<u8>, Difference> {
    let Some((head, start)) = prefix.split_first_chunk::<PREFIX_LEN>() else {
        return difference("a prefix without the five bytes");
    };
    let frame = [start, body].concat();
    let [flags, len @ ..] = *head;
    if flags != 0 || u32::from_be_bytes(len) as usize != frame.len() {
        return difference(format!("{head:?} before {} bytes", frame.len()));
    }
    Ok(frame)
}

fn pairs(entries: &Entries) -> impl Iterator<Item = (&str, &[u8])> + Clone {
    entries
        .iter()
        .map(|(key, value)| (key.as_str(), &value[..]))
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The set of these bits, from `RAW_METADATA` on.
fn set(bits: u8) -> ExtensionSet {
    super::super::extension_set(bits)
}

fn numbers(bits: u8) -> Vec<i32> {
    (0..5)
        .filter(|bit| bits >> bit & 1 == 1)
        .map(|bit| bit + 1)
        .collect()
}

type Frame = (bool, i64, wire::Prefix, Vec<u8>);

/// By whom, on which stream, and what is written. `None`: the encoder refuses it.
fn write(id: i64, written: &Written, options: &HeadOptions<'_>) -> Option<Frame> {
    let mut body = Vec::new();
    let (by_server, prefix) = match written {
        Written::NewStream {
            method,
            metadata,
            window,
            one,
            timeout,
        } => {
            let _ = wire::encode_open(&mut body, method, pairs(metadata), options).ok()?;
            let revision = revision(*one);
            let timeout = timeout.map(Duration::from_millis);
            let prefix = prefix::new_stream(id, len(&body), *window, revision, timeout);
            (false, prefix)
        }
        Written::Headers(metadata) => {
            let _ = wire::encode_headers(&mut body, pairs(metadata), options).ok()?;
            (true, prefix::headers(id, len(&body)))
        }
        Written::Close {
            code,
            message,
            details,
            trailers,
        } => {
            let details = status_of(0, "", details).encode_to_vec();
            let status = StatusHead {
                code: *code,
                message,
                details: &details,
            };
            if is_marked(*code) {
                let _ =
                    wire::encode_unprocessed(&mut body, status, pairs(trailers), options).ok()?;
            } else {
                let _ = wire::encode_close(&mut body, status, pairs(trailers), options).ok()?;
            }
            (true, prefix::close(id, len(&body)))
        }
        written => {
            let (by_server, id, prefix) = write_plain(id, written, &mut body);
            return Some((by_server, id, prefix, body));
        }
    };
    Some((by_server, id, prefix, body))
}

const fn revision(one: bool) -> Revision {
    if one { Revision::One } else { Revision::Zero }
}

/// The same for frames without a head, which nothing refuses.
fn write_plain(id: i64, written: &Written, body: &mut Vec<u8>) -> (bool, i64, wire::Prefix) {
    match written {
        Written::Message {
            by_server,
            size,
            chunk,
            compressed,
        } => {
            body.clone_from(chunk);
            let prefix = prefix::message(id, *size, len(body), *compressed);
            (*by_server, id, prefix)
        }
        Written::More { by_server, chunk } => {
            body.clone_from(chunk);
            (*by_server, id, prefix::more(id, len(body)))
        }
        Written::HalfClose => (false, id, prefix::half_close(id)),
        Written::WindowUpdate { by_server, bytes } => {
            (*by_server, id, prefix::window_update(id, *bytes))
        }
        Written::CloseReason { code, message } => {
            body.extend_from_slice(message.as_bytes());
            let prefix = if is_marked(*code) {
                prefix::close_unprocessed(id, *code, len(body))
            } else {
                prefix::close_reason(id, *code, len(body))
            };
            (true, id, prefix)
        }
        Written::Settings {
            window,
            revisions,
            extensions,
        } => {
            let revisions: Vec<Revision> = revisions.iter().copied().map(revision).collect();
            let prefix = prefix::settings(*window, &revisions, extensions.map(set));
            (true, -1, prefix)
        }
        Written::Extensions(bits) => (false, -1, prefix::extensions(set(*bits))),
        Written::Drain(last) => (true, -1, prefix::drain(*last)),
        Written::Ping { by_server, opaque } => (*by_server, -1, prefix::ping(*opaque)),
        Written::Pong { by_server, opaque } => (*by_server, -1, prefix::pong(*opaque)),
        // Those with heads are not written here.
        Written::Cancel
        | Written::NewStream { .. }
        | Written::Headers(_)
        | Written::Close { .. } => (false, id, prefix::cancel(id)),
    }
}

/// Which calls are marked as unprocessed.
const fn is_marked(code: i32) -> bool {
    code % 2 != 0
}

/// What travels in the trailers of a status whose details would not come back byte for byte.
fn raw_details(code: i32, message: &str, details: &[(String, Vec<u8>)]) -> Option<Vec<u8>> {
    let head = status_of(0, "", details).encode_to_vec();
    let written = status_of(code, message, details).encode_to_vec();
    let max = HeadOptions::default().max_status as usize;
    (!head.is_empty() && head.len() <= max && head != written).then_some(head)
}

fn status_of(code: i32, message: &str, details: &[(String, Vec<u8>)]) -> rpc::Status {
    rpc::Status {
        code,
        message: message.to_owned(),
        details: details
            .iter()
            .map(|(type_url, value)| prost_types::Any {
                type_url: type_url.clone(),
                value: value.clone(),
            })
            .collect(),
    }
}

/// The strings and the raw values of one key.
type Values<'v> = (Vec<&'v [u8]>, Vec<&'v [u8]>);

/// Whether the metadata is what was asked for: values in their order, by key.
fn metadata_is(found: Option<&v1::Metadata>, asked: &Entries, raw: bool, timeout: bool) -> bool {
    let mut expected = BTreeMap::<&str, Values<'_>>::new();
    for (key, value) in asked {
        if key == "grpc-timeout" {
            continue;
        }
        let (strings, bytes) = expected.entry(key).or_default();
        if raw && key.ends_with("-bin") {
            bytes.push(value);
        } else if std::str::from_utf8(value).is_ok() {
            strings.push(value);
        }
    }
    // A key all of whose values were dropped does not travel.
    expected.retain(|_, (strings, bytes)| !strings.is_empty() || !bytes.is_empty());
    let empty = v1::Metadata::default();
    let found = found.unwrap_or(&empty);
    let others = found.md.iter().filter(|(key, _)| *key != "grpc-timeout");
    let told = found.md.contains_key("grpc-timeout");
    others.clone().count() == expected.len()
        && told == timeout
        && others.into_iter().all(|(key, values)| {
            expected.get(key.as_str()).is_some_and(|(strings, bytes)| {
                values
                    .val
                    .iter()
                    .map(String::as_bytes)
                    .eq(strings.iter().copied())
                    && values
                        .raw
                        .iter()
                        .map(|raw| &raw[..])
                        .eq(bytes.iter().copied())
            })
        })
}

fn client_holds(id: i64, written: &Written, frame: &[u8], raw: bool) -> Option<bool> {
    use v1::client_to_server::Frame;
    let read = ClientToServer::decode(frame).ok()?;
    let ours = wire::decode_client(frame, &DecodeLimits::default()).ok()?;
    let holds = match (read.frame?, written) {
        (
            Frame::NewStream(new),
            Written::NewStream {
                method,
                metadata,
                window,
                one,
                timeout,
            },
        ) => {
            let ClientKind::NewStream(ours) = ours.kind else {
                return Some(false);
            };
            new.method_name == *method
                && new.initial_window_size == *window
                && new.protocol_revision == i32::from(*one)
                && ours.timeout.is_some() == timeout.is_some()
                && metadata_is(
                    new.request_headers.as_ref(),
                    metadata,
                    raw,
                    timeout.is_some(),
                )
        }
        (
            Frame::RequestMessage(data),
            Written::Message {
                size,
                chunk,
                compressed,
                ..
            },
        ) => data.size == *size && data.data == *chunk && data.compressed == *compressed,
        (Frame::MoreRequestData(data), Written::More { chunk, .. }) => data == *chunk,
        (Frame::HalfClose(()), Written::HalfClose) | (Frame::Cancel(()), Written::Cancel) => true,
        (Frame::WindowUpdate(found), Written::WindowUpdate { bytes, .. }) => found == *bytes,
        (Frame::Extensions(found), Written::Extensions(bits)) => found.extensions == numbers(*bits),
        (Frame::Ping(ping), Written::Ping { opaque, .. }) => ping.opaque == *opaque,
        (Frame::Pong(pong), Written::Pong { opaque, .. }) => pong.opaque == *opaque,
        _ => false,
    };
    Some(holds && read.stream_id == id)
}

fn server_holds(id: i64, written: &Written, frame: &[u8], raw: bool) -> Option<bool> {
    use v1::server_to_client::Frame;
    let read = ServerToClient::decode(frame).ok()?;
    let ours = wire::decode_server(frame, &DecodeLimits::default()).ok()?;
    let holds = match (read.frame?, written) {
        (Frame::ResponseHeaders(found), Written::Headers(metadata)) => {
            metadata_is(Some(&found), metadata, raw, false)
        }
        (
            Frame::ResponseMessage(data),
            Written::Message {
                size,
                chunk,
                compressed,
                ..
            },
        ) => data.size == *size && data.data == *chunk && data.compressed == *compressed,
        (Frame::MoreResponseData(data), Written::More { chunk, .. }) => data == *chunk,
        (
            Frame::CloseStream(close),
            Written::Close {
                code,
                message,
                details,
                trailers,
            },
        ) => {
            let status = close.status.unwrap_or_default();
            let mut trailers = trailers.clone();
            if raw && let Some(details) = raw_details(*code, message, details) {
                trailers.push(("grpc-status-details-bin".to_owned(), details));
            }
            metadata_is(close.response_trailers.as_ref(), &trailers, raw, false)
                && status_is(&status, *code, message, details)
                && close.unprocessed == (raw && is_marked(*code))
        }
        (Frame::CloseStream(close), Written::CloseReason { code, message }) => {
            let status = close.status.unwrap_or_default();
            status == status_of(*code, message, &[])
                && close.response_trailers.is_none()
                && close.unprocessed == is_marked(*code)
        }
        (Frame::WindowUpdate(found), Written::WindowUpdate { bytes, .. }) => found == *bytes,
        (Frame::Settings(found), Written::Settings { .. }) => {
            let ServerKind::Settings(ours) = ours.kind else {
                return Some(false);
            };
            settings_are(&found, written) && ours.extensions == offer(written)
        }
        (Frame::Drain(found), Written::Drain(last)) => found.last_stream_id == *last,
        (Frame::Ping(ping), Written::Ping { opaque, .. }) => ping.opaque == *opaque,
        (Frame::Pong(pong), Written::Pong { opaque, .. }) => pong.opaque == *opaque,
        _ => false,
    };
    Some(holds && read.stream_id == id)
}

fn offer(written: &Written) -> Option<ExtensionSet> {
    match written {
        Written::Settings { extensions, .. } => extensions.map(set),
        _ => None,
    }
}

fn settings_are(found: &v1::Settings, written: &Written) -> bool {
    let Written::Settings {
        window,
        revisions,
        extensions,
    } = written
    else {
        return false;
    };
    let revisions = revisions.iter().take(8).map(|one| i32::from(*one));
    let offered = found.supported_protocol_revisions.iter().copied();
    found.initial_window_size == *window
        && offered.eq(revisions)
        && found.extensions == numbers(extensions.unwrap_or(0))
}

/// A status that fits its limit comes back as it was.
fn status_is(found: &rpc::Status, code: i32, message: &str, details: &[(String, Vec<u8>)]) -> bool {
    let asked = status_of(code, message, details);
    if asked.encoded_len() > 16_000 {
        return found.code == code;
    }
    *found == asked
}
