//! Heads: the parts of variable size of `new_stream`, `response_headers` and `close_stream`,
//! encoded by the caller into its own memory, checked and limited.

use core::fmt;

use super::bin::BinDialect;
use super::extension::{Extension, ExtensionSet};
use super::prefix::varint_len;
use super::sink::{Sink, SinkFull};
use super::status::{Parts, any_messages};

/// How heads are encoded.
#[derive(Clone, Copy, Debug)]
pub struct HeadOptions<'a> {
    /// Bytes of the metadata: name, value and 32 for each value. Default 65,536.
    pub max_metadata_bytes: u32,
    /// Values of the metadata. Default 256.
    pub max_metadata_entries: u32,
    /// Bytes of the method name. Default 1,024.
    pub max_method_name: u32,
    /// Bytes of the status: message and details. Default 16,384.
    pub max_status: u32,
    /// The extensions in effect.
    pub extensions: ExtensionSet,
    /// How the values of `-bin` keys are written.
    pub bin_dialect: BinDialect,
    /// `-bin` keys whose values are left out, and counted, where they cannot be carried; any
    /// other such value is an error. Default `grpc-trace-bin` and `grpc-tags-bin`, which
    /// instrumentation adds to every call.
    pub drop_bin: &'a [&'a str],
}

impl Default for HeadOptions<'_> {
    fn default() -> Self {
        Self {
            max_metadata_bytes: 65_536,
            max_metadata_entries: 256,
            max_method_name: 1_024,
            max_status: 16_384,
            extensions: ExtensionSet::EMPTY,
            bin_dialect: BinDialect::Utf8Bytes,
            drop_bin: &["grpc-trace-bin", "grpc-tags-bin"],
        }
    }
}

/// What was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes written.
    pub len: u32,
    /// Things left out because they cannot be carried: values of [`HeadOptions::drop_bin`],
    /// status details that are not a `google.rpc.Status` or are too large.
    pub dropped: u32,
}

/// Why a head was not encoded. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The method name is empty.
    MethodEmpty,
    /// The method name is not `service/method`.
    MethodSyntax,
    /// The method name is longer than the limit.
    MethodTooLong,
    /// A key is not made of `0-9 a-z _ - .`, or is empty.
    MetadataKey,
    /// A value is not UTF-8, and no extension carries it.
    MetadataNotUtf8,
    /// The metadata has more bytes than the limit.
    MetadataTooLarge,
    /// The metadata has more values than the limit.
    TooManyMetadataEntries,
    /// A key comes again after another one; its values must be next to each other.
    DuplicateKey,
    /// The output has no room.
    SinkFull,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MethodEmpty => "the method name is empty; expected service/method",
            Self::MethodSyntax => "the method name is not service/method",
            Self::MethodTooLong => "the method name is longer than the limit",
            Self::MetadataKey => "a metadata key is not made of 0-9, a-z, '_', '-' and '.'",
            Self::MetadataNotUtf8 => "a metadata value is not UTF-8 and cannot cross this tunnel",
            Self::MetadataTooLarge => "the metadata is larger than the limit",
            Self::TooManyMetadataEntries => "the metadata has more values than the limit",
            Self::DuplicateKey => "the values of a metadata key are not next to each other",
            Self::SinkFull => "the output buffer has no room",
        })
    }
}

impl core::error::Error for EncodeError {}

impl From<SinkFull> for EncodeError {
    fn from(_: SinkFull) -> Self {
        Self::SinkFull
    }
}

/// A status to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusHead<'a> {
    /// `code`
    pub code: i32,
    /// `message`
    pub message: &'a str,
    /// A serialized `google.rpc.Status`, as `grpc-status-details-bin` holds it, or nothing. Its
    /// `details` are copied byte for byte; its code and message are not used.
    pub details: &'a [u8],
}

/// Bytes of a length-delimited field whose tag is one byte.
const fn field_len(len: usize) -> usize {
    len.saturating_add(varint_len(len as u64) as usize)
        .saturating_add(1)
}

fn put_varint(out: &mut impl Sink, mut value: u64) -> Result<(), SinkFull> {
    while value >= 0x80 {
        out.put(&[(value & 0x7f) as u8 | 0x80])?;
        value >>= 7;
    }
    out.put(&[(value & 0x7f) as u8])
}

/// The tag and length of a length-delimited field.
fn put_length(out: &mut impl Sink, number: u32, len: usize) -> Result<(), SinkFull> {
    put_varint(out, u64::from(number << 3 | 2))?;
    put_varint(out, len as u64)
}

