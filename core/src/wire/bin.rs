//! The representation of `-bin` values in a protobuf `string`.

/// How a peer represents `-bin` values as strings. The protocol does not announce it. ASCII values are
/// the same in both dialects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BinDialect {
    /// The bytes themselves, which must be UTF-8. Used by the Go module.
    #[default]
    Utf8Bytes,
    /// Each byte as the code point with its value, so any bytes are possible. Used by the Python
    /// package.
    Latin1,
}

impl BinDialect {
    /// Bytes of a value encoded as [`Latin1`](Self::Latin1).
    pub(super) fn latin1_len(value: &[u8]) -> usize {
        let high = value.iter().filter(|byte| !byte.is_ascii()).count();
        value.len().saturating_add(high)
    }

    /// The bytes of a received `-bin` value. An item is `None` if the value is not of this dialect.
    pub fn decode(self, value: &[u8]) -> impl Iterator<Item = Option<u8>> {
        let (bytes, text): (&[u8], &str) = match self {
            Self::Utf8Bytes => (value, ""),
            Self::Latin1 => (&[], core::str::from_utf8(value).unwrap_or("\u{100}")),
        };
        bytes
            .iter()
            .map(|byte| Some(*byte))
            .chain(text.chars().map(|point| u8::try_from(point).ok()))
    }
}
