//! What a call needs that not every tunnel carries.

use grpctunnel_core::wire::{BinDialect, Extension, ExtensionSet};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::Channel;
use crate::grpc::headers::{is_binary, is_reserved, names_encoding};
use crate::grpc::metadata::binary_values;

/// What a call needs that not every tunnel carries, as far as its headers tell.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Its messages may be compressed.
    transparent: bool,
    /// Keys of `-bin` metadata with a value that is not UTF-8.
    raw: Vec<HeaderName>,
}

impl Needs {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut raw: Vec<HeaderName> = Vec::new();
        for (name, value) in headers {
            let is_sent = is_binary(name.as_str()) && !is_reserved(name.as_str());
            if is_sent && raw.last() != Some(name) && is_raw(value) {
                raw.push(name.clone());
            }
        }
        Self {
            transparent: names_encoding(headers),
            raw,
        }
    }

    pub(crate) const fn is_nothing(&self) -> bool {
        !self.transparent && self.raw.is_empty()
    }

    /// Whether a tunnel with these extensions carries the call.
    pub(crate) fn are_met_by(&self, channel: &Channel, extensions: ExtensionSet) -> bool {
        if self.is_nothing() {
            return true;
        }
        let options = &channel.shared().options;
        let is_dropped = |name: &HeaderName| {
            let mut dropped = options.drop_bin.iter();
            dropped.any(|key| key == name.as_str())
        };
        let carries_raw = || {
            extensions.contains(Extension::RawMetadata)
                || options.bin_dialect == BinDialect::Latin1
                || self.raw.iter().all(is_dropped)
        };
        (!self.transparent || extensions.contains(Extension::Transparent)) && carries_raw()
    }
}

/// Whether a header has a binary value that is not UTF-8. One that is not base64 fails on every
/// tunnel.
fn is_raw(value: &HeaderValue) -> bool {
    binary_values(value.as_bytes())
        .any(|value| value.is_ok_and(|bytes| str::from_utf8(&bytes).is_err()))
}
