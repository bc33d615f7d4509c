//! The two frame types, decoded in place and without allocation.
//!
//! Unknown fields are skipped; so is a known field with a wire type that is not its own. Of
//! several members of a frame's oneof the last one counts, and the same member twice in a row
//! is merged. Strings that are not UTF-8 and limits that are exceeded are faults of the content:
//! the frame still decodes, because its stream must be known.

use super::extension::ExtensionSet;
use super::field::{DecodeError, Fields, Value};
use super::metadata::{Metadata, Place, Scan};
use super::settings::Settings;
use super::status::Status;
use super::timeout::Timeout;

/// Limits that hold while a frame is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of one frame's metadata, counted as HTTP/2 counts a header list: name, value and 32
    /// for each value. Default 65,536.
    pub metadata_bytes: u32,
    /// Values in one frame's metadata; a key without one counts as one. Default 256.
    pub metadata_entries: u32,
    /// Bytes of `method_name`. Default 1,024.
    pub method_name: u32,
    /// Bytes of a status: message and details. Default 65,536.
    pub status: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            metadata_bytes: 65_536,
            metadata_entries: 256,
            method_name: 1_024,
            status: 65_536,
        }
    }
}

/// What is wrong with the content of a frame that decodes: its stream ends, the tunnel goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentFault {
    /// A string is not UTF-8.
    NotUtf8,
    /// Above [`DecodeLimits::metadata_bytes`].
    MetadataTooLarge,
    /// Above [`DecodeLimits::metadata_entries`].
    TooManyMetadataEntries,
    /// Above [`DecodeLimits::method_name`].
    MethodNameTooLong,
    /// Above [`DecodeLimits::status`].
    StatusTooLarge,
}

/// A frame from the tunnel client: `ClientToServer`.
#[derive(Clone, Copy, Debug)]
pub struct ClientFrame<'f> {
    /// `stream_id`
    pub stream_id: i64,
    /// The member of the oneof.
    pub kind: ClientKind<'f>,
}

/// The members of `ClientToServer.frame`.
#[derive(Clone, Copy, Debug)]
pub enum ClientKind<'f> {
    /// None that we know.
    None,
    /// `new_stream`
    NewStream(NewStream<'f>),
    /// `request_message`
    Message(MessageData<'f>),
    /// `more_request_data`
    More(&'f [u8]),
    /// `half_close`
    HalfClose,
    /// `cancel`
    Cancel,
    /// `window_update`
    WindowUpdate(u32),
    /// `extensions`
    Extensions(ExtensionSet),
    /// `ping`, with its `opaque`
    Ping(u64),
    /// `pong`, with its `opaque`
    Pong(u64),
}

/// `NewStream`
#[derive(Clone, Copy, Debug)]
pub struct NewStream<'f> {
    /// `method_name`; empty where it is not UTF-8.
    pub method: &'f str,
    /// `request_headers`
    pub metadata: Metadata<'f>,
    /// `initial_window_size`
    pub initial_window_size: u32,
    /// `protocol_revision`, any number.
    pub revision: i32,
    /// The value of `grpc-timeout` in the metadata: the last one.
    pub timeout: Option<Timeout>,
    /// What is wrong with it.
    pub fault: Option<ContentFault>,
}

/// `MessageData`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageData<'f> {
    /// `size`, of the whole message.
    pub size: u32,
    /// `data`, its first chunk.
    pub data: &'f [u8],
    /// `compressed`
    pub compressed: bool,
}

/// A frame from the tunnel server: `ServerToClient`.
#[derive(Clone, Copy, Debug)]
pub struct ServerFrame<'f> {
    /// `stream_id`
    pub stream_id: i64,
    /// The member of the oneof.
    pub kind: ServerKind<'f>,
}

/// The members of `ServerToClient.frame`.
#[derive(Clone, Copy, Debug)]
pub enum ServerKind<'f> {
    /// None that we know.
    None,
    /// `settings`
    Settings(Settings),
    /// `response_headers`
    Headers(Headers<'f>),
    /// `response_message`
    Message(MessageData<'f>),
    /// `more_response_data`
    More(&'f [u8]),
    /// `close_stream`
    Close(CloseStream<'f>),
    /// `window_update`
    WindowUpdate(u32),
    /// `drain`
    Drain {
        /// `last_stream_id`
        last_stream_id: i64,
    },
    /// `ping`, with its `opaque`
    Ping(u64),
    /// `pong`, with its `opaque`
    Pong(u64),
}

/// `response_headers`
#[derive(Clone, Copy, Debug)]
pub struct Headers<'f> {
    /// The metadata.
    pub metadata: Metadata<'f>,
    /// What is wrong with it.
    pub fault: Option<ContentFault>,
}

/// `CloseStream`
#[derive(Clone, Copy, Debug)]
pub struct CloseStream<'f> {
    /// `status`; OK where it is missing.
    pub status: Status<'f>,
    /// `response_trailers`
    pub trailers: Metadata<'f>,
    /// What is wrong with it.
    pub fault: Option<ContentFault>,
}

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

#[expect(
    clippy::cast_possible_truncation,
    reason = "protobuf keeps the low 32 bits"
)]
const fn low_u32(value: u64) -> u32 {
    value as u32
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
        if self.method.len() > limits.method_name as usize {
            self.scan
                .fault
                .get_or_insert(ContentFault::MethodNameTooLong);
        }
        NewStream {
            method: core::str::from_utf8(self.method).unwrap_or_default(),
            metadata: Metadata::new(from, Place::Request),
            initial_window_size: self.window,
            revision: self.revision,
            timeout: self.scan.timeout,
            fault: self.scan.fault,
        }
    }
}

/// Decodes a `ClientToServer`.
///
/// # Errors
/// The bytes are not a protobuf message of this shape.
pub fn decode_client<'f>(
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
    status: super::status::Parts<'f>,
}

impl<'f> CloseParts<'f> {
    fn merge(&mut self, bytes: &'f [u8], limits: &DecodeLimits) -> Result<(), DecodeError> {
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(trailers)) => self.scan.read(trailers, limits)?,
                (2, Value::Bytes(status)) => self.status.merge(status)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(self, from: &'f [u8], limits: &DecodeLimits) -> CloseStream<'f> {
        CloseStream {
            status: self.status.finish(from),
            trailers: Metadata::new(from, Place::Trailers),
            fault: self.scan.fault.or_else(|| self.status.fault(limits)),
        }
    }
}

/// Decodes a `ServerToClient`.
///
/// # Errors
/// The bytes are not a protobuf message of this shape.
pub fn decode_server<'f>(
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
            metadata: Metadata::new(from, Place::Headers),
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
