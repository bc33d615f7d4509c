//! The prefixes of the frames that the core sends.
//!
//! A prefix is everything before the body: gRPC's length prefix, the stream id, and the tags and lengths
//! of the fields around the body.
//!
//! The bytes are those of any protobuf encoder, with fields in ascending order and without defaults.
//! The one exception is that the body comes last: what the core adds to a head precedes it, and
//! `compressed` precedes the data. Frames of both directions use the same field numbers, so one
//! function serves both. The length of a frame saturates at 32 bits.

use core::time::Duration;

use super::builder::Word;
use super::extension::ExtensionSet;
use super::settings::Revision;
use super::timeout::format_timeout;

pub use super::builder::Prefix;

/// `CloseStream.unprocessed`, field 100, set.
pub(super) const UNPROCESSED: &[u8] = &[0xa0, 0x06, 1];

/// Bytes of a varint.
pub(super) const fn varint_len(value: u64) -> u32 {
    // 7 bits a byte, at least one.
    (63 - (value | 1).leading_zeros()) / 7 + 1
}

/// Bytes of a varint field with a one-byte tag. Zero if it is omitted as the default.
const fn number_len(value: u64) -> u32 {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

/// Bytes of a length-delimited field with a one-byte tag.
const fn field_len(len: u32) -> u32 {
    len.saturating_add(1 + varint_len(len as u64))
}

/// `new_stream`, followed by the head that `encode_open` wrote. With a timeout, `request_headers` occurs
/// twice, which protobuf merges.
#[must_use]
pub fn new_stream(
    id: i64,
    head_len: u32,
    initial_window_size: u32,
    revision: Revision,
    timeout: Option<Duration>,
) -> Prefix {
    const KEY: &[u8] = b"grpc-timeout";
    const KEY_LEN: u32 = KEY.len() as u32;
    let timeout = timeout.map(format_timeout);
    let value_len = timeout.as_ref().map_or(0, |text| text.len() as u32);
    let values_len = field_len(value_len);
    let entry_len = field_len(KEY_LEN).saturating_add(field_len(values_len));
    let metadata_len = field_len(entry_len);
    let revision = revision as u64;
    let mut len = number_len(u64::from(initial_window_size))
        .saturating_add(number_len(revision))
        .saturating_add(head_len);
    if timeout.is_some() {
        len = len.saturating_add(field_len(metadata_len));
    }
    let mut prefix = Prefix::EMPTY;
    prefix.begin(id);
    prefix.length(2, len);
    prefix.number(3, u64::from(initial_window_size));
    prefix.number(4, revision);
    if let Some(text) = timeout {
        prefix.length(2, metadata_len);
        prefix.length(1, entry_len);
        prefix.length(1, KEY_LEN);
        prefix.put(KEY);
        prefix.length(2, values_len);
        prefix.length(1, value_len);
        prefix.put(text.as_bytes());
    }
    prefix.finish(head_len);
    prefix
}

/// `response_headers`, followed by the head that `encode_headers` wrote.
#[must_use]
pub fn headers(id: i64, head_len: u32) -> Prefix {
    head_frame(id, 2, head_len)
}

fn head_frame(id: i64, number: u32, len: u32) -> Prefix {
    let mut prefix = Prefix::EMPTY;
    prefix.begin(id);
    prefix.length(number, len);
    prefix.finish(len);
    prefix
}

/// `request_message` or `response_message` of `size` bytes, followed by the first `chunk` of them.
#[cfg(feature = "internals")]
#[must_use]
pub fn message(id: i64, size: u32, chunk: u32, compressed: bool) -> Prefix {
    let mut prefix = Prefix::EMPTY;
    put_message(&mut prefix, id, size, chunk, compressed);
    prefix
}

/// The same, written in place.
#[inline(always)]
pub(crate) fn put_message(prefix: &mut Prefix, id: i64, size: u32, chunk: u32, compressed: bool) {
    let data = match chunk {
        0 => Some(Word::EMPTY),
        chunk => Word::new(2, 2, chunk),
    };
    if let (Some(id), Some(size), Some(data), false) =
        (Word::stream_id(id), Word::number(1, size), data, compressed)
    {
        let len = u32::from(size.len).wrapping_add(u32::from(data.len));
        if let Some(member) = Word::new(3, 2, len.saturating_add(chunk)) {
            return prefix.fill([id, member, size, data], chunk);
        }
    }
    *prefix = long_message(id, size, chunk, compressed);
}

/// The rarer messages: compressed, or so large that the size takes five bytes, or with such an id.
#[cold]
#[inline(never)]
fn long_message(id: i64, size: u32, chunk: u32, compressed: bool) -> Prefix {
    let data = if chunk == 0 { 0 } else { field_len(chunk) };
    // The tag of field 100 has two bytes.
    let flag = if compressed { 3 } else { 0 };
    let len = number_len(u64::from(size)).saturating_add(data);
    let mut prefix = Prefix::EMPTY;
    prefix.begin(id);
    prefix.length(3, len.saturating_add(flag));
    prefix.number(1, u64::from(size));
    if compressed {
        prefix.number(100, 1);
    }
    if chunk > 0 {
        prefix.length(2, chunk);
    }
    prefix.finish(chunk);
    prefix
}

/// `more_request_data` or `more_response_data`, followed by `chunk` bytes.
#[cfg(feature = "internals")]
#[must_use]
pub fn more(id: i64, chunk: u32) -> Prefix {
    let mut prefix = Prefix::EMPTY;
    put_more(&mut prefix, id, chunk);
    prefix
}

/// The same, written in place.
#[inline(always)]
pub(crate) fn put_more(prefix: &mut Prefix, id: i64, chunk: u32) {
    match (Word::stream_id(id), Word::new(4, 2, chunk)) {
        (Some(id), Some(data)) => prefix.fill([id, data], chunk),
        _ => *prefix = long_more(id, chunk),
    }
}

/// The same, with an id that takes more than four bytes.
#[cold]
#[inline(never)]
fn long_more(id: i64, chunk: u32) -> Prefix {
    head_frame(id, 4, chunk)
}

/// `half_close`: the tunnel client has sent its last message.
#[must_use]
pub fn half_close(id: i64) -> Prefix {
    head_frame(id, 5, 0)
}

/// `cancel`: the tunnel client gives up the call.
#[must_use]
pub fn cancel(id: i64) -> Prefix {
    head_frame(id, 6, 0)
}

/// `window_update`: the peer may send `bytes` more. With id -1 and no bytes it is a heartbeat.
#[must_use]
pub fn window_update(id: i64, bytes: u32) -> Prefix {
    let mut prefix = Prefix::EMPTY;
    put_window_update(&mut prefix, id, bytes);
    prefix
}

/// The same, written in place.
#[inline(always)]
pub(crate) fn put_window_update(prefix: &mut Prefix, id: i64, bytes: u32) {
    match (Word::stream_id(id), Word::new(7, 0, bytes)) {
        (Some(id), Some(grant)) => prefix.fill([id, grant], 0),
        _ => *prefix = long_window_update(id, bytes),
    }
}

/// The same, with numbers that take more than four bytes.
#[cold]
#[inline(never)]
fn long_window_update(id: i64, bytes: u32) -> Prefix {
    let mut prefix = Prefix::EMPTY;
    prefix.begin(id);
    prefix.field(7, 0, u64::from(bytes));
    prefix.finish(0);
    prefix
}

/// `close_stream`, followed by the head that `encode_close` wrote.
#[must_use]
pub fn close(id: i64, head_len: u32) -> Prefix {
    head_frame(id, 5, head_len)
}

/// `close_stream` with a code, followed by the message of the status.
#[must_use]
pub fn close_reason(id: i64, code: i32, message_len: u32) -> Prefix {
    close_marked(id, code, message_len, false)
}

/// The same, marked `unprocessed`, of the extension `UNPROCESSED`.
#[must_use]
pub fn close_unprocessed(id: i64, code: i32, message_len: u32) -> Prefix {
    close_marked(id, code, message_len, true)
}

fn close_marked(id: i64, code: i32, message_len: u32, unprocessed: bool) -> Prefix {
    let code = i64::from(code).cast_unsigned();
    let message = if message_len == 0 {
        0
    } else {
        field_len(message_len)
    };
    let status = number_len(code).saturating_add(message);
    let mark = if unprocessed {
        UNPROCESSED.len() as u32
    } else {
        0
    };
    let mut prefix = Prefix::EMPTY;
    prefix.begin(id);
    prefix.length(5, field_len(status).saturating_add(mark));
    if unprocessed {
        prefix.put(UNPROCESSED);
    }
    prefix.length(2, status);
    prefix.number(1, code);
    if message_len > 0 {
        prefix.length(2, message_len);
    }
    prefix.finish(message_len);
    prefix
}

/// `settings`, with the id of the tunnel. It has the first eight of the revisions. `extensions` is the
/// offer, which is written even if it is empty.
#[must_use]
pub fn settings(
    initial_window_size: u32,
    revisions: &[Revision],
    extensions: Option<ExtensionSet>,
) -> Prefix {
    let revisions = revisions.get(..8).unwrap_or(revisions);
    let count = u32::try_from(revisions.len()).unwrap_or(0);
    let named = extensions.map_or(0, |set| u32::try_from(set.numbers().count()).unwrap_or(0));
    let mut len = number_len(u64::from(initial_window_size));
    if count > 0 {
        len = len.saturating_add(field_len(count));
    }
    if extensions.is_some() {
        // The tag of field 100 has two bytes.
        len = len.saturating_add(field_len(named)).saturating_add(1);
    }
    let mut prefix = Prefix::EMPTY;
    prefix.begin(-1);
    prefix.length(6, len);
    if count > 0 {
        prefix.length(1, count);
        for revision in revisions {
            prefix.varint(*revision as u64);
        }
    }
    prefix.number(2, u64::from(initial_window_size));
    if let Some(set) = extensions {
        prefix.length(100, named);
        for number in set.numbers() {
            prefix.varint(u64::from(number));
        }
    }
    prefix.finish(0);
    prefix
}

/// `extensions`, a tunnel client's answer to an offer, with the id of the tunnel.
#[must_use]
pub fn extensions(set: ExtensionSet) -> Prefix {
    let named = u32::try_from(set.numbers().count()).unwrap_or(0);
    let len = if named == 0 { 0 } else { field_len(named) };
    let mut prefix = Prefix::EMPTY;
    prefix.begin(-1);
    prefix.length(100, len);
    if named > 0 {
        prefix.length(1, named);
        for number in set.numbers() {
            prefix.varint(u64::from(number));
        }
    }
    prefix.finish(0);
    prefix
}

/// `drain`, with the id of the tunnel. `last_stream_id` is -1 if there was no stream.
#[must_use]
pub fn drain(last_stream_id: i64) -> Prefix {
    let last = last_stream_id.cast_unsigned();
    let mut prefix = Prefix::EMPTY;
    prefix.begin(-1);
    prefix.length(100, number_len(last));
    prefix.number(1, last);
    prefix.finish(0);
    prefix
}

/// `ping`, with the id of the tunnel.
#[must_use]
pub fn ping(opaque: u64) -> Prefix {
    opaque_frame(101, opaque)
}

/// `pong`, with the id of the tunnel, and the `opaque` of the ping.
#[must_use]
pub fn pong(opaque: u64) -> Prefix {
    opaque_frame(102, opaque)
}

fn opaque_frame(number: u32, opaque: u64) -> Prefix {
    let mut prefix = Prefix::EMPTY;
    prefix.begin(-1);
    prefix.length(number, if opaque == 0 { 0 } else { 9 });
    if opaque != 0 {
        prefix.tag(1, 1);
        prefix.put(&opaque.to_le_bytes());
    }
    prefix.finish(0);
    prefix
}
