//! Encoding heads: the part of a frame that has variable size and comes from HTTP headers.

use grpctunnel_core::wire::{
    EncodeError, Encoded, ExtensionSet, HeadOptions, StatusHead, encode_close, encode_headers,
    encode_open, encode_unprocessed,
};
use grpctunnel_core::{Code, Side};
use http::HeaderMap;

use crate::grpc::headers::{is_binary, is_reserved};
use crate::grpc::metadata::{BadMetadata, Pair, to_metadata};
use crate::grpc::status::Status;
use crate::options::Options;

/// A head, and how many values were left out of it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) dropped: u32,
}

/// The head of a call.
pub(crate) fn open(method: &str, headers: &HeaderMap, options: &Options) -> Result<Head, Status> {
    let pairs = to_metadata(headers).map_err(|bad| bad_metadata(bad, Side::Client))?;
    encode(&pairs, options, |out, head_options| {
        encode_open(out, method, borrowed(&pairs), head_options)
    })
    .map_err(|error| bad_head(error, Side::Client))
}

/// The head of response headers.
pub(crate) fn respond(headers: &HeaderMap, options: &Options) -> Result<Head, Status> {
    let pairs = to_metadata(headers).map_err(|bad| bad_metadata(bad, Side::Server))?;
    encode(&pairs, options, |out, head_options| {
        encode_headers(out, borrowed(&pairs), head_options)
    })
    .map_err(|error| bad_head(error, Side::Server))
}

/// The head of the end of a call, and its status. Trailers that cannot be sent make an error of a
/// success; an error keeps its code and text, and loses the trailers.
///
/// The mark of a call that no handler saw is sent where `extensions` carry it.
pub(crate) fn close(
    status: &Status,
    trailers: &HeaderMap,
    extensions: ExtensionSet,
    options: &Options,
) -> (Head, Status) {
    let result = to_metadata(trailers)
        .map_err(|bad| bad_metadata(bad, Side::Server))
        .and_then(|pairs| {
            encode_status(status, &pairs, extensions, options)
                .map_err(|error| bad_head(error, Side::Server))
        });
    match result {
        Ok(head) => (head, status.clone()),
        Err(bad) => {
            let status = if status.is_ok() { bad } else { status.clone() };
            let mut head = encode_status(&status, &[], extensions, options).unwrap_or(Head {
                bytes: Vec::new(),
                dropped: 0,
            });
            let lost = trailers.keys().filter(|name| !is_reserved(name.as_str()));
            let lost = u32::try_from(lost.count()).unwrap_or(u32::MAX);
            head.dropped = head.dropped.saturating_add(lost);
            (head, status)
        }
    }
}

fn encode_status(
    status: &Status,
    pairs: &[Pair<'_>],
    extensions: ExtensionSet,
    options: &Options,
) -> Result<Head, EncodeError> {
    let head = StatusHead {
        code: status.code().as_i32(),
        message: status.message(),
        details: status.details(),
    };
    encode(pairs, options, |out, head_options| {
        if status.is_unprocessed() {
            let head_options = HeadOptions {
                extensions,
                ..*head_options
            };
            encode_unprocessed(out, head, borrowed(pairs), &head_options)
        } else {
            encode_close(out, head, borrowed(pairs), head_options)
        }
    })
}

fn borrowed<'p>(pairs: &'p [Pair<'p>]) -> impl Iterator<Item = (&'p str, &'p [u8])> + Clone {
    pairs.iter().map(|(name, value)| (*name, value.as_ref()))
}

fn encode(
    pairs: &[Pair<'_>],
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
