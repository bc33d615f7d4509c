//! How the values of `-bin` keys are written into a proto `string`.

/// The dialect of a peer; it cannot be seen on the wire. ASCII is the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BinDialect {
    /// The bytes themselves, which must be UTF-8: the Go module.
    #[default]
    Utf8Bytes,
    /// Each byte as the code point of its number: the PyPI package. Any bytes pass.
    Latin1,
}

impl BinDialect {
    /// Bytes of a value in the Latin-1 dialect.
    pub(super) fn latin1_len(value: &[u8]) -> usize {
        let high = value.iter().filter(|byte| !byte.is_ascii()).count();
        value.len().saturating_add(high)
    }

    /// The bytes of a value that came under a `-bin` key. `None`, as the last item, where the
    /// value is not of this dialect.
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
