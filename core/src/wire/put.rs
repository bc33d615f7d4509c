//! A writer of protobuf fields into a [`Sink`].

use super::prefix::varint_len;
use super::sink::{Sink, SinkFull};

/// Bytes of a length-delimited field whose tag is one byte.
pub(super) const fn field_len(len: usize) -> usize {
    len.saturating_add(varint_len(len as u64) as usize)
        .saturating_add(1)
}

pub(crate) fn put_varint(out: &mut impl Sink, mut value: u64) -> Result<(), SinkFull> {
    while value >= 0x80 {
        out.put(&[(value & 0x7f) as u8 | 0x80])?;
        value >>= 7;
    }
    out.put(&[(value & 0x7f) as u8])
}

/// The tag of a length-delimited field, and its length.
pub(super) fn put_length(out: &mut impl Sink, number: u32, len: usize) -> Result<(), SinkFull> {
    put_varint(out, u64::from(number << 3 | 2))?;
    put_varint(out, len as u64)
}

pub(super) fn put_field(out: &mut impl Sink, number: u32, bytes: &[u8]) -> Result<(), SinkFull> {
    put_length(out, number, bytes.len())?;
    out.put(bytes)
}
