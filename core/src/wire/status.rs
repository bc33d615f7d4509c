//! The decoder for `google.rpc.Status`.

use super::content::{ContentFault, DecodeLimits};
use super::field::{DecodeError, Fields, Value, low_u32};
use super::metadata::next_bytes;

/// `close_stream.status`, borrowed from its frame.
#[derive(Clone, Copy, Debug)]
pub struct Status<'f> {
    /// `code`, any number; 0 where the status is missing.
    pub code: i32,
    /// `message`; empty where it is not UTF-8.
    pub message: &'f str,
    frame: &'f [u8],
    details: bool,
}

impl<'f> Status<'f> {
    /// Whether it has `details`.
    #[must_use]
    pub const fn has_details(&self) -> bool {
        self.details
    }

    /// The bytes of the `google.rpc.Status` as they are in the frame: in several parts if it
    /// was split; put together they are the message, byte for byte.
    #[must_use]
    pub const fn raw_parts(&self) -> StatusParts<'f> {
        StatusParts {
            frame: Fields::new(self.frame),
            close: Fields::new(&[]),
        }
    }

    /// The serialized `google.protobuf.Any` messages in `details`.
    pub fn details(&self) -> impl Iterator<Item = &'f [u8]> + Clone {
        self.raw_parts().flat_map(any_messages)
    }
}

/// The `details` of a serialized `google.rpc.Status`.
pub(super) fn any_messages(status: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut fields = Fields::new(status);
    core::iter::from_fn(move || next_bytes(&mut fields, 3))
}

/// Iterates the places of a frame that hold the status.
#[derive(Clone, Debug)]
pub struct StatusParts<'f> {
    frame: Fields<'f>,
    close: Fields<'f>,
}

impl<'f> Iterator for StatusParts<'f> {
    type Item = &'f [u8];

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(status) = next_bytes(&mut self.close, 2) {
                return Some(status);
            }
            self.close = Fields::new(next_bytes(&mut self.frame, 5)?);
        }
    }
}

/// What is known of a status while it is merged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts<'f> {
    pub(super) code: i32,
    pub(super) message: &'f [u8],
    len: u64,
    has_details: bool,
    not_utf8: bool,
}

impl<'f> Parts<'f> {
    pub(super) fn merge(&mut self, status: &'f [u8]) -> Result<(), DecodeError> {
        self.len = self.len.saturating_add(status.len() as u64);
        let mut fields = Fields::new(status);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Varint(code)) => self.code = low_u32(code).cast_signed(),
                (2, Value::Bytes(message)) => {
                    self.not_utf8 |= core::str::from_utf8(message).is_err();
                    self.message = message;
                }
                (3, Value::Bytes(any)) => {
                    self.has_details = true;
                    self.check_any(any)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_any(&mut self, any: &[u8]) -> Result<(), DecodeError> {
        let mut fields = Fields::new(any);
        while let Some((number, value)) = fields.next()? {
            if let (1, Value::Bytes(url)) = (number, value) {
                self.not_utf8 |= core::str::from_utf8(url).is_err();
            }
        }
        Ok(())
    }

    /// Whether all of its strings are.
    pub(super) const fn is_utf8(&self) -> bool {
        !self.not_utf8
    }

    pub(super) fn fault(&self, limits: &DecodeLimits) -> Option<ContentFault> {
        if self.not_utf8 {
            Some(ContentFault::NotUtf8)
        } else if self.len > u64::from(limits.status) {
            Some(ContentFault::StatusTooLarge)
        } else {
            None
        }
    }

    pub(super) fn finish(&self, frame: &'f [u8]) -> Status<'f> {
        Status {
            code: self.code,
            message: core::str::from_utf8(self.message).unwrap_or_default(),
            frame,
            details: self.has_details,
        }
    }
}