fn put_field(out: &mut impl Sink, number: u32, bytes: &[u8]) -> Result<(), SinkFull> {
    put_length(out, number, bytes.len())?;
    out.put(bytes)
}

/// How one value travels.
#[derive(Clone, Copy)]
enum Carried<'m> {
    /// As the string that it is.
    Text(&'m [u8]),
    /// Each byte as a code point.
    Latin1(&'m [u8]),
    /// In the field for raw bytes.
    Raw(&'m [u8]),
    Dropped,
}

impl Carried<'_> {
    /// Bytes in a `Values` message; the tag of the field for raw bytes takes two.
    fn len(self) -> usize {
        match self {
            Self::Text(value) => field_len(value.len()),
            Self::Latin1(value) => field_len(BinDialect::latin1_len(value)),
            Self::Raw(value) => field_len(value.len()).saturating_add(1),
            Self::Dropped => 0,
        }
    }

    fn put(self, out: &mut impl Sink) -> Result<(), SinkFull> {
        match self {
            Self::Text(value) => put_field(out, 1, value),
            Self::Latin1(value) => {
                put_length(out, 1, BinDialect::latin1_len(value))?;
                for byte in value {
                    out.put(char::from(*byte).encode_utf8(&mut [0; 2]).as_bytes())?;
                }
                Ok(())
            }
            Self::Raw(value) => put_field(out, 100, value),
            Self::Dropped => Ok(()),
        }
    }
}

fn carry<'m>(
    key: &str,
    value: &'m [u8],
    options: &HeadOptions<'_>,
) -> Result<Carried<'m>, EncodeError> {
    if key.ends_with("-bin") {
        if options.extensions.contains(Extension::RawMetadata) {
            return Ok(Carried::Raw(value));
        }
        if options.bin_dialect == BinDialect::Latin1 {
            return Ok(Carried::Latin1(value));
        }
    }
    if core::str::from_utf8(value).is_ok() {
        Ok(Carried::Text(value))
    } else if key.ends_with("-bin") && options.drop_bin.contains(&key) {
        Ok(Carried::Dropped)
    } else {
        Err(EncodeError::MetadataNotUtf8)
    }
}

fn is_key(key: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_digit() || byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-' | b'.')
    };
    !key.is_empty() && key.bytes().all(allowed)
}

/// Metadata that was checked and measured, and is still to be written.
struct Checked<'o, I> {
    metadata: I,
    options: &'o HeadOptions<'o>,
    len: usize,
    dropped: u32,
}

impl<'m, 'o, I> Checked<'o, I>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    fn new(metadata: I, options: &'o HeadOptions<'o>) -> Result<Self, EncodeError> {
        let mut checked = Self {
            metadata,
            options,
            len: 0,
            dropped: 0,
        };
        let (mut bytes, mut entries) = (0_usize, 0_usize);
        let mut rest = checked.metadata.clone();
        let mut before = 0_usize;
        while let Some((key, first)) = rest.next() {
            let position = before;
            before = before.saturating_add(1);
            if key == "grpc-timeout" {
                continue;
            }
            if !is_key(key) {
                return Err(EncodeError::MetadataKey);
            }
            let mut earlier = checked.metadata.clone().take(position);
            if earlier.any(|(other, _)| other == key) {
                return Err(EncodeError::DuplicateKey);
            }
            let mut values_len = 0_usize;
            let mut value = Some(first);
            while let Some(current) = value {
                let carried = carry(key, current, options)?;
                if matches!(carried, Carried::Dropped) {
                    checked.dropped = checked.dropped.saturating_add(1);
                } else {
                    values_len = values_len.saturating_add(carried.len());
                    let line = current.len().saturating_add(key.len()).saturating_add(32);
                    bytes = bytes.saturating_add(line);
                    entries = entries.saturating_add(1);
                }
                value = next_of_key(&mut rest, key);
                if value.is_some() {
                    before = before.saturating_add(1);
                }
            }
            if values_len > 0 {
                let entry = field_len(key.len()).saturating_add(field_len(values_len));
                checked.len = checked.len.saturating_add(field_len(entry));
            }
        }
        if bytes > options.max_metadata_bytes as usize {
            return Err(EncodeError::MetadataTooLarge);
        }
        if entries > options.max_metadata_entries as usize {
            return Err(EncodeError::TooManyMetadataEntries);
        }
        Ok(checked)
    }

    /// Writes the content of a `Metadata` message.
    fn put(&self, out: &mut impl Sink) -> Result<(), EncodeError> {
        let mut rest = self.metadata.clone();
        while let Some((key, first)) = rest.next() {
            if key == "grpc-timeout" {
                continue;
            }
            let start = rest.clone();
            let mut values_len = carry(key, first, self.options)?.len();
            while let Some(value) = next_of_key(&mut rest, key) {
                values_len = values_len.saturating_add(carry(key, value, self.options)?.len());
            }
            if values_len == 0 {
                continue;
            }
            let entry = field_len(key.len()).saturating_add(field_len(values_len));
            put_length(out, 1, entry)?;
            put_field(out, 1, key.as_bytes())?;
            put_length(out, 2, values_len)?;
            carry(key, first, self.options)?.put(out)?;
            let mut again = start;
            while let Some(value) = next_of_key(&mut again, key) {
                carry(key, value, self.options)?.put(out)?;
            }
        }
        Ok(())
    }

    fn encoded(&self, len: usize) -> Encoded {
        Encoded {
            len: u32::try_from(len).unwrap_or(u32::MAX),
            dropped: self.dropped,
        }
    }
}

