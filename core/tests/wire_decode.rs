//! What decodes, what does not, and what a frame means: the rules of protobuf for the two frame
//! types, one by one.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failure stops the test, which is what it is for"
)]

mod common;

use common::{bytes, cat, number, varint};
use grpctunnel_core::wire::{
    ClientFrame, ClientKind, DecodeError, DecodeLimits, Extension, ExtensionSet, MessageData,
    Revision, ServerFrame, ServerKind, Settings, decode_client, decode_server,
};

fn client(frame: &[u8]) -> ClientFrame<'_> {
    decode_client(frame, &DecodeLimits::default()).unwrap()
}

fn server(frame: &[u8]) -> ServerFrame<'_> {
    decode_server(frame, &DecodeLimits::default()).unwrap()
}

/// Both decoders must say the same of what is common to both frame types.
fn refused(frame: &[u8]) -> DecodeError {
    let error = decode_client(frame, &DecodeLimits::default()).unwrap_err();
    let other = decode_server(frame, &DecodeLimits::default()).unwrap_err();
    assert_eq!(error, other, "{frame:02x?}");
    error
}

/// The same message, for the client's and the server's frame type.
fn message(frame: &[u8]) -> MessageData<'_> {
    let ClientKind::Message(message) = client(frame).kind else {
        panic!("{frame:02x?}");
    };
    let ServerKind::Message(other) = server(frame).kind else {
        panic!("{frame:02x?}");
    };
    assert_eq!(message, other);
    message
}

fn settings(body: &[u8]) -> Settings {
    let frame = bytes(6, body);
    let ServerKind::Settings(settings) = server(&frame).kind else {
        panic!("{frame:02x?}");
    };
    settings
}

#[test]
fn every_member_of_a_client_frame() {
    let id = number(1, 7);
    let of = |member: &[u8]| {
        let frame = cat(&[&id, member]);
        let decoded = client(&frame);
        assert_eq!(decoded.stream_id, 7);
        format!("{:?}", decoded.kind)
    };
    assert!(of(&bytes(2, b"")).starts_with("NewStream"));
    assert!(of(&bytes(3, b"")).starts_with("Message"));
    assert_eq!(of(&bytes(4, b"ab")), "More([97, 98])");
    assert_eq!(of(&bytes(5, b"")), "HalfClose");
    assert_eq!(of(&bytes(6, b"")), "Cancel");
    assert_eq!(of(&number(7, 300)), "WindowUpdate(300)");
    assert!(of(&bytes(100, b"")).starts_with("Extensions"));
    let opaque = [&[9][..], &5_u64.to_le_bytes()].concat();
    assert_eq!(of(&bytes(101, &opaque)), "Ping(5)");
    assert_eq!(of(&bytes(102, &opaque)), "Pong(5)");
    assert_eq!(of(b""), "None");
    assert_eq!(of(&bytes(8, b"unknown")), "None");
}

#[test]
fn every_member_of_a_server_frame() {
    let id = number(1, u64::MAX);
    let of = |member: &[u8]| {
        let frame = cat(&[&id, member]);
        let decoded = server(&frame);
        assert_eq!(decoded.stream_id, -1);
        format!("{:?}", decoded.kind)
    };
    assert!(of(&bytes(6, b"")).starts_with("Settings"));
    assert!(of(&bytes(2, b"")).starts_with("Headers"));
    assert!(of(&bytes(3, b"")).starts_with("Message"));
    assert_eq!(of(&bytes(4, b"ab")), "More([97, 98])");
    assert!(of(&bytes(5, b"")).starts_with("Close"));
    assert_eq!(of(&number(7, 0)), "WindowUpdate(0)");
    let last = number(1, u64::MAX);
    assert_eq!(of(&bytes(100, &last)), "Drain { last_stream_id: -1 }");
    assert_eq!(of(&bytes(101, b"")), "Ping(0)");
    assert_eq!(of(&bytes(102, b"")), "Pong(0)");
    assert_eq!(of(b""), "None");
}

