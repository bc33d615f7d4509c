//! The first bytes of every frame that the core sends: gRPC's length prefix, the stream id, and
//! the tags and lengths up to where a body begins.
//!
//! The bytes are those that any protobuf encoder writes (fields in rising order, defaults left
//! out), with one exception: what the core adds to a head stands before it, and `compressed`
//! before the data, because the body comes last. Frames of both directions share the numbers of
//! these fields, so one function serves both. A frame whose length would not fit in 32 bits
//! cannot be written; its length is then the largest there is.

use core::time::Duration;

use super::deframer::{PREFIX_LEN, length_prefix};
use super::extension::ExtensionSet;
use super::settings::Revision;
use super::timeout::format_timeout;

/// Everything of a frame before its body. The longest one, a `new_stream` with a deadline, takes
/// about 70 bytes.
pub type Prefix = heapless::Vec<u8, 96>;

/// Bytes of a varint.
pub(super) const fn varint_len(value: u64) -> u32 {
    // 7 bits a byte, at least one.
    (63 - (value | 1).leading_zeros()) / 7 + 1
}

/// Builds one prefix. `Prefix` has room for everything that is pushed here, so a push that
/// failed would be a defect of this file: the tests build the longest of each kind.
struct Builder(Prefix);

impl Builder {
    fn new(id: i64) -> Self {
        let mut builder = Self(Prefix::new());
        builder.bytes(&[0; PREFIX_LEN]);
        builder.number(1, id.cast_unsigned());
        builder
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let fits = self.0.extend_from_slice(bytes);
        debug_assert!(fits.is_ok());
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes(&[(value & 0x7f) as u8 | 0x80]);
            value >>= 7;
        }
        self.bytes(&[(value & 0x7f) as u8]);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    /// A number, left out where it is the default.
    fn number(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.tag(number, 0);
            self.varint(value);
        }
    }

    fn length(&mut self, number: u32, len: u32) {
        self.tag(number, 2);
        self.varint(u64::from(len));
    }

    fn finish(mut self, body_len: u32) -> Prefix {
        let own = self.0.len().saturating_sub(PREFIX_LEN);
        let len = u32::try_from(own)
            .unwrap_or(u32::MAX)
            .saturating_add(body_len);
        if let Some(prefix) = self.0.first_chunk_mut::<PREFIX_LEN>() {
            *prefix = length_prefix(0, len);
        }
        self.0
    }
}

/// Bytes of a number field whose tag is one byte; none where it is the default.
const fn number_len(value: u64) -> u32 {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

/// Bytes of a length-delimited field whose tag is one byte.
const fn field_len(len: u32) -> u32 {
    len.saturating_add(1 + varint_len(len as u64))
}

/// `new_stream`; the head, behind it, is what `encode_open` wrote. The `request_headers` are then
/// in two places, which protobuf merges.
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
    let mut builder = Builder::new(id);
    builder.length(2, len);
    builder.number(3, u64::from(initial_window_size));
    builder.number(4, revision);
    if let Some(text) = timeout {
        builder.length(2, metadata_len);
        builder.length(1, entry_len);
        builder.length(1, KEY_LEN);
        builder.bytes(KEY);
        builder.length(2, values_len);
        builder.length(1, value_len);
        builder.bytes(text.as_bytes());
    }
    builder.finish(head_len)
}

/// `response_headers`; the head, behind it, is what `encode_headers` wrote.
#[must_use]
pub fn headers(id: i64, head_len: u32) -> Prefix {
    with_body(id, 2, head_len)
}

fn with_body(id: i64, number: u32, len: u32) -> Prefix {
    let mut builder = Builder::new(id);
    builder.length(number, len);
    builder.finish(len)
}

/// `request_message` or `response_message`, with the first `chunk` bytes of `size` behind it.
#[must_use]
pub fn message(id: i64, size: u32, chunk: u32, compressed: bool) -> Prefix {
    let data = if chunk == 0 { 0 } else { field_len(chunk) };
    // The tag of field 100 takes two bytes.
    let flag = if compressed { 3 } else { 0 };
    let len = number_len(u64::from(size)).saturating_add(data);
    let mut builder = Builder::new(id);
    builder.length(3, len.saturating_add(flag));
    builder.number(1, u64::from(size));
    if compressed {
        builder.number(100, 1);
    }
    if chunk > 0 {
        builder.length(2, chunk);
    }
    builder.finish(chunk)
}

