//! Metadata: HTTP headers on one side, the protocol's key and value strings on the other.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use grpctunnel_core::wire::{BinDialect, Entry, Extension, ExtensionSet, Metadata};
use http::header::Entry as Slot;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::grpc::headers::{BASE64, is_binary, is_good, is_reserved, is_transparent};

/// A header and one value of it, as it is sent through a tunnel. Values of one key are next to each
/// other.
pub(crate) type Pair<'h> = (&'h str, Cow<'h, [u8]>);

/// Why headers or metadata cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadMetadata {
    /// The value of a `-bin` header is not base64.
    NotBase64,
    /// A key that is not a header name.
    Key,
    /// A value that is not a header value.
    Value,
    /// A `-bin` value that is not in the tunnel's dialect.
    Dialect,
    /// `content-type` is not one of gRPC.
    ContentType,
    /// `grpc-encoding` is not one value.
    Encoding,
    /// More than a header map can hold.
    TooMany,
}

impl BadMetadata {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::NotBase64 => "the value of a -bin header is not base64",
            Self::Key => "a metadata key is not one that HTTP can carry",
            Self::Value => "a metadata value is not one that HTTP can carry",
            Self::Dialect => "a -bin metadata value is not in the tunnel's dialect (bin_dialect)",
            Self::ContentType => {
                "content-type is not one value of application/grpc, alone or followed by + or ;"
            }
            Self::Encoding => "grpc-encoding is not one valid value",
            Self::TooMany => "more metadata than a header map can hold",
        }
    }
}

impl fmt::Display for BadMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The metadata that headers stand for: binary values as bytes, and of reserved headers those that
/// the extensions in effect carry, where they are valid.
pub(crate) fn to_metadata(
    headers: &HeaderMap,
    extensions: ExtensionSet,
) -> Result<Vec<Pair<'_>>, BadMetadata> {
    let transparent = extensions.contains(Extension::Transparent);
    let mut pairs = Vec::new();
    for (header, value) in headers {
        let name = header.as_str();
        let carried = transparent && is_transparent(name) && is_good(headers, header);
        if is_reserved(name) && !carried {
            continue;
        }
        let value = value.as_bytes();
        if !is_binary(name) {
            pairs.push((name, Cow::Borrowed(value)));
            continue;
        }
        for bytes in binary_values(value) {
            pairs.push((name, Cow::Owned(bytes?)));
        }
    }
    Ok(pairs)
}

/// The values of a binary header. Several may come as one line.
pub(crate) fn binary_values(value: &[u8]) -> impl Iterator<Item = Result<Vec<u8>, BadMetadata>> {
    value.split(|byte| *byte == b',').map(|part| {
        let bytes = BASE64.decode(part.trim_ascii());
        bytes.map_err(|_| BadMetadata::NotBase64)
    })
}

/// How a peer's metadata is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOptions {
    /// The extensions in effect.
    pub(crate) extensions: ExtensionSet,
    pub(crate) dialect: BinDialect,
}

/// The headers that a peer's metadata stands for; of reserved ones those that the extensions in
/// effect carry.
pub(crate) fn to_headers(
    metadata: &Metadata<'_>,
    options: ReadOptions,
) -> Result<HeaderMap, BadMetadata> {
    let mut headers = HeaderMap::new();
    let mixed = |entry: Entry<'_>| entry.key().iter().any(u8::is_ascii_uppercase);
    if metadata.all_entries().any(mixed) {
        for entry in last_of_each_key(metadata) {
            add(&mut headers, entry, options, false)?;
        }
    } else {
        for entry in metadata.all_entries() {
            add(&mut headers, entry, options, true)?;
        }
    }
    Ok(headers)
}

/// The entries that count, in wire order: of each key, byte for byte, the last.
fn last_of_each_key<'f>(metadata: &Metadata<'f>) -> impl Iterator<Item = Entry<'f>> {
    let last: HashMap<&[u8], usize> = metadata
        .all_entries()
        .enumerate()
        .map(|(position, entry)| (entry.key(), position))
        .collect();
    metadata
        .all_entries()
        .enumerate()
        .filter(move |(position, entry)| last.get(entry.key()) == Some(position))
        .map(|(_, entry)| entry)
}

/// Adds the values of one key, in place of those that are there or behind them.
fn add(
    headers: &mut HeaderMap,
    entry: Entry<'_>,
    options: ReadOptions,
    replace: bool,
) -> Result<(), BadMetadata> {
    if entry.key().starts_with(b":") {
        return Ok(());
    }
    let name = HeaderName::from_bytes(entry.key()).map_err(|_| BadMetadata::Key)?;
    if is_reserved(name.as_str()) && !is_carried(entry.key(), options.extensions) {
        return Ok(());
    }
    if replace {
        headers.remove(&name);
    }
    let binary = is_binary(name.as_str());
    let text = entry.values().map(|value| {
        if binary {
            encode(options.dialect.decode(value))
        } else {
            HeaderValue::from_bytes(value).map_err(|_| BadMetadata::Value)
        }
    });
    // Only binary keys have such values.
    let raw = entry.raw_values().filter(|_| binary);
    let raw = raw.map(|value| encode(value.iter().map(|byte| Some(*byte))));
    for value in text.chain(raw) {
        append(headers, name.clone(), value?)?;
    }
    Ok(())
}

/// Whether the extensions in effect carry a reserved key. The core has checked its values, but not
/// those of the same key in capitals.
fn is_carried(key: &[u8], extensions: ExtensionSet) -> bool {
    extensions.contains(Extension::Transparent) && str::from_utf8(key).is_ok_and(is_transparent)
}

fn append(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: HeaderValue,
) -> Result<(), BadMetadata> {
    match headers.try_entry(name) {
        Ok(Slot::Occupied(mut slot)) => {
            slot.append(value);
            Ok(())
        }
        Ok(Slot::Vacant(slot)) => match slot.try_insert(value) {
            Ok(_) => Ok(()),
            Err(_) => Err(BadMetadata::TooMany),
        },
        Err(_) => Err(BadMetadata::TooMany),
    }
}

fn encode(bytes: impl Iterator<Item = Option<u8>>) -> Result<HeaderValue, BadMetadata> {
    let bytes: Option<Vec<u8>> = bytes.collect();
    let text = BASE64.encode(bytes.ok_or(BadMetadata::Dialect)?);
    HeaderValue::try_from(text).map_err(|_| BadMetadata::Value)
}