#[test]
fn what_an_empty_frame_and_a_missing_field_mean() {
    assert_eq!(client(b"").stream_id, 0);
    assert!(matches!(server(b"").kind, ServerKind::None));
    assert_eq!(message(&bytes(3, b"")), MessageData::default());
    let frame = bytes(2, b"");
    let ClientKind::NewStream(new) = client(&frame).kind else {
        panic!();
    };
    assert_eq!(
        (new.method, new.revision, new.initial_window_size),
        ("", 0, 0)
    );
    assert!(new.metadata.is_empty() && new.timeout.is_none() && new.fault.is_none());
    let frame = bytes(5, b"");
    let ServerKind::Close(close) = server(&frame).kind else {
        panic!();
    };
    assert_eq!((close.status.code, close.status.message), (0, ""));
    assert!(close.trailers.is_empty() && close.fault.is_none());
    assert_eq!(close.status.raw_parts().count(), 0);
}

#[test]
fn an_id_is_any_64_bit_number_and_the_last_one_counts() {
    for id in [0, 1, 127, 128, i64::MAX, -1, i64::MIN] {
        let frame = cat(&[&number(1, id.cast_unsigned()), &bytes(5, b"")]);
        assert_eq!(client(&frame).stream_id, id);
        // Behind the member, and after another one.
        let frame = cat(&[
            &number(1, 99),
            &bytes(4, b"x"),
            &number(1, id.cast_unsigned()),
        ]);
        assert_eq!(server(&frame).stream_id, id);
        assert!(matches!(server(&frame).kind, ServerKind::More(b"x")));
    }
}

#[test]
fn data_frames_in_every_order_and_padding() {
    let whole = MessageData {
        size: 300,
        data: b"data",
        compressed: true,
    };
    let parts = [number(1, 300), bytes(2, b"data"), number(100, 1)];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let body = cat(&order.map(|part| &parts[part][..]));
        let unknown = bytes(9, b"?");
        for frame in [
            bytes(3, &body),
            cat(&[&number(1, 5), &bytes(3, &body)]),
            cat(&[&bytes(3, &body), &number(1, 5)]),
            cat(&[&bytes(3, &body), &unknown]),
            cat(&[&unknown, &bytes(3, &cat(&[&unknown, &body, &unknown]))]),
        ] {
            assert_eq!(message(&frame), whole, "{frame:02x?}");
        }
    }
    // Lengths and numbers in more bytes than they need.
    let padded = [
        &[0x88, 0x00, 0x85, 0x80, 0x00][..],
        &[0x22, 0x82, 0x80, 0x00],
        b"ab",
    ]
    .concat();
    assert_eq!(client(&padded).stream_id, 5);
    assert!(matches!(client(&padded).kind, ClientKind::More(b"ab")));
}

#[test]
fn numbers_keep_the_low_bits_that_their_type_has() {
    let above = (1 << 32) + 5;
    assert_eq!(message(&bytes(3, &number(1, above))).size, 5);
    for flag in [1, 2, 127, 128, 1 << 40] {
        assert!(message(&bytes(3, &number(100, flag))).compressed, "{flag}");
    }
    assert!(!message(&bytes(3, &number(100, 0))).compressed);
    let frame = number(7, above);
    assert!(matches!(client(&frame).kind, ClientKind::WindowUpdate(5)));
    assert!(matches!(server(&frame).kind, ServerKind::WindowUpdate(5)));
    let frame = bytes(2, &cat(&[&number(3, above), &number(4, above)]));
    let ClientKind::NewStream(new) = client(&frame).kind else {
        panic!();
    };
    assert_eq!((new.initial_window_size, new.revision), (5, 5));
    let frame = bytes(5, &bytes(2, &number(1, u64::MAX)));
    let ServerKind::Close(close) = server(&frame).kind else {
        panic!();
    };
    assert_eq!(close.status.code, -1);
    let set = bytes(100, &bytes(1, &varint((1 << 32) + 3)));
    let ClientKind::Extensions(set) = client(&set).kind else {
        panic!();
    };
    assert_eq!(set, ExtensionSet::EMPTY.with(Extension::Drain));
}

#[test]
fn varints_have_ten_bytes_and_64_bits_at_most() {
    let mut longest = vec![0x38];
    longest.extend([0xff; 9]);
    longest.push(0x01);
    assert!(matches!(
        client(&longest).kind,
        ClientKind::WindowUpdate(u32::MAX)
    ));
    longest[10] = 0x02;
    assert_eq!(refused(&longest), DecodeError::VarintTooLong);
    longest[10] = 0x80;
    longest.push(0x00);
    assert_eq!(refused(&longest), DecodeError::VarintTooLong);
}