/// `more_request_data` or `more_response_data`, with `chunk` bytes behind it.
#[must_use]
pub fn more(id: i64, chunk: u32) -> Prefix {
    with_body(id, 4, chunk)
}

/// `half_close`: the tunnel client has sent its last message.
#[must_use]
pub fn half_close(id: i64) -> Prefix {
    with_body(id, 5, 0)
}

/// `cancel`: the tunnel client wants no more of the call.
#[must_use]
pub fn cancel(id: i64) -> Prefix {
    with_body(id, 6, 0)
}

/// `window_update`: so many more bytes may be sent; 0 of id -1 is the heartbeat.
#[must_use]
pub fn window_update(id: i64, bytes: u32) -> Prefix {
    let mut builder = Builder::new(id);
    builder.tag(7, 0);
    builder.varint(u64::from(bytes));
    builder.finish(0)
}

/// `close_stream`; the head, behind it, is what `encode_close` wrote.
#[must_use]
pub fn close(id: i64, head_len: u32) -> Prefix {
    with_body(id, 5, head_len)
}

/// `close_stream` with a code and a message, which is behind it.
#[must_use]
pub fn close_reason(id: i64, code: i32, message_len: u32) -> Prefix {
    let code = i64::from(code).cast_unsigned();
    let message = if message_len == 0 {
        0
    } else {
        field_len(message_len)
    };
    let status = number_len(code).saturating_add(message);
    let mut builder = Builder::new(id);
    builder.length(5, field_len(status));
    builder.length(2, status);
    builder.number(1, code);
    if message_len > 0 {
        builder.length(2, message_len);
    }
    builder.finish(message_len)
}

/// `settings`, on the tunnel's own id; `extensions` is the offer, which is written even if it
/// names none. Of the revisions the first eight are written.
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
        // The tag of field 100 takes two bytes.
        len = len.saturating_add(field_len(named)).saturating_add(1);
    }
    let mut builder = Builder::new(-1);
    builder.length(6, len);
    if count > 0 {
        builder.length(1, count);
        for revision in revisions {
            builder.varint(*revision as u64);
        }
    }
    builder.number(2, u64::from(initial_window_size));
    if let Some(set) = extensions {
        builder.length(100, named);
        for number in set.numbers() {
            builder.varint(u64::from(number));
        }
    }
    builder.finish(0)
}

/// `extensions`, a tunnel client's answer to an offer, on the tunnel's own id.
#[must_use]
pub fn extensions(set: ExtensionSet) -> Prefix {
    let named = u32::try_from(set.numbers().count()).unwrap_or(0);
    let len = if named == 0 { 0 } else { field_len(named) };
    let mut builder = Builder::new(-1);
    builder.length(100, len);
    if named > 0 {
        builder.length(1, named);
        for number in set.numbers() {
            builder.varint(u64::from(number));
        }
    }
    builder.finish(0)
}

/// `drain`, on the tunnel's own id; -1 where there was no stream.
#[must_use]
pub fn drain(last_stream_id: i64) -> Prefix {
    let last = last_stream_id.cast_unsigned();
    let mut builder = Builder::new(-1);
    builder.length(100, number_len(last));
    builder.number(1, last);
    builder.finish(0)
}

/// `ping`, on the tunnel's own id.
#[must_use]
pub fn ping(opaque: u64) -> Prefix {
    opaque_frame(101, opaque)
}

/// `pong`, on the tunnel's own id, with the `opaque` of the ping.
#[must_use]
pub fn pong(opaque: u64) -> Prefix {
    opaque_frame(102, opaque)
}

fn opaque_frame(number: u32, opaque: u64) -> Prefix {
    let mut builder = Builder::new(-1);
    builder.length(number, if opaque == 0 { 0 } else { 9 });
    if opaque != 0 {
        builder.tag(1, 1);
        builder.bytes(&opaque.to_le_bytes());
    }
    builder.finish(0)
}
