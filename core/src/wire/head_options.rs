//! The parameters of the encoders for heads, with their results.

use core::fmt;

use super::bin::BinDialect;
use super::extension::ExtensionSet;
use super::sink::SinkFull;

/// How heads are encoded: what the peer can read, and how much of it we send.
#[derive(Clone, Copy, Debug)]
pub struct HeadOptions<'a> {
    /// Bytes of one head's metadata: name, value as it is written, and 32 for each value. Known
    /// peers end the whole tunnel over a frame near 4 MiB. Default 65,536.
    pub max_metadata_bytes: u32,
    /// Values in one head's metadata. Default 256.
    pub max_metadata_entries: u32,
    /// Bytes of the method name. Default 1,024.
    pub max_method_name: u32,
    /// Bytes of a status: message and details. A longer one is cut, it is no error. Default
    /// 16,384.
    pub max_status: u32,
    /// The extensions in effect on the tunnel: `RAW_METADATA` carries any `-bin` value,
    /// `TRANSPARENT` the key `:authority`. Default none.
    pub extensions: ExtensionSet,
    /// How the values of `-bin` keys are written where `RAW_METADATA` is not in effect. Default
    /// [`BinDialect::Utf8Bytes`].
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

/// A head that was encoded into the caller's memory: what the core is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a head is sent once `open`, `respond` or `close` gets this"]
pub struct Encoded {
    pub(super) len: u32,
    pub(super) ok: bool,
    pub(super) dropped: u32,
}

impl Encoded {
    /// The head without a byte: no response headers, or the status OK without trailers.
    pub const EMPTY: Self = Self::kept(0, true);

    /// A head of `len` bytes that was encoded before and kept. `ok`: whether it closes a call, with
    /// the status OK.
    pub const fn kept(len: u32, ok: bool) -> Self {
        Self {
            len,
            ok,
            dropped: 0,
        }
    }

    /// Bytes written to the sink.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether no byte was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no status is in it, or that of success.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        self.ok
    }

    /// Things left out because they cannot be carried: each value of a key in
    /// [`HeadOptions::drop_bin`], and status details that are not a `google.rpc.Status` or are too
    /// large.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }
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
    /// A key is not made of `0-9 a-z _ - .`, the characters that gRPC allows, or is empty.
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