#[test]
fn tags_that_protobuf_does_not_have() {
    assert_eq!(refused(&[0x00, 0x00]), DecodeError::FieldNumber);
    assert_eq!(refused(&[0x02, 0x00]), DecodeError::FieldNumber);
    for wire_type in [6, 7] {
        assert_eq!(refused(&[8 | wire_type]), DecodeError::WireType);
    }
    // 2^29 - 1 is the last number; the next one does not fit in 32 bits with its wire type.
    let last = cat(&[&varint(u64::from(u32::MAX) & !7), &[0]]);
    assert!(matches!(client(&last).kind, ClientKind::None));
    let above = cat(&[&varint(1 << 32), &[0]]);
    assert_eq!(refused(&above), DecodeError::FieldNumber);
}

#[test]
fn unknown_fields_of_every_wire_type_are_skipped() {
    let group = cat(&[
        &[0x4b],
        &number(1, 2),
        &bytes(3, b"in"),
        &[0x4b, 0x4c],
        &[0x4c],
    ]);
    let unknown = cat(&[
        &number(9, u64::MAX),
        &[0x49, 1, 2, 3, 4, 5, 6, 7, 8],
        &bytes(9, b"bytes"),
        &group,
        &[0x4d, 1, 2, 3, 4],
    ]);
    let body = cat(&[
        &unknown,
        &number(1, 3),
        &unknown,
        &bytes(2, b"abc"),
        &unknown,
    ]);
    let frame = cat(&[
        &unknown,
        &number(1, 8),
        &unknown,
        &bytes(3, &body),
        &unknown,
    ]);
    let expected = MessageData {
        size: 3,
        data: b"abc",
        compressed: false,
    };
    assert_eq!(message(&frame), expected);
    assert_eq!(client(&frame).stream_id, 8);
    // Of a member that is empty by definition the content is checked, and skipped.
    assert!(matches!(
        client(&bytes(5, &unknown)).kind,
        ClientKind::HalfClose
    ));
    let torn = &unknown[..unknown.len() - 1];
    let torn = bytes(6, torn);
    let refused = decode_client(&torn, &DecodeLimits::default());
    assert_eq!(refused.unwrap_err(), DecodeError::Truncated);
}

#[test]
fn a_known_field_of_a_wrong_wire_type_is_skipped() {
    // stream_id as bytes, window_update as bytes, request_message as a number.
    let frame = cat(&[
        &number(1, 4),
        &bytes(1, b"x"),
        &bytes(7, b"x"),
        &number(3, 1),
    ]);
    assert_eq!(client(&frame).stream_id, 4);
    assert!(matches!(client(&frame).kind, ClientKind::None));
    assert!(matches!(server(&frame).kind, ServerKind::None));
    // It is no member of the oneof either: what came before it counts, and goes on after it.
    let frame = cat(&[
        &bytes(3, &number(1, 9)),
        &number(4, 1),
        &bytes(3, &bytes(2, b"z")),
    ]);
    assert_eq!((message(&frame).size, message(&frame).data), (9, &b"z"[..]));
    let body = cat(&[&bytes(1, b"x"), &number(2, 1), &bytes(100, b"x")]);
    assert_eq!(message(&bytes(3, &body)), MessageData::default());
    let ping = bytes(101, &number(1, 7));
    assert!(matches!(client(&ping).kind, ClientKind::Ping(0)));
}

#[test]
fn groups_match_and_nest_to_a_limit() {
    let nested = |depth: usize| [vec![0x4b; depth], vec![0x4c; depth]].concat();
    assert!(matches!(client(&nested(32)).kind, ClientKind::None));
    assert_eq!(refused(&nested(33)), DecodeError::GroupDepth);
    assert_eq!(refused(&vec![0x4b; 1 << 20]), DecodeError::GroupDepth);
    assert_eq!(refused(&[0x4b]), DecodeError::Truncated);
    assert_eq!(refused(&[0x4c]), DecodeError::GroupEnd);
    assert_eq!(refused(&[0x4b, 0x54]), DecodeError::GroupEnd);
    // A known number as a group is unknown; its end alone is an error.
    assert!(matches!(client(&[0x0b, 0x0c]).kind, ClientKind::None));
    assert_eq!(refused(&[0x0c]), DecodeError::GroupEnd);
    // Siblings do not add up.
    assert!(matches!(
        client(&nested(20).repeat(100)).kind,
        ClientKind::None
    ));
}

