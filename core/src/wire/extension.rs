//! The extensions of the protocol that both ends may agree on.

use super::field::{DecodeError, Fields, Value};

/// An extension of the protocol: `enum Extension`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Extension {
    /// `RAW_METADATA`: `-bin` values with any bytes.
    RawMetadata = 1,
    /// `TRANSPARENT`: content type, encoding, authority and compressed messages.
    Transparent = 2,
    /// `DRAIN`
    Drain = 3,
    /// `PING`
    Ping = 4,
    /// `UNPROCESSED`: a refusal says that no handler saw the call.
    Unprocessed = 5,
}

/// A set of extensions. Numbers that are not known are left out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExtensionSet(u8);

impl ExtensionSet {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// Every one that there is.
    pub const ALL: Self = Self(0b11_1110);

    /// Whether the extension is in it.
    #[must_use]
    pub const fn contains(self, extension: Extension) -> bool {
        self.0 & (1 << extension as u8) != 0
    }

    /// The set with the extension.
    #[must_use]
    pub const fn with(self, extension: Extension) -> Self {
        Self(self.0 | 1 << extension as u8)
    }

    /// The set without the extension.
    #[must_use]
    pub const fn without(self, extension: Extension) -> Self {
        Self(self.0 & !(1 << extension as u8))
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers in it, rising.
    pub(super) fn numbers(self) -> impl Iterator<Item = u8> {
        (1..=5).filter(move |number| self.0 & (1 << number) != 0)
    }

    pub(super) const fn add(&mut self, number: u64) {
        // Protobuf keeps the low 32 bits of an enum.
        let number = number & 0xffff_ffff;
        if number >= 1 && number <= 5 {
            self.0 |= 1 << number;
        }
    }

    /// Adds what a `repeated Extension` field holds, packed or not.
    pub(super) fn add_field(&mut self, value: Value<'_>) -> Result<(), DecodeError> {
        match value {
            Value::Varint(number) => self.add(number),
            Value::Bytes(packed) => {
                let mut packed = Fields::new(packed);
                while !packed.rest().is_empty() {
                    self.add(packed.varint()?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds what a message `Extensions` holds.
    pub(super) fn merge(mut self, message: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                self.add_field(value)?;
            }
        }
        Ok(self)
    }
}
