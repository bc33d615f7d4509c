//! A parser for gRPC's length-prefixed messages that buffers no payload.

use core::fmt;

use crate::length::{in_memory, on_wire};

/// Bytes of the length prefix: a flag byte, and the length as four bytes.
pub const PREFIX_LEN: usize = 5;

/// The length prefix of a message of `len` bytes.
#[must_use]
pub const fn length_prefix(flags: u8, len: u32) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [flags, a, b, c, d]
}

/// A message exceeds the size limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLarge {
    /// Length of the message, from its prefix.
    pub len: u32,
    /// The limit.
    pub max: u32,
}

impl fmt::Display for FrameTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { len, max } = self;
        write!(f, "a message of {len} bytes exceeds the limit of {max}")
    }
}

impl core::error::Error for FrameTooLarge {}

/// A part of a length-prefixed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a piece of a frame is not handed out again"]
pub enum Piece<'a> {
    /// A message begins. Its prefix is complete.
    Begin {
        /// The flag byte. gRPC uses 1 for a compressed message.
        flags: u8,
        /// Length of the message.
        len: u32,
    },
    /// Bytes of the message.
    Data {
        /// The bytes, borrowed from the input.
        bytes: &'a [u8],
        /// Whether they complete the message.
        ends: bool,
    },
}

/// Parses length-prefixed messages, however the input is split.
///
/// ```
/// use grpctunnel_core::wire::{Deframer, Piece};
///
/// let mut deframer = Deframer::new(1024);
/// let mut input: &[u8] = &[0, 0, 0, 0, 2, b'h', b'i'];
/// let mut pieces = 0;
/// while let (consumed, Some(piece)) = deframer.next(input)? {
///     input = &input[consumed..];
///     pieces += 1;
///     if let Piece::Data { bytes, ends } = piece {
///         assert_eq!((bytes, ends), (&b"hi"[..], true));
///     }
/// }
/// assert_eq!(pieces, 2);
/// # Ok::<(), grpctunnel_core::wire::FrameTooLarge>(())
/// ```
#[derive(Clone, Debug)]
pub struct Deframer {
    max: u32,
    /// What has come of a prefix that is split. It stays full once a message was refused, so that the
    /// usual way has one thing to look at.
    prefix: heapless::Vec<u8, PREFIX_LEN>,
    /// Bytes of the message that are missing. `None` before its prefix is complete.
    need: Option<u32>,
    refused: Option<FrameTooLarge>,
}

impl Deframer {
    /// A deframer for messages of at most `max_message` bytes.
    #[must_use]
    pub const fn new(max_message: u32) -> Self {
        Self {
            max: max_message,
            prefix: heapless::Vec::new(),
            need: None,
            refused: None,
        }
    }