#[test]
fn the_last_member_counts() {
    // half_close then request_message is a message, and the other way round.
    let frame = cat(&[&bytes(5, b""), &bytes(3, &number(1, 1))]);
    assert!(matches!(client(&frame).kind, ClientKind::Message(_)));
    let frame = cat(&[&bytes(3, &number(1, 1)), &bytes(5, b"")]);
    assert!(matches!(client(&frame).kind, ClientKind::HalfClose));
    // What was replaced is gone when its member comes back.
    let frame = cat(&[
        &bytes(3, &number(1, 1)),
        &number(7, 1),
        &bytes(3, &bytes(2, b"a")),
    ]);
    assert_eq!((message(&frame).size, message(&frame).data), (0, &b"a"[..]));
    // But it must be well-formed.
    let frame = cat(&[&bytes(3, &[0x12, 5]), &bytes(5, b"")]);
    assert_eq!(refused(&frame), DecodeError::Truncated);
}

#[test]
fn the_same_member_twice_is_merged() {
    let frame = cat(&[
        &bytes(3, &cat(&[&number(1, 9), &bytes(2, b"first")])),
        &bytes(3, &number(100, 1)),
        &number(1, 3),
        &bytes(3, &bytes(2, b"second")),
    ]);
    let expected = MessageData {
        size: 9,
        data: b"second",
        compressed: true,
    };
    assert_eq!(message(&frame), expected);
    let frame = cat(&[&bytes(4, b"a"), &bytes(4, b"b")]);
    assert!(matches!(client(&frame).kind, ClientKind::More(b"b")));
    let frame = cat(&[&number(7, 1), &number(7, 2)]);
    assert!(matches!(server(&frame).kind, ServerKind::WindowUpdate(2)));
    let opaque = [&[9][..], &5_u64.to_le_bytes()].concat();
    let frame = cat(&[&bytes(101, &opaque), &bytes(101, b"")]);
    assert!(matches!(client(&frame).kind, ClientKind::Ping(5)));
    let frame = cat(&[&bytes(101, &opaque), &bytes(102, b"")]);
    assert!(matches!(client(&frame).kind, ClientKind::Pong(0)));
    let frame = cat(&[&bytes(100, &number(1, 1)), &bytes(100, &number(1, 4))]);
    let ClientKind::Extensions(set) = client(&frame).kind else {
        panic!();
    };
    let both = ExtensionSet::EMPTY
        .with(Extension::RawMetadata)
        .with(Extension::Ping);
    assert_eq!(set, both);
    let frame = cat(&[&bytes(100, &number(1, 9)), &bytes(100, b"")]);
    assert!(matches!(
        server(&frame).kind,
        ServerKind::Drain { last_stream_id: 9 }
    ));
}

#[test]
fn no_proper_prefix_of_a_field_decodes() {
    let opaque = [&[9][..], &5_u64.to_le_bytes()].concat();
    let metadata = bytes(1, &cat(&[&bytes(1, b"k"), &bytes(2, &bytes(1, b"v"))]));
    let status = cat(&[&number(1, 5), &bytes(2, b"m"), &bytes(3, &bytes(1, b"t"))]);
    for member in [
        bytes(
            2,
            &cat(&[&bytes(1, b"s/M"), &bytes(2, &metadata), &number(3, 65_536)]),
        ),
        bytes(2, &metadata),
        bytes(3, &cat(&[&number(1, 300), &bytes(2, b"data")])),
        bytes(4, b"data"),
        bytes(5, &cat(&[&bytes(1, &metadata), &bytes(2, &status)])),
        bytes(6, &cat(&[&bytes(1, &[0, 1]), &number(2, 300)])),
        number(7, 300),
        bytes(101, &opaque),
    ] {
        for len in 1..member.len() {
            assert_eq!(
                refused(&member[..len]),
                DecodeError::Truncated,
                "{member:02x?}"
            );
        }
    }
}

