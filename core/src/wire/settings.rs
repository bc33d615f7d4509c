//! The `Settings` message.

use super::extension::ExtensionSet;
use super::field::{DecodeError, Fields, Value, low_u32};

/// A protocol revision that this implementation supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Revision {
    /// `REVISION_ZERO`: no flow control.
    Zero = 0,
    /// `REVISION_ONE`: a receive window for each stream and direction.
    One = 1,
}

/// Number of revisions kept for [`Settings::revisions`].
const KEPT: usize = 8;

/// The first message of a tunnel server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `initial_window_size`: bytes that a client may send on a new stream before any grant.
    pub initial_window_size: u32,
    /// `extensions`: those that the server offers. `None` if the field is absent.
    pub extensions: Option<ExtensionSet>,
    revisions: [i32; KEPT],
    len: usize,
    zero: bool,
    one: bool,
}

impl Settings {
    /// Whether the server supports a revision. A server that lists none supports revision zero.
    #[must_use]
    pub const fn supports(&self, revision: Revision) -> bool {
        match revision {
            Revision::Zero => self.zero || self.len == 0,
            Revision::One => self.one,
        }
    }

    /// The first eight of `supported_protocol_revisions`, unchanged.
    #[must_use]
    pub fn revisions(&self) -> &[i32] {
        self.revisions.get(..self.len).unwrap_or_default()
    }

    fn add(&mut self, revision: u64) {
        let revision = low_u32(revision).cast_signed();
        self.zero |= revision == 0;
        self.one |= revision == 1;
        if let Some(kept) = self.revisions.get_mut(self.len) {
            *kept = revision;
            self.len = self.len.saturating_add(1);
        }
    }

    pub(super) fn merge(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Varint(revision)) => self.add(revision),
                (1, Value::Bytes(packed)) => {
                    let mut packed = Fields::new(packed);
                    while !packed.rest().is_empty() {
                        self.add(packed.varint()?);
                    }
                }
                (2, Value::Varint(window)) => self.initial_window_size = low_u32(window),
                (100, Value::Varint(_) | Value::Bytes(_)) => {
                    self.extensions.get_or_insert_default().add_field(value)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
