//! The encoders for heads.
//!
//! A head is the part of `new_stream`, `response_headers` or `close_stream` whose size is variable. The
//! caller encodes it into memory of its own.

use super::extension::Extension;
use super::head_options::{EncodeError, Encoded, HeadOptions};
use super::metadata::STATUS_DETAILS;
use super::pairs::Pairs;
use super::prefix::UNPROCESSED;
use super::put::{field_len, put_field, put_length};
use super::sink::Sink;
use super::status_head::{Fitted, StatusHead};
use crate::length::{exceeds, in_memory};

/// Writes what `open` sends: `method_name` and `request_headers` of a `NewStream`. Pairs of the
/// same key must be next to each other. A `grpc-timeout` is left out: the core writes its own.
///
/// # Errors
/// See [`EncodeError`]; nothing was written.
pub fn encode_open<'m, I>(
    out: &mut impl Sink,
    method: &str,
    metadata: I,
    options: &HeadOptions<'_>,
) -> Result<Encoded, EncodeError>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    if method.is_empty() {
        return Err(EncodeError::MethodEmpty);
    }
    match method.strip_prefix('/').unwrap_or(method).split_once('/') {
        Some((service, name)) if !service.is_empty() && !name.is_empty() => {}
        _ => return Err(EncodeError::MethodSyntax),
    }
    if exceeds(method.len(), options.max_method_name) {
        return Err(EncodeError::MethodTooLong);
    }
    let metadata = Pairs::new(metadata, options)?;
    let mut len = field_len(method.len());
    if metadata.len > 0 {
        len = len.saturating_add(field_len(metadata.len));
    }
    out.reserve(len)?;
    put_field(out, 1, method.as_bytes())?;
    if metadata.len > 0 {
        put_length(out, 2, metadata.len)?;
        metadata.put(out)?;
    }
    Ok(metadata.encoded(len))
}

/// Writes what `respond` sends: the `Metadata` of `response_headers`.
///
/// # Errors
/// See [`EncodeError`]; nothing was written.
pub fn encode_headers<'m, I>(
    out: &mut impl Sink,
    metadata: I,
    options: &HeadOptions<'_>,
) -> Result<Encoded, EncodeError>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    let metadata = Pairs::new(metadata, options)?;
    out.reserve(metadata.len)?;
    metadata.put(out)?;
    Ok(metadata.encoded(metadata.len))
}

/// Writes what `close` sends: the `CloseStream`. A status above [`HeadOptions::max_status`] is
/// shortened, or loses its details, and its message says so.
///
/// Where `RAW_METADATA` is in effect and the details would not come out of a `google.rpc.Status`
/// byte for byte, they travel in the trailers as well.
///
/// # Errors
/// See [`EncodeError`]; nothing was written.
pub fn encode_close<'m, I>(
    out: &mut impl Sink,
    status: StatusHead<'_>,
    trailers: I,
    options: &HeadOptions<'_>,
) -> Result<Encoded, EncodeError>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    put_close(out, status, trailers, options, &[])
}

/// The same for a call that no handler saw, so that it may be made again elsewhere: a server
/// behind this end refused it, or could not be reached. The mark is left out where `UNPROCESSED`
/// is not in effect.
///
/// # Errors
/// See [`EncodeError`]; nothing was written.
pub fn encode_unprocessed<'m, I>(
    out: &mut impl Sink,
    status: StatusHead<'_>,
    trailers: I,
    options: &HeadOptions<'_>,
) -> Result<Encoded, EncodeError>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    let mark: &[u8] = if options.extensions.contains(Extension::Unprocessed) {
        UNPROCESSED
    } else {
        &[]
    };
    put_close(out, status, trailers, options, mark)
}

fn put_close<'m, I>(
    out: &mut impl Sink,
    status: StatusHead<'_>,
    trailers: I,
    options: &HeadOptions<'_>,
    mark: &[u8],
) -> Result<Encoded, EncodeError>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    let raw = options.extensions.contains(Extension::RawMetadata);
    let mut status = Fitted::new(status, in_memory(options.max_status), raw);
    let Some(details) = status.raw_details else {
        return write_close(out, &Pairs::new(trailers, options)?, &status, mark);
    };
    // The caller's own would be a second one.
    let others =
        trailers.filter_map(|(key, value)| (key != STATUS_DETAILS).then_some((key, value)));
    let all = others.clone().chain([(STATUS_DETAILS, details)]);
    match Pairs::new(all, options) {
        // The call is to end all the same.
        Err(EncodeError::MetadataTooLarge | EncodeError::TooManyMetadataEntries) => {
            status.dropped = status.dropped.saturating_add(1);
            write_close(out, &Pairs::new(others, options)?, &status, mark)
        }
        pairs => write_close(out, &pairs?, &status, mark),
    }
}

/// Writes a `CloseStream` with these trailers.
fn write_close<'m, I>(
    out: &mut impl Sink,
    trailers: &Pairs<'_, I>,
    status: &Fitted<'_>,
    mark: &[u8],
) -> Result<Encoded, EncodeError>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    let status_len = status.len();
    let mut len = mark.len();
    for part in [trailers.len, status_len] {
        if part > 0 {
            len = len.saturating_add(field_len(part));
        }
    }
    out.reserve(len)?;
    if trailers.len > 0 {
        put_length(out, 1, trailers.len)?;
        trailers.put(out)?;
    }
    if status_len > 0 {
        put_length(out, 2, status_len)?;
        status.put(out)?;
    }
    out.put(mark)?;
    let mut encoded = trailers.encoded(len);
    encoded.ok = status.is_ok();
    encoded.dropped = encoded.dropped.saturating_add(status.dropped);
    Ok(encoded)
}
