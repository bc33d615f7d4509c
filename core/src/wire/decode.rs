//! The decoders for the two frame types.
//!
//! Unknown fields are skipped; so is a known field with a wire type that is not its own. Of
//! several members of a frame's oneof the last one counts, and the same member twice in a row
//! is merged. Strings that are not UTF-8 and limits that are exceeded are faults of the content:
//! the frame still decodes, because its stream must be known.

use super::content::{ContentFault, DecodeLimits};
use super::data::{self, Data};
use super::extension::ExtensionSet;
use super::field::{DecodeError, Fields, Value, low_u32};
use super::frame::{
    ClientFrame, ClientKind, CloseStream, Headers, MessageData, NewStream, ServerFrame, ServerKind,
};
use super::metadata::{Metadata, Place, Scan};
use super::settings::Settings;
use super::status::Parts;
use crate::length::exceeds;

/// The last run of one oneof member: where it begins in the frame, and which one it is.
struct Run<'f> {
    member: u32,
    from: &'f [u8],
}

impl<'f> Run<'f> {
    /// Notes a member. True if it is another one than before.
    fn begins(&mut self, member: u32, from: &'f [u8]) -> bool {
        let new = self.member != member;
        if new {
            self.member = member;
            self.from = from;
        }
        new
    }
}

/// What both frame types hold in common while it is decoded.
struct Common<'f> {
    stream_id: i64,
    run: Run<'f>,
    message: MessageData<'f>,
    more: &'f [u8],
    number: u64,
}

impl<'f> Common<'f> {
    const fn new() -> Self {
        Self {
            stream_id: 0,
            run: Run {
                member: 0,
                from: &[],
            },
            message: MessageData {
                size: 0,
                data: &[],
                compressed: false,
            },
            more: &[],
            number: 0,
        }
    }

    /// A field that means the same in both frame types; false if it is none.
    #[inline]
    fn read(&mut self, number: u32, value: Value<'f>, at: &'f [u8]) -> Result<bool, DecodeError> {
        match (number, value) {
            (1, Value::Varint(id)) => self.stream_id = id.cast_signed(),
            (3, Value::Bytes(bytes)) => {
                if self.run.begins(3, at) {
                    self.message = MessageData::default();
                }
                merge_message(&mut self.message, bytes)?;
            }
            (4, Value::Bytes(bytes)) => {
                self.run.begins(4, at);
                self.more = bytes;
            }
            (7, Value::Varint(bytes)) => {
                self.run.begins(7, at);
                self.number = bytes;
            }
            (101 | 102, Value::Bytes(bytes)) => {
                if self.run.begins(number, at) {
                    self.number = 0;
                }
                self.merge_number(bytes)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A message whose only field is a number, 1.
    fn merge_number(&mut self, message: &'f [u8]) -> Result<(), DecodeError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match (number, value, self.run.member) {
                (1, Value::Fixed64(opaque), 101 | 102) => self.number = opaque,
                (1, Value::Varint(id), 100) => self.number = id,
                _ => {}
            }
        }
        Ok(())
    }
}

#[inline]
fn merge_message<'f>(message: &mut MessageData<'f>, bytes: &'f [u8]) -> Result<(), DecodeError> {
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Varint(size)) => message.size = low_u32(size),
            (2, Value::Bytes(data)) => message.data = data,
            (100, Value::Varint(flag)) => message.compressed = flag != 0,
            _ => {}
        }
    }
    Ok(())
}

/// What is known of a `NewStream` while it is merged.
#[derive(Clone, Copy, Default)]
struct NewStreamParts<'f> {
    method: &'f [u8],
    window: u32,
    revision: i32,
    scan: Scan,
}

impl<'f> NewStreamParts<'f> {
    fn merge(&mut self, bytes: &'f [u8], limits: &DecodeLimits) -> Result<(), DecodeError> {
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(method)) => {
                    self.method = method;
                    if core::str::from_utf8(method).is_err() {
                        self.scan.fault.get_or_insert(ContentFault::NotUtf8);
                    }
                }
                (2, Value::Bytes(metadata)) => self.scan.read(metadata, limits)?,
                (3, Value::Varint(window)) => self.window = low_u32(window),
                (4, Value::Varint(revision)) => {
                    self.revision = low_u32(revision).cast_signed();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(mut self, from: &'f [u8], limits: &DecodeLimits) -> NewStream<'f> {
        if exceeds(self.method.len(), limits.method_name) {
            self.scan
                .fault
                .get_or_insert(ContentFault::MethodNameTooLong);
        }
        NewStream {
            method: core::str::from_utf8(self.method).unwrap_or_default(),
            metadata: Metadata::new(from, Place::Request, &self.scan),
            initial_window_size: self.window,
            revision: self.revision,
            timeout: self.scan.timeout,
            transparent: self.scan.transparent,
            fault: self.scan.fault,
        }
    }
}

/// Decodes a frame from the tunnel client, a `ClientToServer` without its length prefix.
///
/// # Errors
/// The bytes are not a protobuf message, or a message that is known to be in them is not. No
/// stream can be blamed for it: the tunnel ends. (A fault of the content that only its stream
/// pays for is no error but a [`ContentFault`] in the frame.)
///
/// [`ContentFault`]: super::ContentFault
#[inline]
pub fn decode_client<'f>(
    frame: &'f [u8],
    limits: &DecodeLimits,
) -> Result<ClientFrame<'f>, DecodeError> {
    let Some((stream_id, data)) = data::read(frame) else {
        return decode_any_client(frame, limits);
    };
    let kind = match data {
        Data::Message(message) => ClientKind::Message(message),
        Data::More(bytes) => ClientKind::More(bytes),
        Data::WindowUpdate(bytes) => ClientKind::WindowUpdate(bytes),
    };
    Ok(ClientFrame { stream_id, kind })
}

