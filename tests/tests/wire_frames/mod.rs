//! Makes frames field by field: of the schema and against it, in any order and number, with numbers
//! and lengths written longer than need be.

use proptest::prelude::*;

/// A field as it is on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    number: u32,
    value: Value,
    /// How many bytes longer than need be its varints are, as far as ten bytes allow.
    pad: usize,
}

#[derive(Clone, Debug)]
enum Value {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
    Group(Vec<Field>),
    /// No field at all, but these bytes.
    Raw(Vec<u8>),
}

impl Field {
    const fn new(number: u32, value: Value) -> Self {
        Self {
            number,
            value,
            pad: 0,
        }
    }

    pub(crate) fn bytes(number: u32, bytes: &[u8]) -> Self {
        Self::new(number, Value::Bytes(bytes.to_vec()))
    }

    pub(crate) const fn message(number: u32, fields: Vec<Self>) -> Self {
        Self::new(number, Value::Message(fields))
    }

    pub(crate) const fn group(number: u32, fields: Vec<Self>) -> Self {
        Self::new(number, Value::Group(fields))
    }

    /// Bytes in place of a field.
    pub(crate) fn bytes_of(bytes: &[u8]) -> Self {
        Self::new(0, Value::Raw(bytes.to_vec()))
    }

    fn put(&self, out: &mut Vec<u8>) {
        let key = |wire: u64| u64::from(self.number) << 3 | wire;
        let delimited = |out: &mut Vec<u8>, content: &[u8]| {
            varint(out, key(2), self.pad);
            varint(out, content.len() as u64, self.pad);
            out.extend_from_slice(content);
        };
        match &self.value {
            Value::Varint(value) => {
                varint(out, key(0), self.pad);
                varint(out, *value, self.pad);
            }
            Value::Fixed64(value) => {
                varint(out, key(1), self.pad);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Bytes(content) => delimited(out, content),
            Value::Message(fields) => delimited(out, &encode(fields)),
            Value::Group(fields) => {
                varint(out, key(3), self.pad);
                out.extend_from_slice(&encode(fields));
                varint(out, key(4), self.pad);
            }
            Value::Fixed32(value) => {
                varint(out, key(5), self.pad);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// The fields, one after another.
pub(crate) fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        field.put(&mut out);
    }
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64, pad: usize) {
    let start = out.len();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    for _ in 0..pad.min(10 - (out.len() - start)) {
        if let Some(last) = out.last_mut() {
            *last |= 0x80;
        }
        out.push(0);
    }
}

/// Frames that are damaged: cut, or with a byte changed, put in or taken out.
pub(crate) fn mutated(frame: impl Strategy<Value = Vec<Field>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (0..4, any::<prop::sample::Index>(), any::<u8>());
    (frame, prop::collection::vec(change, 1..3)).prop_map(|(frame, changes)| {
        let mut bytes = encode(&frame);
        for (kind, index, byte) in changes {
            let place = index.index(bytes.len() + 1);
            match kind {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, byte),
                2 => bytes
                    .iter_mut()
                    .skip(place)
                    .take(1)
                    .for_each(|it| *it = byte),
                _ => drop(bytes.splice(place..bytes.len().min(place + 1), [])),
            }
        }
        bytes
    })
}

/// Any `ClientToServer`, as far as protobuf goes.
pub(crate) fn client_frame() -> impl Strategy<Value = Vec<Field>> {
    let member = prop_oneof![
        4 => message(2, new_stream()),
        2 => message(3, message_data()),
        1 => bytes(4),
        1 => either(5, 6, fields(noise(), 0..2)),
        1 => number(7),
        1 => message(100, extensions()),
        1 => either(101, 102, opaque()),
    ];
    frame(member)
}

/// Any `ServerToClient`, as far as protobuf goes.
pub(crate) fn server_frame() -> impl Strategy<Value = Vec<Field>> {
    let member = prop_oneof![
        2 => message(2, metadata()),
        2 => message(3, message_data()),
        1 => bytes(4),
        4 => message(5, close_stream()),
        2 => message(6, settings()),
        1 => number(7),
        1 => message(100, fields(prop_oneof![4 => number(1), 1 => noise()], 0..3)),
        1 => either(101, 102, opaque()),
    ];
    frame(member)
}

type Fields = BoxedStrategy<Vec<Field>>;

fn frame(member: impl Strategy<Value = Field> + 'static) -> impl Strategy<Value = Vec<Field>> {
    // The same member again more often than chance would have it: it is merged.
    let member = (member, 0..5).prop_map(|(field, again)| match again {
        0 => vec![field.clone(), field],
        _ => vec![field],
    });
    let one = |field: BoxedStrategy<Field>| field.prop_map(|field| vec![field]);
    let part = prop_oneof![6 => member, 2 => one(number(1)), 1 => one(noise())];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

fn new_stream() -> Fields {
    let field = prop_oneof![
        3 => text(1),
        4 => message(2, metadata()),
        1 => number(3),
        1 => number(4),
        1 => noise(),
    ];
    fields(field, 0..5)
}

fn message_data() -> Fields {
    fields(prop_oneof![number(1), bytes(2), number(100), noise()], 0..4)
}

fn close_stream() -> Fields {
    let any = fields(prop_oneof![3 => text(1), 3 => bytes(2), 1 => noise()], 0..3);
    let status = prop_oneof![
        2 => number(1),
        2 => text(2),
        2 => message(3, any),
        1 => noise(),
    ];
    let field = prop_oneof![
        2 => message(1, metadata()),
        4 => message(2, fields(status, 0..4)),
        1 => noise(),
    ];
    fields(field, 0..4)
}

fn settings() -> Fields {
    fields(
        prop_oneof![
            3 => numbers(1),
            1 => number(2),
            2 => numbers(100),
            1 => noise(),
        ],
        0..4,
    )
}

fn extensions() -> Fields {
    fields(prop_oneof![4 => numbers(1), 1 => noise()], 0..3)
}

fn opaque() -> Fields {
    fields(prop_oneof![4 => fixed64(1), 1 => noise()], 0..3)
}

fn metadata() -> Fields {
    let values = prop_oneof![6 => text(1), 2 => bytes(100), 1 => noise()];
    let part = prop_oneof![
        5 => key(),
        6 => message(2, fields(values, 0..4)),
        1 => noise(),
    ];
    let entry = message(1, fields(part, 0..4));
    fields(
        prop_oneof![8 => entry, 2 => timeout_entry(), 1 => noise()],
        0..4,
    )
}

/// An entry `grpc-timeout`, with values or none.
fn timeout_entry() -> BoxedStrategy<Field> {
    let values = fields(timeout(1), 0..3);
    values
        .prop_map(|values| {
            let key = Field::bytes(1, b"grpc-timeout");
            Field::message(1, vec![key, Field::message(2, values)])
        })
        .boxed()
}

fn timeout(number: u32) -> BoxedStrategy<Field> {
    let value = prop::sample::select(vec!["1S", "20m", "99999999H", "-5m", "5", ""]);
    field(Just(number), value.prop_map(|it| Value::Bytes(it.into())))
}

fn fields(field: impl Strategy<Value = Field> + 'static, len: std::ops::Range<usize>) -> Fields {
    prop::collection::vec(field, len).boxed()
}

fn field(
    number: impl Strategy<Value = u32> + 'static,
    value: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<Field> {
    let pad = prop_oneof![6 => Just(0), 1 => 1_usize..10];
    (number, value, pad)
        .prop_map(|(number, value, pad)| Field { number, value, pad })
        .boxed()
}

fn message(number: u32, fields: Fields) -> BoxedStrategy<Field> {
    field(Just(number), fields.prop_map(Value::Message))
}

/// A message under one of two numbers.
fn either(one: u32, other: u32, fields: Fields) -> BoxedStrategy<Field> {
    let number = prop_oneof![Just(one), Just(other)];
    field(number, fields.prop_map(Value::Message))
}

fn number(number: u32) -> BoxedStrategy<Field> {
    field(Just(number), any_number().prop_map(Value::Varint))
}

fn fixed64(number: u32) -> BoxedStrategy<Field> {
    field(Just(number), any::<u64>().prop_map(Value::Fixed64))
}

/// Numbers packed or one by one.
fn numbers(number: u32) -> BoxedStrategy<Field> {
    let packed = prop::collection::vec(any_number(), 0..12).prop_map(|numbers| {
        let mut bytes = Vec::new();
        for number in numbers {
            varint(&mut bytes, number, 0);
        }
        Value::Bytes(bytes)
    });
    field(
        Just(number),
        prop_oneof![packed, any_number().prop_map(Value::Varint)],
    )
}

/// Those that our fields tell apart, the edges of their types, and others.
fn any_number() -> BoxedStrategy<u64> {
    prop_oneof![
        6 => 0_u64..6,
        2 => prop::sample::select(vec![
            127, 128, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001,
            0x1_0000_0004, i64::MAX as u64, u64::MAX, u64::MAX - 1,
        ]),
        1 => any::<u64>(),
    ]
    .boxed()
}

fn bytes(number: u32) -> BoxedStrategy<Field> {
    let bytes = prop::collection::vec(any::<u8>(), 0..6);
    field(Just(number), bytes.prop_map(Value::Bytes))
}

/// A string, now and then one that is not UTF-8.
fn text(number: u32) -> BoxedStrategy<Field> {
    let text = prop_oneof![
        6 => "[a-z/]{0,6}".prop_map(String::into_bytes),
        1 => "\\PC{0,3}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    field(Just(number), text.prop_map(Value::Bytes))
}

/// Few different ones, so that keys repeat.
fn key() -> BoxedStrategy<Field> {
    let keys = vec![
        &b"a"[..],
        b"b-bin",
        b"",
        b"grpc-timeout",
        b"\xff",
        b"\xfe\xff",
    ];
    let key = prop::sample::select(keys).prop_map(|key| Value::Bytes(key.to_vec()));
    field(Just(1), key)
}

/// A field of any number and wire type: unknown, or known and of a wrong type, or right by chance.
fn noise() -> BoxedStrategy<Field> {
    let number = prop_oneof![
        4 => 1_u32..9,
        1 => 100_u32..104,
        1 => prop::sample::select(vec![15, 16, 99, 2_047, 2_048, (1 << 29) - 1]),
    ];
    let value = prop_oneof![
        any_number().prop_map(Value::Varint),
        any::<u64>().prop_map(Value::Fixed64),
        any::<u32>().prop_map(Value::Fixed32),
        Just(Value::Bytes(vec![])),
        Just(Value::Group(vec![])),
    ];
    field(number, value)
        .prop_recursive(3, 8, 3, |inner| {
            let fields = prop::collection::vec(inner, 0..3);
            // What is numbered 1 or 100 may hold packed numbers, which other content would break.
            let number = prop_oneof![2_u32..100, 101_u32..104];
            let message = fields.clone().prop_map(Value::Message);
            prop_oneof![
                field(number, message),
                field(1_u32..104, fields.prop_map(Value::Group)),
            ]
        })
        .boxed()
}
