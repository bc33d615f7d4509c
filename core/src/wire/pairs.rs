//! The encoder for metadata, given as pairs.

use super::bin::BinDialect;
use super::extension::Extension;
use super::head_options::{EncodeError, Encoded, HeadOptions};
use super::put::{field_len, put_field, put_length};
use super::sink::{Sink, SinkFull};
use crate::length::{exceeds, on_wire};

/// How a value is encoded.
#[derive(Clone, Copy)]
enum Carried<'m> {
    /// As a string.
    Text(&'m [u8]),
    /// As a string with a code point for each byte.
    Latin1(&'m [u8]),
    /// In the field for raw bytes.
    Raw(&'m [u8]),
    Dropped,
}

impl Carried<'_> {
    /// Bytes in a `Values` message. The tag of the field for raw bytes has two bytes.
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

impl<'m> Carried<'m> {
    /// Chooses the encoding. A `Text` may turn out not to be UTF-8.
    fn new(key: &str, value: &'m [u8], options: &HeadOptions<'_>) -> Self {
        if !key.ends_with("-bin") {
            Self::Text(value)
        } else if options.extensions.contains(Extension::RawMetadata) {
            Self::Raw(value)
        } else if options.bin_dialect == BinDialect::Latin1 {
            Self::Latin1(value)
        } else if options.drop_bin.contains(&key) && core::str::from_utf8(value).is_err() {
            Self::Dropped
        } else {
            Self::Text(value)
        }
    }

    /// Bytes of the value itself on the wire. `None` if it is dropped.
    fn check(self) -> Result<Option<usize>, EncodeError> {
        match self {
            Self::Text(value) if core::str::from_utf8(value).is_err() => {
                Err(EncodeError::MetadataNotUtf8)
            }
            Self::Text(value) | Self::Raw(value) => Ok(Some(value.len())),
            Self::Latin1(value) => Ok(Some(BinDialect::latin1_len(value))),
            Self::Dropped => Ok(None),
        }
    }
}

/// Whether gRPC allows the key, or it is the one pseudo-header that is carried.
fn is_key(key: &str, options: &HeadOptions<'_>) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_digit() || byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-' | b'.')
    };
    let plain = !key.is_empty() && key.bytes().all(allowed);
    plain || key == ":authority" && options.extensions.contains(Extension::Transparent)
}

/// Whether the key is skipped: the core writes the timeout itself, when the frame is sent.
fn is_left_out(key: &str) -> bool {
    key == "grpc-timeout"
}

/// Metadata that was checked and measured, ready to be written.
pub(super) struct Pairs<'o, I> {
    pairs: I,
    options: &'o HeadOptions<'o>,
    /// Bytes of the `Metadata` message.
    pub(super) len: usize,
    /// Number of values dropped.
    pub(super) dropped: u32,
}

/// How much of the limits is used.
#[derive(Default)]
struct Used {
    bytes: usize,
    entries: usize,
}

impl Used {
    fn add(
        &mut self,
        key: &str,
        value: usize,
        options: &HeadOptions<'_>,
    ) -> Result<(), EncodeError> {
        let line = value.saturating_add(key.len()).saturating_add(32);
        self.bytes = self.bytes.saturating_add(line);
        self.entries = self.entries.saturating_add(1);
        if exceeds(self.bytes, options.max_metadata_bytes) {
            return Err(EncodeError::MetadataTooLarge);
        }
        if exceeds(self.entries, options.max_metadata_entries) {
            return Err(EncodeError::TooManyMetadataEntries);
        }
        Ok(())
    }
}

impl<'m, 'o, I> Pairs<'o, I>
where
    I: Iterator<Item = (&'m str, &'m [u8])> + Clone,
{
    pub(super) fn new(pairs: I, options: &'o HeadOptions<'o>) -> Result<Self, EncodeError> {
        let mut checked = Self {
            pairs,
            options,
            len: 0,
            dropped: 0,
        };
        let mut used = Used::default();
        let mut rest = checked.pairs.clone();
        let mut position = 0_usize;
        while let Some((key, first)) = rest.next() {
            let mut count = 1_usize;
            if is_left_out(key) {
                position = position.saturating_add(count);
                continue;
            }
            if !is_key(key, options) {
                return Err(EncodeError::MetadataKey);
            }
            // Quadratic, but bounded by the limits, which are checked for each value.
            let mut earlier = checked.pairs.clone().take(position);
            if earlier.any(|(other, _)| other == key) {
                return Err(EncodeError::DuplicateKey);
            }
            let mut values_len = 0_usize;
            let mut value = Some(first);
            while let Some(current) = value {
                let carried = Carried::new(key, current, options);
                match carried.check()? {
                    Some(len) => used.add(key, len, options)?,
                    None => checked.dropped = checked.dropped.saturating_add(1),
                }
                values_len = values_len.saturating_add(carried.len());
                value = next_of_key(&mut rest, key);
                count = count.saturating_add(usize::from(value.is_some()));
            }
            if values_len > 0 {
                let entry = field_len(key.len()).saturating_add(field_len(values_len));
                checked.len = checked.len.saturating_add(field_len(entry));
            }
            position = position.saturating_add(count);
        }
        Ok(checked)
    }

    /// Writes the content of a `Metadata` message.
    pub(super) fn put(&self, out: &mut impl Sink) -> Result<(), SinkFull> {
        let mut rest = self.pairs.clone();
        while let Some((key, first)) = rest.next() {
            if is_left_out(key) {
                continue;
            }
            let carried = |value| Carried::new(key, value, self.options);
            let mut again = rest.clone();
            let mut values_len = carried(first).len();
            while let Some(value) = next_of_key(&mut rest, key) {
                values_len = values_len.saturating_add(carried(value).len());
            }
            if values_len == 0 {
                continue;
            }
            let entry = field_len(key.len()).saturating_add(field_len(values_len));
            put_length(out, 1, entry)?;
            put_field(out, 1, key.as_bytes())?;
            put_length(out, 2, values_len)?;
            carried(first).put(out)?;
            while let Some(value) = next_of_key(&mut again, key) {
                carried(value).put(out)?;
            }
        }
        Ok(())
    }

    /// The result, after `len` bytes were written.
    pub(super) fn encoded(&self, len: usize) -> Encoded {
        Encoded {
            len: on_wire(len),
            ok: true,
            dropped: self.dropped,
        }
    }
}

/// The next value if it has the same key. Otherwise the iterator does not advance.
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
