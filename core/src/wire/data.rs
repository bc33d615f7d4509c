//! A fast path for the frames that carry data or credit.
//!
//! Nearly every frame of a tunnel is one of these. If its fields are in the order in which encoders
//! write them, it is decoded here, without the state needed to merge or skip fields. All others,
//! well-formed or not, are left to the general decoder, which would give the same result for these.
//!
//! The functions are `inline(always)`: otherwise the compiler keeps them separate, and passing the
//! results around costs more than reading the few bytes.

use super::field::{Fields, low_u32};
use super::frame::MessageData;

/// A frame that carries data or credit.
pub(crate) enum Data<'f> {
    Message(MessageData<'f>),
    More(&'f [u8]),
    WindowUpdate(u32),
}

impl<'f> Data<'f> {
    /// The bytes of a message in this frame.
    #[inline]
    pub(crate) const fn payload(&self) -> &'f [u8] {
        match self {
            Self::Message(message) => message.data,
            Self::More(data) => data,
            Self::WindowUpdate(_) => &[],
        }
    }
}

/// Reads `[stream_id] member`, with each field at most once and in ascending order. `None` if the
/// frame is anything else.
#[inline(always)]
pub(crate) fn read<'f>(frame: &'f [u8]) -> Option<(i64, Data<'f>)> {
    let (stream_id, member) = optional_number(frame)?;
    let data = match member.split_first()? {
        (0x1a, rest) => Data::Message(message(to_the_end(rest)?)?),
        (0x22, rest) => Data::More(to_the_end(rest)?),
        (0x38, rest) => match number(rest)? {
            (bytes, []) => Data::WindowUpdate(low_u32(bytes)),
            _ => return None,
        },
        _ => return None,
    };
    Some((stream_id.cast_signed(), data))
}

/// Reads `[size] [compressed] [data]`, the order in which [`Prefix`](super::Prefix) has them.
#[inline(always)]
fn message<'f>(message: &'f [u8]) -> Option<MessageData<'f>> {
    let (size, rest) = optional_number(message)?;
    // Field 100 as a varint: its tag takes two bytes.
    let (compressed, rest) = match rest {
        [0xa0, 0x06, flag @ (0 | 1), rest @ ..] => (*flag == 1, rest),
        _ => (false, rest),
    };
    let data = match rest.split_first() {
        None => rest,
        Some((0x12, rest)) => to_the_end(rest)?,
        Some(_) => return None,
    };
    Some(MessageData {
        size: low_u32(size),
        data,
        compressed,
    })
}

/// Field 1 as a varint, or 0 if the next field is another one.
#[inline(always)]
fn optional_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes.split_first() {
        Some((0x08, rest)) => number(rest),
        _ => Some((0, bytes)),
    }
}

/// A varint, and the bytes after it.
#[inline(always)]
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let low = |byte: &u8| u64::from(byte & 0x7f);
    Some(match bytes {
        [a, rest @ ..] if *a < 0x80 => (low(a), rest),
        [a, b, rest @ ..] if *b < 0x80 => (low(a) | low(b) << 7, rest),
        [a, b, c, rest @ ..] if *c < 0x80 => (low(a) | low(b) << 7 | low(c) << 14, rest),
        _ => {
            let mut fields = Fields::new(bytes);
            (fields.varint().ok()?, fields.rest())
        }
    })
}

/// The content of a length-delimited field that extends to the end.
#[inline(always)]
fn to_the_end(bytes: &[u8]) -> Option<&[u8]> {
    let (len, content) = number(bytes)?;
    (content.len() as u64 == len).then_some(content)
}