#[test]
fn a_message_inside_that_ends_too_early_or_too_late_is_refused() {
    let limits = DecodeLimits::default();
    let torn: &[u8] = &[0x0a, 5, b'x'];
    for path in [&[2, 2, 1, 2][..], &[2, 2, 1], &[2, 2], &[2], &[3], &[100]] {
        let frame = path
            .iter()
            .rev()
            .fold(torn.to_vec(), |body, number| bytes(*number, &body));
        let refused = decode_client(&frame, &limits).unwrap_err();
        assert_eq!(refused, DecodeError::Truncated, "{path:?}");
    }
    for path in [
        &[5, 2, 3][..],
        &[5, 2],
        &[5, 1, 1, 2],
        &[5, 1],
        &[2, 1],
        &[6],
        &[100],
        &[101],
    ] {
        let frame = path
            .iter()
            .rev()
            .fold(torn.to_vec(), |body, number| bytes(*number, &body));
        let refused = decode_server(&frame, &limits).unwrap_err();
        assert_eq!(refused, DecodeError::Truncated, "{path:?}");
    }
    // A length that only fits because of what follows the message around it.
    let frame = cat(&[&bytes(3, &[0x12, 4]), &number(1, 1), &number(1, 2)]);
    assert_eq!(refused(&frame), DecodeError::Truncated);
}

#[test]
fn settings_packed_or_not() {
    let packed = settings(&cat(&[&bytes(1, &[0, 1]), &number(2, 65_536)]));
    let unpacked = settings(&cat(&[&number(1, 0), &number(2, 65_536), &number(1, 1)]));
    assert_eq!(packed, unpacked);
    assert_eq!(packed.initial_window_size, 65_536);
    assert_eq!(packed.revisions(), [0, 1]);
    assert!(packed.supports(Revision::Zero) && packed.supports(Revision::One));
    assert_eq!(packed.extensions, None);
    let mixed = settings(&cat(&[&number(1, 1), &bytes(1, &[1, 1]), &number(1, 7)]));
    assert_eq!(mixed.revisions(), [1, 1, 1, 7]);
    assert!(mixed.supports(Revision::One) && !mixed.supports(Revision::Zero));
    // The ninth is not shown, but it counts.
    let many = settings(&bytes(1, &[7, 7, 7, 7, 7, 7, 7, 7, 1]));
    assert_eq!(many.revisions(), [7; 8]);
    assert!(many.supports(Revision::One) && !many.supports(Revision::Zero));
    let negative = settings(&number(1, 3_u64.wrapping_neg()));
    assert_eq!(negative.revisions(), [-3]);
    assert!(!negative.supports(Revision::Zero) && !negative.supports(Revision::One));
    let torn = bytes(6, &bytes(1, &[0x80]));
    let refused = decode_server(&torn, &DecodeLimits::default());
    assert_eq!(refused.unwrap_err(), DecodeError::Truncated);
}

#[test]
fn settings_that_name_no_revision_speak_revision_zero() {
    for body in [vec![], bytes(1, b"")] {
        let none = settings(&body);
        assert!(none.revisions().is_empty());
        assert!(none.supports(Revision::Zero) && !none.supports(Revision::One));
    }
}

#[test]
fn extensions_that_are_offered() {
    assert_eq!(settings(b"").extensions, None);
    // The field is there, though it names nothing, or nothing that we know.
    for body in [
        bytes(100, b""),
        bytes(100, &[0, 6, 99]),
        number(100, 1 << 31),
    ] {
        assert_eq!(settings(&body).extensions, Some(ExtensionSet::EMPTY));
    }
    let all = cat(&[
        &bytes(100, &[4, 5, 3]),
        &number(100, 2),
        &number(100, 1),
        &number(100, 1),
    ]);
    assert_eq!(settings(&all).extensions, Some(ExtensionSet::ALL));
    for extension in [
        Extension::RawMetadata,
        Extension::Transparent,
        Extension::Drain,
        Extension::Ping,
        Extension::Unprocessed,
    ] {
        let one = settings(&number(100, extension as u64)).extensions.unwrap();
        assert_eq!(one, ExtensionSet::EMPTY.with(extension));
        assert!(ExtensionSet::ALL.contains(extension) && one.contains(extension));
        assert_eq!(ExtensionSet::ALL.intersection(one), one);
    }
    // Settings in two places are one message.
    let frame = cat(&[&bytes(6, &number(2, 5)), &bytes(6, &bytes(100, &[3]))]);
    let ServerKind::Settings(settings) = server(&frame).kind else {
        panic!();
    };
    assert_eq!(settings.initial_window_size, 5);
    assert_eq!(
        settings.extensions,
        Some(ExtensionSet::EMPTY.with(Extension::Drain))
    );
}
