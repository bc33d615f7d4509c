//! A builder for prefixes, field by field.

use core::fmt;
use core::ops::Deref;

use super::deframer::{PREFIX_LEN, length_prefix};

/// All bytes of a frame before its body. The longest, that of a `new_stream` with a deadline, has
/// 61 bytes.
#[derive(Clone, Copy)]
pub struct Prefix {
    len: u8,
    bytes: [u8; ROOM],
}

/// Capacity of a prefix.
const ROOM: usize = 63;

impl Deref for Prefix {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.len))
            .unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Up to eight bytes in a word, in little-endian order.
#[derive(Clone, Copy)]
pub(super) struct Word {
    bytes: u64,
    pub(super) len: u8,
}

impl Word {
    pub(super) const EMPTY: Self = Self { bytes: 0, len: 0 };

    /// A varint field with a one-byte tag, omitted if it is zero. `None`: it has more bytes.
    #[inline(always)]
    pub(super) const fn number(number: u32, value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::EMPTY),
            value => Self::new(number, 0, value),
        }
    }

    /// Field 1 of a frame.
    #[inline(always)]
    pub(super) const fn stream_id(id: i64) -> Option<Self> {
        if id >= 0 && id < 1 << 28 {
            Self::number(1, id as u32)
        } else {
            None
        }
    }

    /// A one-byte tag with a varint of at most four bytes.
    #[inline(always)]
    pub(super) const fn new(number: u32, wire_type: u32, value: u32) -> Option<Self> {
        let value = value as u64;
        let a = value & 0x7f;
        let b = (value << 1) & 0x7f00;
        let c = (value << 2) & 0x7f_0000;
        let d = (value << 3) & 0x7f00_0000;
        let (varint, len) = match value {
            0..0x80 => (a, 2),
            0x80..0x4000 => (a | b | 0x80, 3),
            0x4000..0x20_0000 => (a | b | c | 0x8080, 4),
            0x20_0000..0x1000_0000 => (a | b | c | d | 0x80_8080, 5),
            _ => return None,
        };
        let tag = (number << 3 | wire_type) as u64;
        let bytes = varint << 8 | tag;
        if tag < 0x80 {
            Some(Self { bytes, len })
        } else {
            None
        }
    }
}

/// A prefix has room for everything that this module writes; tests build the longest of each kind.
///
/// It is built in place where it is returned, because moving it costs more than writing a field.
impl Prefix {
    pub(crate) const EMPTY: Self = Self {
        len: 0,
        bytes: [0; ROOM],
    };

    /// Bytes of the frame with a body of that length, length prefix included.
    #[inline]
    pub(crate) fn frame_len(&self, body: u32) -> u32 {
        body.saturating_add(u32::from(self.len))
    }

    /// Sets the first byte of gRPC's length prefix.
    pub(crate) const fn set_flags(&mut self, flags: u8) {
        let [first, ..] = &mut self.bytes;
        *first = flags;
    }

    /// Starts a frame: leaves room for the length prefix, then writes the stream id.
    #[inline]
    pub(super) fn begin(&mut self, id: i64) {
        self.len = PREFIX_LEN as u8;
        self.number(1, id.cast_unsigned());
    }

    /// Writes all eight bytes of a word, which is cheaper than writing only those in use.
    #[inline]
    pub(super) fn word(&mut self, word: Word) {
        let room = self.bytes.get_mut(usize::from(self.len)..);
        let room = room.and_then(<[u8]>::first_chunk_mut::<8>);
        debug_assert!(room.is_some());
        if let Some(room) = room {
            *room = word.bytes.to_le_bytes();
            self.len = self.len.saturating_add(word.len);
        }
    }

    /// Writes a whole frame whose fields are words, ahead of a body of that length. The position
    /// stays in a register, so that a word costs no more than its store.
    #[inline(always)]
    pub(super) fn fill<const N: usize>(&mut self, words: [Word; N], body_len: u32) {
        let mut at = PREFIX_LEN;
        for word in words {
            let room = self.bytes.get_mut(at..);
            let room = room.and_then(<[u8]>::first_chunk_mut::<8>);
            debug_assert!(room.is_some());
            if let Some(room) = room {
                *room = word.bytes.to_le_bytes();
            }
            // At most six words of five bytes.
            at = at.wrapping_add(usize::from(word.len));
        }
        let own = at.wrapping_sub(PREFIX_LEN) as u32;
        if let Some(prefix) = self.bytes.first_chunk_mut::<PREFIX_LEN>() {
            *prefix = length_prefix(0, own.wrapping_add(body_len));
        }
        self.len = at as u8;
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(usize::from(self.len)..);
        let room = room.and_then(|room| room.get_mut(..bytes.len()));
        debug_assert!(room.is_some());
        if let Some(room) = room {
            room.copy_from_slice(bytes);
            self.len = self.len.saturating_add(bytes.len() as u8);
        }
    }

    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[(value & 0x7f) as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[(value & 0x7f) as u8]);
    }

    pub(super) fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    #[inline]
    pub(super) fn field(&mut self, number: u32, wire_type: u32, value: u64) {
        let word = u32::try_from(value).ok();
        match word.and_then(|value| Word::new(number, wire_type, value)) {
            Some(word) => self.word(word),
            None => self.long_field(number, wire_type, value),
        }
    }

    #[inline(never)]
    fn long_field(&mut self, number: u32, wire_type: u32, value: u64) {
        self.tag(number, wire_type);
        self.varint(value);
    }

    /// A varint field, omitted if it is zero.
    #[inline]
    pub(super) fn number(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.field(number, 0, value);
        }
    }

    #[inline]
    pub(super) fn length(&mut self, number: u32, len: u32) {
        self.field(number, 2, u64::from(len));
    }

    #[inline]
    pub(super) fn finish(&mut self, body_len: u32) {
        let own = u32::from(self.len).saturating_sub(PREFIX_LEN as u32);
        if let Some(prefix) = self.bytes.first_chunk_mut::<PREFIX_LEN>() {
            *prefix = length_prefix(0, own.saturating_add(body_len));
        }
    }
}
