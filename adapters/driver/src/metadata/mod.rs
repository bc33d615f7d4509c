//! Metadata: HTTP headers on one side, the protocol's key and value strings on the other.

pub(crate) mod names;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use grpctunnel_core::wire::{BinDialect, Entry, Metadata};
use http::header::Entry as Slot;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::status::BASE64;

/// A header and one value of it, as it enters a tunnel. Values of one key are next to each other.
pub(crate) type Pair<'h> = (&'h str, Cow<'h, [u8]>);

/// Headers that cannot cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadMetadata {
    /// The value of a `-bin` header is not base64.
    NotBase64,
    /// A key that no HTTP header can have.
    Key,
    /// A value that no HTTP header can have.
    Value,
    /// A `-bin` value that is not of the tunnel's dialect.
    Dialect,
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
            Self::TooMany => "more metadata than a header map can hold",
        }
    }
}

impl fmt::Display for BadMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The headers that travel, with binary ones as the bytes that they stand for.
pub(crate) fn entering(headers: &HeaderMap) -> Result<Vec<Pair<'_>>, BadMetadata> {
    let mut pairs = Vec::new();
    for (name, value) in headers {
        let name = name.as_str();
        if names::is_reserved(name) {
            continue;
        }
        let value = value.as_bytes();
        if !names::is_binary(name) {
            pairs.push((name, Cow::Borrowed(value)));
            continue;
        }
        // Several values of one binary header may come as one line.
        for part in value.split(|byte| *byte == b',') {
            let bytes = BASE64.decode(part.trim_ascii());
            let bytes = bytes.map_err(|_| BadMetadata::NotBase64)?;
            pairs.push((name, Cow::Owned(bytes)));
        }
    }
    Ok(pairs)
}

/// The headers that a peer's metadata stands for, without those that would mean something to
/// HTTP/2 or gRPC.
pub(crate) fn leaving(
    metadata: &Metadata<'_>,
    dialect: BinDialect,
) -> Result<HeaderMap, BadMetadata> {
    let mut headers = HeaderMap::new();
    let mixed = |entry: Entry<'_>| entry.key().iter().any(u8::is_ascii_uppercase);
    if metadata.all_entries().any(mixed) {
        for entry in last_of_each_key(metadata) {
            add(&mut headers, entry, dialect, false)?;
        }
    } else {
        for entry in metadata.all_entries() {
            add(&mut headers, entry, dialect, true)?;
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
    dialect: BinDialect,
    replace: bool,
) -> Result<(), BadMetadata> {
    if entry.key().starts_with(b":") {
        return Ok(());
    }
    let name = HeaderName::from_bytes(entry.key()).map_err(|_| BadMetadata::Key)?;
    if names::is_reserved(name.as_str()) {
        return Ok(());
    }
    if replace {
        headers.remove(&name);
    }
    let binary = names::is_binary(name.as_str());
    let text = entry.values().map(|value| {
        if binary {
            encode(dialect.decode(value))
        } else {
            HeaderValue::from_bytes(value).map_err(|_| BadMetadata::Value)
        }
    });
    let raw = entry
        .raw_values()
        .map(|value| encode(value.iter().map(|byte| Some(*byte))));
    for value in text.chain(raw) {
        append(headers, name.clone(), value?)?;
    }
    Ok(())
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
