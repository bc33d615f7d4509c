//! Brings a frame into the form in which prost reads it as a lenient decoder must.
//!
//! prost refuses a whole frame for a string that is not UTF-8 and for a known field of a wrong wire
//! type. Here the first become placeholders and the second are left out; everything else stays byte
//! for byte as it was, so that prost still judges it.

use std::ops::ControlFlow;

/// What a field of a known number may hold.
#[derive(Clone, Copy)]
pub(super) enum Holds {
    /// A number as a varint.
    Varint,
    /// Numbers as varints, packed into one field or one to a field.
    Varints,
    /// Eight bytes.
    Fixed64,
    /// A UTF-8 string.
    Text,
    /// Bytes of any content.
    Bytes,
    /// A message.
    Message(&'static Schema),
    /// An entry of a map.
    Entry(&'static Schema),
}

/// The fields of a message by number.
pub(super) type Schema = [(u32, Holds)];

/// `google.protobuf.Any`.
pub(super) const ANY: &Schema = &[(1, Holds::Text), (2, Holds::Bytes)];
const STATUS: &Schema = &[
    (1, Holds::Varint),
    (2, Holds::Text),
    (3, Holds::Message(ANY)),
];
const VALUES: &Schema = &[(1, Holds::Text), (100, Holds::Bytes)];
const ENTRY: &Schema = &[(1, Holds::Text), (2, Holds::Message(VALUES))];
const METADATA: &Schema = &[(1, Holds::Entry(ENTRY))];
const MESSAGE_DATA: &Schema = &[(1, Holds::Varint), (2, Holds::Bytes), (100, Holds::Varint)];
const EMPTY: &Schema = &[];
const OPAQUE: &Schema = &[(1, Holds::Fixed64)];
const EXTENSIONS: &Schema = &[(1, Holds::Varints)];
const DRAIN: &Schema = &[(1, Holds::Varint)];
const SETTINGS: &Schema = &[
    (1, Holds::Varints),
    (2, Holds::Varint),
    (100, Holds::Varints),
];
const NEW_STREAM: &Schema = &[
    (1, Holds::Text),
    (2, Holds::Message(METADATA)),
    (3, Holds::Varint),
    (4, Holds::Varint),
];
const CLOSE_STREAM: &Schema = &[
    (1, Holds::Message(METADATA)),
    (2, Holds::Message(STATUS)),
    (100, Holds::Varint),
];

/// `ClientToServer`.
pub(super) const CLIENT: &Schema = &[
    (1, Holds::Varint),
    (2, Holds::Message(NEW_STREAM)),
    (3, Holds::Message(MESSAGE_DATA)),
    (4, Holds::Bytes),
    (5, Holds::Message(EMPTY)),
    (6, Holds::Message(EMPTY)),
    (7, Holds::Varint),
    (100, Holds::Message(EXTENSIONS)),
    (101, Holds::Message(OPAQUE)),
    (102, Holds::Message(OPAQUE)),
];

/// `ServerToClient`.
pub(super) const SERVER: &Schema = &[
    (1, Holds::Varint),
    (2, Holds::Message(METADATA)),
    (3, Holds::Message(MESSAGE_DATA)),
    (4, Holds::Bytes),
    (5, Holds::Message(CLOSE_STREAM)),
    (6, Holds::Message(SETTINGS)),
    (7, Holds::Varint),
    (100, Holds::Message(DRAIN)),
    (101, Holds::Message(OPAQUE)),
    (102, Holds::Message(OPAQUE)),
];

/// The bytes are not well-formed protobuf.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What was found on the way through a frame.
pub(super) struct Plain {
    /// What each placeholder begins with; it does not occur in the frame.
    placeholder: String,
    /// The strings that are not UTF-8, each once; a placeholder tells the place here.
    pub(super) not_utf8: Vec<Vec<u8>>,
    /// How deep unknown groups are nested; 1 is a group in no other.
    pub(super) groups: usize,
    /// Whether an entry of a map has a wrong wire type. prost does not look at the type there and
    /// reads a length and an entry, so its verdict on the frame as it is means nothing.
    pub(super) misread_by_prost: bool,
}

impl Plain {
    /// Nothing is known of the frame yet.
    pub(super) fn new(frame: &[u8]) -> Self {
        let mut number = 0;
        let placeholder = loop {
            // A fuzzer learns the text by and by, so a fixed one would not do.
            let text = format!("not UTF-8, {number}: ");
            let mut places = frame.windows(text.len());
            if !places.any(|place| place == text.as_bytes()) {
                break text;
            }
            number += 1;
        };
        Self {
            placeholder,
            not_utf8: Vec::new(),
            groups: 0,
            misread_by_prost: false,
        }
    }

    /// Rewrites one message.
    ///
    /// # Errors
    ///
    /// When the bytes are not well-formed protobuf, in this message or one that it is known to
    /// hold.
    pub(super) fn rewrite(&mut self, schema: &Schema, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = rest;
            let (number, wire) = key(&mut rest)?;
            let holds = schema
                .iter()
                .find_map(|(known, holds)| (*known == number).then_some(*holds));
            self.misread_by_prost |= matches!(holds, Some(Holds::Entry(_))) && wire != DELIMITED;
            let field = self.field(start, &mut rest, number, wire)?;
            match (holds, field.value) {
                (Some(Holds::Varints), Value::Delimited(packed)) => {
                    varints(packed)?;
                    out.extend_from_slice(field.whole);
                }
                (Some(Holds::Text), Value::Delimited(text)) => match self.text(text) {
                    Some(placeholder) => field.put(&mut out, placeholder.as_bytes()),
                    None => out.extend_from_slice(field.whole),
                },
                (Some(Holds::Message(inner) | Holds::Entry(inner)), Value::Delimited(body)) => {
                    let rewritten = self.rewrite(inner, body)?;
                    field.put(&mut out, &rewritten);
                }
                (None, _)
                | (Some(Holds::Varint | Holds::Varints), Value::Varint)
                | (Some(Holds::Fixed64), Value::Fixed64)
                | (Some(Holds::Bytes), Value::Delimited(_)) => out.extend_from_slice(field.whole),
                (Some(_), _) => {}
            }
        }
        Ok(out)
    }

    /// What stands for the text in the rewritten message, if the text is not UTF-8.
    fn text(&mut self, text: &[u8]) -> Option<String> {
        if std::str::from_utf8(text).is_ok() {
            return None;
        }
        let place = self.not_utf8.iter().position(|seen| seen == text);
        let place = place.unwrap_or_else(|| {
            self.not_utf8.push(text.to_vec());
            self.not_utf8.len() - 1
        });
        Some(format!("{}{place}", self.placeholder))
    }

    /// What a string of the rewritten message was in the frame, and whether it was not UTF-8.
    pub(super) fn original<'a>(&'a self, text: &'a str) -> (&'a [u8], bool) {
        let place = text
            .strip_prefix(&self.placeholder)
            .and_then(|place| place.parse::<usize>().ok());
        match place.and_then(|place| self.not_utf8.get(place)) {
            Some(bytes) => (bytes, true),
            None => (text.as_bytes(), false),
        }
    }

