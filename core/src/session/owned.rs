//! Values that own their bytes: metadata, a status.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::code::{Code, Side};
use crate::reason::Reason;
use crate::wire::{BinDialect, Metadata, Status, StatusHead};

/// Metadata of a call: values under keys, in order, the values of one key next to each other.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnedMetadata {
    entries: Vec<(String, Vec<u8>)>,
}

impl OwnedMetadata {
    /// No metadata.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Sets the only value of a key. Keys are lower case; those that end in `-bin` may have values of
    /// any bytes, others of UTF-8. They are checked where they are sent.
    pub fn insert(&mut self, key: &str, value: impl AsRef<[u8]>) {
        self.remove(key);
        self.append(key, value);
    }

    /// Adds a value to those of a key.
    pub fn append(&mut self, key: &str, value: impl AsRef<[u8]>) {
        let last = self.entries.iter().rposition(|(other, _)| other == key);
        let at = last.map_or(self.entries.len(), |last| last.saturating_add(1));
        let entry = (String::from(key), value.as_ref().to_vec());
        self.entries.insert(at, entry);
    }

    /// Removes a key with all its values.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(other, _)| other != key);
    }

    /// The value of a key; the last one if it has several.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.get_all(key).last()
    }

    /// The values of a key, in order.
    pub fn get_all(&self, key: &str) -> impl Iterator<Item = &[u8]> {
        let values = self.iter().filter(move |(other, _)| *other == key);
        values.map(|(_, value)| value)
    }

    /// All values, each with its key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        let pairs = self.entries.iter();
        pairs.map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        let entries = self.entries.capacity().saturating_mul(ENTRY);
        let held =
            |(key, value): &(String, Vec<u8>)| key.capacity().saturating_add(value.capacity());
        self.entries
            .iter()
            .fold(entries, |sum, entry| sum.saturating_add(held(entry)))
    }

    /// Of what came. A key that comes again replaces what came before, as in any protobuf map.
    pub(super) fn of(metadata: Metadata<'_>, dialect: BinDialect) -> Self {
        let mut owned = Self::new();
        for entry in metadata {
            let Ok(key) = core::str::from_utf8(entry.key()) else {
                continue;
            };
            owned.remove(key);
            for value in entry.values() {
                let decoded = match dialect {
                    BinDialect::Latin1 if key.ends_with("-bin") => dialect.decode(value).collect(),
                    _ => Some(value.to_vec()),
                };
                owned.append(key, decoded.unwrap_or_else(|| value.to_vec()));
            }
            for value in entry.raw_values() {
                owned.append(key, value);
            }
        }
        owned
    }
}

/// Bytes of a value's record, besides key and value.
pub(super) const ENTRY: usize = size_of::<(String, Vec<u8>)>();

impl<K: AsRef<str>, V: AsRef<[u8]>> FromIterator<(K, V)> for OwnedMetadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut owned = Self::new();
        for (key, value) in pairs {
            owned.append(key.as_ref(), value);
        }
        owned
    }
}

/// Keys only: values may be secret.
impl fmt::Debug for OwnedMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(key, _)| key))
            .finish()
    }
}

/// The status of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedStatus {
    /// The gRPC status code, or any other number that the peer sent; 0 is OK.
    pub code: i32,
    /// The message for people.
    pub message: String,
    /// A serialized `google.rpc.Status` with details, as `grpc-status-details-bin` holds it; or
    /// nothing.
    pub details: Vec<u8>,
}

impl OwnedStatus {
    /// Success.
    pub const OK: Self = Self {
        code: 0,
        message: String::new(),
        details: Vec::new(),
    };

    /// A status without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code.as_i32(),
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// Whether the code is OK.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        self.code == 0
    }

    /// The code, [`Code::Unknown`] for a number that gRPC does not define.
    #[must_use]
    pub fn code(&self) -> Code {
        Code::from_i32(self.code).unwrap_or(Code::Unknown)
    }

    pub(super) fn of_reason(reason: impl Into<Reason>, side: Side) -> Self {
        let reason = reason.into();
        Self::new(reason.code(side), reason.text())
    }

    pub(super) fn of(status: Status<'_>) -> Self {
        let details = if status.has_details() {
            status.raw_parts().flatten().copied().collect()
        } else {
            Vec::new()
        };
        Self {
            code: status.code,
            message: String::from(status.message),
            details,
        }
    }

    pub(super) fn head(&self) -> StatusHead<'_> {
        StatusHead {
            code: self.code,
            message: &self.message,
            details: &self.details,
        }
    }

    pub(super) const fn memory(&self) -> usize {
        self.message
            .capacity()
            .saturating_add(self.details.capacity())
    }
}

impl fmt::Display for OwnedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Code::from_i32(self.code) {
            Some(code) => write!(f, "{code:?}: {}", self.message),
            None => write!(f, "code {}: {}", self.code, self.message),
        }
    }
}

impl core::error::Error for OwnedStatus {}