    /// Parses the next piece of `input`, and returns how many bytes of it were consumed. Without a
    /// piece, all bytes were consumed and more input is needed. An empty message is a `Begin` and an
    /// empty `Data`.
    ///
    /// # Errors
    /// A message is longer than the limit. Nothing behind it can be found, so the same error is
    /// returned from then on.
    #[inline]
    pub fn next<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<Piece<'a>>), FrameTooLarge> {
        if let Some(need) = self.need {
            let wanted = in_memory(need).min(input.len());
            if wanted == 0 && need > 0 {
                return Ok((0, None));
            }
            let bytes = input.get(..wanted).unwrap_or_default();
            let left = need.saturating_sub(on_wire(wanted));
            self.need = (left > 0).then_some(left);
            let ends = left == 0;
            return Ok((wanted, Some(Piece::Data { bytes, ends })));
        }
        if !self.prefix.is_empty() {
            return self.gather(input);
        }
        // The usual case: the whole prefix is in the input.
        if let Some((prefix, _)) = input.split_first_chunk::<PREFIX_LEN>() {
            return Ok((PREFIX_LEN, Some(self.begin(*prefix)?)));
        }
        // Nearly always there is nothing more.
        if input.is_empty() {
            return Ok((0, None));
        }
        self.gather(input)
    }

    /// Collects a prefix that is split, or tells again what was refused.
    #[inline(never)]
    fn gather<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Piece<'a>>), FrameTooLarge> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let mut consumed = 0_usize;
        for byte in input {
            if self.prefix.push(*byte).is_err() {
                break;
            }
            consumed = consumed.saturating_add(1);
            if self.prefix.is_full() {
                break;
            }
        }
        let Some(prefix) = self.prefix.first_chunk::<PREFIX_LEN>().copied() else {
            return Ok((consumed, None));
        };
        self.prefix.clear();
        Ok((consumed, Some(self.begin(prefix)?)))
    }

    #[inline]
    fn begin<'a>(&mut self, prefix: [u8; PREFIX_LEN]) -> Result<Piece<'a>, FrameTooLarge> {
        let [flags, a, b, c, d] = prefix;
        let len = u32::from_be_bytes([a, b, c, d]);
        if len > self.max {
            return Err(self.refuse(len, self.max));
        }
        self.need = Some(len);
        Ok(Piece::Begin { flags, len })
    }

    /// Takes no further input, because of a message of `len` bytes.
    #[cold]
    pub(super) fn refuse(&mut self, len: u32, max: u32) -> FrameTooLarge {
        self.need = None;
        // Its bytes mean nothing: `refused` is looked at first.
        self.prefix = heapless::Vec::from_array([0; PREFIX_LEN]);
        *self.refused.insert(FrameTooLarge { len, max })
    }

    /// Whether the input so far ends between two messages: no part of one is missing.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.need.is_none() && self.prefix.is_empty() && self.refused.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn deframe(chunks: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
        let mut deframer = Deframer::new(100);
        let mut messages = Vec::new();
        let mut current = Vec::new();
        let mut current_flags = 0;
        for chunk in chunks {
            let mut rest = *chunk;
            loop {
                let (consumed, piece) = deframer.next(rest).unwrap();
                rest = &rest[consumed..];
                match piece {
                    None => break,
                    Some(Piece::Begin { flags, .. }) => current_flags = flags,
                    Some(Piece::Data { bytes, ends }) => {
                        current.extend_from_slice(bytes);
                        if ends {
                            messages.push((current_flags, core::mem::take(&mut current)));
                        }
                    }
                }
            }
            assert!(rest.is_empty());
        }
        assert!(deframer.is_between_messages());
        messages
    }

    #[test]
    fn every_split_gives_the_same_messages() {
        let mut input = Vec::new();
        let expected = [(0, &b"hello"[..]), (1, b""), (2, b"x"), (0, b"")];
        for (flags, message) in expected {
            input.extend_from_slice(&length_prefix(flags, message.len() as u32));
            input.extend_from_slice(message);
        }
        let expected: Vec<_> = expected
            .map(|(flags, bytes)| (flags, bytes.to_vec()))
            .into();
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let chunks = [&input[..first], &input[first..second], &input[second..]];
                assert_eq!(deframe(&chunks), expected);
            }
        }
        let single: Vec<_> = input.chunks(1).collect();
        assert_eq!(deframe(&single), expected);
    }

    #[test]
    fn the_limit_is_checked_before_any_byte_of_the_message() {
        let mut deframer = Deframer::new(4);
        let refused = deframer.next(&[0, 0, 0, 0, 5]);
        assert_eq!(refused, Err(FrameTooLarge { len: 5, max: 4 }));
        for input in [&[][..], &[0, 0, 0, 0, 1, 7], &[0]] {
            assert_eq!(deframer.next(input), refused, "it cannot be used again");
        }
        assert!(!deframer.is_between_messages());
        let mut deframer = Deframer::new(4);
        assert!(deframer.next(&[0, 0, 0, 0, 4]).is_ok());
        assert!(!deframer.is_between_messages());
    }
}