    /// Takes the value of a field that starts at `start` and whose key has been taken.
    fn field<'f>(
        &mut self,
        start: &'f [u8],
        rest: &mut &'f [u8],
        number: u32,
        wire: u8,
    ) -> Result<Field<'f>, Malformed> {
        let before = |rest: &[u8]| start.get(..start.len() - rest.len()).ok_or(Malformed);
        let key = before(rest)?;
        let value = match value(rest, wire)? {
            ControlFlow::Continue(value) => value,
            ControlFlow::Break(GroupEdge::Start) => {
                self.group(rest, number)?;
                Value::Group
            }
            ControlFlow::Break(GroupEdge::End) => return Err(Malformed),
        };
        let whole = before(rest)?;
        Ok(Field { key, value, whole })
    }

    /// Takes the rest of a group whose start has been taken.
    fn group(&mut self, rest: &mut &[u8], number: u32) -> Result<(), Malformed> {
        let mut open = vec![number];
        while let Some(innermost) = open.last().copied() {
            self.groups = self.groups.max(open.len());
            let (number, wire) = key(rest)?;
            match value(rest, wire)? {
                ControlFlow::Continue(_) => {}
                ControlFlow::Break(GroupEdge::Start) => open.push(number),
                ControlFlow::Break(GroupEdge::End) if number == innermost => {
                    open.pop();
                }
                ControlFlow::Break(GroupEdge::End) => return Err(Malformed),
            }
        }
        Ok(())
    }
}

struct Field<'f> {
    key: &'f [u8],
    value: Value<'f>,
    whole: &'f [u8],
}

impl Field<'_> {
    /// Writes the field with another content, or as it was if the content is the same.
    fn put(&self, out: &mut Vec<u8>, content: &[u8]) {
        if matches!(self.value, Value::Delimited(same) if same == content) {
            out.extend_from_slice(self.whole);
            return;
        }
        out.extend_from_slice(self.key);
        prost::encoding::encode_varint(content.len() as u64, out);
        out.extend_from_slice(content);
    }
}

#[derive(Clone, Copy)]
enum Value<'f> {
    Varint,
    Fixed64,
    Fixed32,
    Delimited(&'f [u8]),
    Group,
}

enum GroupEdge {
    Start,
    End,
}

/// The wire type of strings, bytes and messages.
const DELIMITED: u8 = 2;

/// Takes the value of a field of this wire type; of a group nothing is taken.
fn value<'f>(
    rest: &mut &'f [u8],
    wire: u8,
) -> Result<ControlFlow<GroupEdge, Value<'f>>, Malformed> {
    let value = match wire {
        0 => varint(rest).map(|_| Value::Varint)?,
        1 => take(rest, 8).map(|_| Value::Fixed64)?,
        DELIMITED => {
            let len = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            Value::Delimited(take(rest, len)?)
        }
        3 => return Ok(ControlFlow::Break(GroupEdge::Start)),
        4 => return Ok(ControlFlow::Break(GroupEdge::End)),
        5 => take(rest, 4).map(|_| Value::Fixed32)?,
        _ => return Err(Malformed),
    };
    Ok(ControlFlow::Continue(value))
}

/// Takes a field's number and wire type.
fn key(rest: &mut &[u8]) -> Result<(u32, u8), Malformed> {
    let key = u32::try_from(varint(rest)?).map_err(|_| Malformed)?;
    let [low, ..] = key.to_le_bytes();
    match key >> 3 {
        0 => Err(Malformed),
        number => Ok((number, low & 7)),
    }
}

fn varints(mut packed: &[u8]) -> Result<(), Malformed> {
    while !packed.is_empty() {
        varint(&mut packed)?;
    }
    Ok(())
}

/// Takes a number of at most 64 bits in at most ten bytes.
fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0u64;
    for place in 0..10 {
        let (byte, after) = rest.split_first().ok_or(Malformed)?;
        *rest = after;
        if place == 9 && *byte > 1 {
            return Err(Malformed);
        }
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

fn take<'f>(rest: &mut &'f [u8], len: usize) -> Result<&'f [u8], Malformed> {
    let (taken, after) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = after;
    Ok(taken)
}