#[inline(never)]
fn decode_any_client<'f>(
    frame: &'f [u8],
    limits: &DecodeLimits,
) -> Result<ClientFrame<'f>, DecodeError> {
    let mut common = Common::new();
    let mut new = NewStreamParts::default();
    let mut extensions = ExtensionSet::EMPTY;
    let mut fields = Fields::new(frame);
    loop {
        let at = fields.rest();
        let Some((number, value)) = fields.next()? else {
            break;
        };
        if common.read(number, value, at)? {
            continue;
        }
        match (number, value) {
            (2, Value::Bytes(bytes)) => {
                if common.run.begins(2, at) {
                    new = NewStreamParts::default();
                }
                new.merge(bytes, limits)?;
            }
            (5 | 6, Value::Bytes(bytes)) => {
                common.run.begins(number, at);
                Fields::check(bytes)?;
            }
            (100, Value::Bytes(bytes)) => {
                if common.run.begins(100, at) {
                    extensions = ExtensionSet::EMPTY;
                }
                extensions = extensions.merge(bytes)?;
            }
            _ => {}
        }
    }
    let kind = match common.run.member {
        2 => ClientKind::NewStream(new.finish(common.run.from, limits)),
        3 => ClientKind::Message(common.message),
        4 => ClientKind::More(common.more),
        5 => ClientKind::HalfClose,
        6 => ClientKind::Cancel,
        7 => ClientKind::WindowUpdate(low_u32(common.number)),
        100 => ClientKind::Extensions(extensions),
        101 => ClientKind::Ping(common.number),
        102 => ClientKind::Pong(common.number),
        _ => ClientKind::None,
    };
    Ok(ClientFrame {
        stream_id: common.stream_id,
        kind,
    })
}

/// What is known of a `CloseStream` or of `response_headers` while it is merged.
#[derive(Clone, Copy, Default)]
struct CloseParts<'f> {
    scan: Scan,
    status: Parts<'f>,
    unprocessed: bool,
}

impl<'f> CloseParts<'f> {
    fn merge(&mut self, bytes: &'f [u8], limits: &DecodeLimits) -> Result<(), DecodeError> {
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(trailers)) => self.scan.read(trailers, limits)?,
                (2, Value::Bytes(status)) => self.status.merge(status)?,
                (100, Value::Varint(flag)) => self.unprocessed = flag != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(self, from: &'f [u8], limits: &DecodeLimits) -> CloseStream<'f> {
        CloseStream {
            status: self.status.finish(from),
            trailers: Metadata::new(from, Place::Trailers, &self.scan),
            unprocessed: self.unprocessed,
            transparent: self.scan.transparent,
            fault: self.scan.fault.or_else(|| self.status.fault(limits)),
        }
    }
}

/// Decodes a frame from the tunnel server, a `ServerToClient` without its length prefix.
///
/// # Errors
/// As [`decode_client`].
#[inline]
pub fn decode_server<'f>(
    frame: &'f [u8],
    limits: &DecodeLimits,
) -> Result<ServerFrame<'f>, DecodeError> {
    let Some((stream_id, data)) = data::read(frame) else {
        return decode_any_server(frame, limits);
    };
    let kind = match data {
        Data::Message(message) => ServerKind::Message(message),
        Data::More(bytes) => ServerKind::More(bytes),
        Data::WindowUpdate(bytes) => ServerKind::WindowUpdate(bytes),
    };
    Ok(ServerFrame { stream_id, kind })
}

#[inline(never)]
fn decode_any_server<'f>(
    frame: &'f [u8],
    limits: &DecodeLimits,
) -> Result<ServerFrame<'f>, DecodeError> {
    let mut common = Common::new();
    let mut headers = Scan::default();
    let mut close = CloseParts::default();
    let mut settings = Settings::default();
    let mut fields = Fields::new(frame);
    loop {
        let at = fields.rest();
        let Some((number, value)) = fields.next()? else {
            break;
        };
        if common.read(number, value, at)? {
            continue;
        }
        let Value::Bytes(bytes) = value else {
            continue;
        };
        let known = matches!(number, 2 | 5 | 6 | 100);
        if known && common.run.begins(number, at) {
            headers = Scan::default();
            close = CloseParts::default();
            settings = Settings::default();
            common.number = 0;
        }
        match number {
            2 => headers.read(bytes, limits)?,
            5 => close.merge(bytes, limits)?,
            6 => settings.merge(bytes)?,
            100 => common.merge_number(bytes)?,
            _ => {}
        }
    }
    let from = common.run.from;
    let kind = match common.run.member {
        2 => ServerKind::Headers(Headers {
            metadata: Metadata::new(from, Place::Headers, &headers),
            transparent: headers.transparent,
            fault: headers.fault,
        }),
        3 => ServerKind::Message(common.message),
        4 => ServerKind::More(common.more),
        5 => ServerKind::Close(close.finish(from, limits)),
        6 => ServerKind::Settings(settings),
        7 => ServerKind::WindowUpdate(low_u32(common.number)),
        100 => ServerKind::Drain {
            last_stream_id: common.number.cast_signed(),
        },
        101 => ServerKind::Ping(common.number),
        102 => ServerKind::Pong(common.number),
        _ => ServerKind::None,
    };
    Ok(ServerFrame {
        stream_id: common.stream_id,
        kind,
    })
}