/// The next value, if it is of the same key; otherwise the iterator stays where it is.
fn next_of_key<'m, I>(rest: &mut I, key: &str) -> Option<&'m [u8]>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    let mut ahead = rest.clone();
    let (next, value) = ahead.next()?;
    (next == key).then(|| {
        *rest = ahead;
        value
    })
}

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
    if method.len() > options.max_method_name as usize {
        return Err(EncodeError::MethodTooLong);
    }
    let metadata = Checked::new(metadata, options)?;
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
    let metadata = Checked::new(metadata, options)?;
    out.reserve(metadata.len)?;
    metadata.put(out)?;
    Ok(metadata.encoded(metadata.len))
}

const SHORTENED: &str = " [message shortened]";
const DETAILS_DROPPED: &str = " [details dropped: larger than the tunnel's limit]";

/// A status cut to its limit.
struct Fitted<'a> {
    code: u64,
    message: &'a str,
    marker: &'static str,
    details: &'a [u8],
    dropped: u32,
}

impl<'a> Fitted<'a> {
    fn new(status: StatusHead<'a>, max: usize) -> Self {
        let mut fitted = Self {
            code: i64::from(status.code).cast_unsigned(),
            message: status.message,
            marker: "",
            details: status.details,
            dropped: 0,
        };
        if Parts::default().merge(status.details).is_err() {
            fitted.details = &[];
            fitted.dropped = 1;
        }
        let details: usize = any_messages(fitted.details).map(<[u8]>::len).sum();
        let room = max.saturating_sub(details);
        if details > 0 && (details > max || room < DETAILS_DROPPED.len()) {
            fitted.details = &[];
            fitted.dropped = 1;
            fitted.marker = DETAILS_DROPPED;
            fitted.shorten(max);
        } else if fitted.message.len() > room {
            fitted.marker = SHORTENED;
            fitted.shorten(room);
        }
        fitted
    }

    fn shorten(&mut self, max: usize) {
        let mut end = max
            .saturating_sub(self.marker.len())
            .min(self.message.len());
        while !self.message.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.message = self.message.get(..end).unwrap_or_default();
    }

    fn message_len(&self) -> usize {
        self.message.len().saturating_add(self.marker.len())
    }

    fn len(&self) -> usize {
        let code = match self.code {
            0 => 0,
            code => 1 + varint_len(code) as usize,
        };
        let message = match self.message_len() {
            0 => 0,
            len => field_len(len),
        };
        let details = any_messages(self.details).map(|any| field_len(any.len()));
        details.fold(code + message, usize::saturating_add)
    }

    fn put(&self, out: &mut impl Sink) -> Result<(), SinkFull> {
        if self.code != 0 {
            out.put(&[1 << 3])?;
            put_varint(out, self.code)?;
        }
        if self.message_len() > 0 {
            put_length(out, 2, self.message_len())?;
            out.put(self.message.as_bytes())?;
            out.put(self.marker.as_bytes())?;
        }
        for any in any_messages(self.details) {
            put_field(out, 3, any)?;
        }
        Ok(())
    }
}

/// Writes what `close` sends: the `CloseStream`. A status above [`HeadOptions::max_status`] is
/// shortened, or loses its details, and its message says so.
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
    let status = Fitted::new(status, options.max_status as usize);
    let trailers = Checked::new(trailers, options)?;
    let status_len = status.len();
    let mut len = 0_usize;
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
    let mut encoded = trailers.encoded(len);
    encoded.dropped = encoded.dropped.saturating_add(status.dropped);
    Ok(encoded)
}
