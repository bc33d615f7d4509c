//! Encoding heads: the part of a frame that has variable size and comes from HTTP headers.

use std::borrow::Cow;

use grpctunnel_core::wire::{
    EncodeError, Encoded, Extension, ExtensionSet, HeadOptions, StatusHead, encode_close,
    encode_headers, encode_open, encode_unprocessed,
};
use grpctunnel_core::{Code, Side};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Uri};

use crate::grpc::headers::{AUTHORITY, is_binary, transparent_fault};
use crate::grpc::metadata::{BadMetadata, Pair, to_metadata};
use crate::grpc::status::Status;
use crate::options::Options;

/// A head, and how many values were left out of it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) dropped: u32,
}

/// The head of a call to the path of `uri`. Its authority is sent where the extensions carry it.
pub(crate) fn open(
    uri: &Uri,
    headers: &HeaderMap,
    extensions: ExtensionSet,
    options: &Options,
) -> Result<Head, Status> {
    let checked = check_transparent(headers, extensions);
    let pairs = checked.and_then(|()| to_metadata(headers, extensions));
    let mut pairs = pairs.map_err(|bad| bad_metadata(bad, Side::Client))?;
    if extensions.contains(Extension::Transparent)
        && let Some(authority) = uri.authority()
    {
        let value = Cow::Borrowed(authority.as_str().as_bytes());
        pairs.push((AUTHORITY, value));
    }
    encode(&pairs, extensions, options, |out, head_options| {
        encode_open(out, uri.path(), borrowed(&pairs), head_options)
    })
    .map_err(|error| bad_head(error, Side::Client))
}

/// The head of response headers.
pub(crate) fn respond(
    headers: &HeaderMap,
    extensions: ExtensionSet,
    options: &Options,
) -> Result<Head, Status> {
    let checked = check_transparent(headers, extensions);
    let pairs = checked.and_then(|()| to_metadata(headers, extensions));
    let pairs = pairs.map_err(|bad| bad_metadata(bad, Side::Server))?;
    encode(&pairs, extensions, options, |out, head_options| {
        encode_headers(out, borrowed(&pairs), head_options)
    })
    .map_err(|error| bad_head(error, Side::Server))
}

/// The head of the end of a call, and the status in it. Trailers that cannot be sent turn success
/// into an error; an error goes without them, its code and text kept. The mark of a call that no
/// handler saw is sent where `extensions` carry it.
pub(crate) fn close(
    status: &Status,
    trailers: &HeaderMap,
    extensions: ExtensionSet,
    options: &Options,
) -> (Head, Status) {
    let encode_status = |status: &Status, pairs: &[Pair<'_>]| {
        let head = StatusHead {
            code: status.code().as_i32(),
            message: status.message(),
            details: status.details(),
        };
        encode(pairs, extensions, options, |out, head_options| {
            if status.is_unprocessed() {
                encode_unprocessed(out, head, borrowed(pairs), head_options)
            } else {
                encode_close(out, head, borrowed(pairs), head_options)
            }
        })
    };
    let result = to_metadata(trailers, extensions)
        .map_err(|bad| bad_metadata(bad, Side::Server))
        .and_then(|pairs| {
            encode_status(status, &pairs).map_err(|error| bad_head(error, Side::Server))
        });
    let bad_trailers = match result {
        Ok(head) => return (head, status.clone()),
        Err(bad_trailers) => bad_trailers,
    };
    let (status, dropped) = if status.is_ok() {
        (bad_trailers, 0)
    } else {
        (status.clone(), trailers.len())
    };
    // Without trailers a status is always encoded.
    let mut head = encode_status(&status, &[]).unwrap_or(Head {
        bytes: Vec::new(),
        dropped: 0,
    });
    let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
    head.dropped = head.dropped.saturating_add(dropped);
    (head, status)
}

/// Refuses what no peer takes of the headers that `TRANSPARENT` carries.
fn check_transparent(headers: &HeaderMap, extensions: ExtensionSet) -> Result<(), BadMetadata> {
    if !extensions.contains(Extension::Transparent) {
        return Ok(());
    }
    match transparent_fault(headers) {
        Some(CONTENT_TYPE) => Err(BadMetadata::ContentType),
        Some(_) => Err(BadMetadata::Encoding),
        None => Ok(()),
    }
}

fn borrowed<'p>(pairs: &'p [Pair<'p>]) -> impl Iterator<Item = (&'p str, &'p [u8])> + Clone {
    pairs.iter().map(|(name, value)| (*name, value.as_ref()))
}

fn encode(
    pairs: &[Pair<'_>],
    extensions: ExtensionSet,
    options: &Options,
    write: impl FnOnce(&mut Vec<u8>, &HeadOptions<'_>) -> Result<Encoded, EncodeError>,
) -> Result<Head, EncodeError> {
    let mut drop_bin: Vec<&str> = Vec::new();
    if pairs.iter().any(|(name, _)| is_binary(name)) {
        drop_bin.extend(options.drop_bin.iter().map(String::as_str));
    }
    let head_options = HeadOptions {
        max_metadata_bytes: options.limits.decode.metadata_bytes,
        max_metadata_entries: options.limits.decode.metadata_entries,
        max_method_name: options.limits.decode.method_name,
        extensions,
        bin_dialect: options.bin_dialect,
        drop_bin: &drop_bin,
        ..HeadOptions::default()
    };
    let mut bytes = Vec::new();
    let encoded = write(&mut bytes, &head_options)?;
    Ok(Head {
        bytes,
        dropped: encoded.dropped(),
    })
}

fn bad_metadata(bad: BadMetadata, side: Side) -> Status {
    let code = match side {
        Side::Client => Code::InvalidArgument,
        Side::Server => Code::Internal,
    };
    Status::new(code, bad.text())
}

fn bad_head(error: EncodeError, side: Side) -> Status {
    let code = match (error, side) {
        (
            EncodeError::MetadataTooLarge
            | EncodeError::TooManyMetadataEntries
            | EncodeError::MethodTooLong,
            _,
        ) => Code::ResourceExhausted,
        (_, Side::Client) => Code::InvalidArgument,
        (_, Side::Server) => Code::Internal,
    };
    Status::new(code, error.to_string())
}
