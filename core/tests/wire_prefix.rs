//! The bytes of every prefix, field by field as any protobuf encoder writes them.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failure stops the test, which is what it is for"
)]

mod common;

use std::time::Duration;

use common::{bytes, cat, number, varint};
use grpctunnel_core::wire::{Extension, ExtensionSet, Prefix, Revision, length_prefix, prefix};

const MINUS_ONE: u64 = u64::MAX;

/// Asserts that a prefix and `body` are one length-prefixed frame with these fields.
#[track_caller]
fn is(prefix: &Prefix, body: &[u8], fields: &[&[u8]]) {
    let expected = cat(fields);
    let length = length_prefix(0, expected.len() as u32);
    assert_eq!(cat(&[prefix, body]), cat(&[&length, &expected]));
}

fn id(id: u64) -> Vec<u8> {
    // Protobuf leaves out a field that has its default.
    if id == 0 { Vec::new() } else { number(1, id) }
}

const IDS: [i64; 5] = [0, 1, 127, 128, i64::MAX];

#[test]
fn frames_of_a_stream() {
    for stream in IDS {
        let own = &id(stream as u64)[..];
        is(&prefix::headers(stream, 0), b"", &[own, &bytes(2, b"")]);
        is(
            &prefix::headers(stream, 4),
            b"head",
            &[own, &bytes(2, b"head")],
        );
        is(
            &prefix::more(stream, 4),
            b"data",
            &[own, &bytes(4, b"data")],
        );
        is(&prefix::half_close(stream), b"", &[own, &bytes(5, b"")]);
        is(&prefix::cancel(stream), b"", &[own, &bytes(6, b"")]);
        is(&prefix::close(stream, 0), b"", &[own, &bytes(5, b"")]);
        is(
            &prefix::close(stream, 4),
            b"head",
            &[own, &bytes(5, b"head")],
        );
        for update in [0, 1, 32_768, u32::MAX] {
            let expected = number(7, u64::from(update));
            is(
                &prefix::window_update(stream, update),
                b"",
                &[own, &expected],
            );
        }
    }
    // The heartbeat.
    is(
        &prefix::window_update(-1, 0),
        b"",
        &[&id(MINUS_ONE), &number(7, 0)],
    );
}

#[test]
fn messages() {
    let chunk = vec![7; 16_384];
    for stream in IDS {
        let own = &id(stream as u64)[..];
        is(
            &prefix::message(stream, 0, 0, false),
            b"",
            &[own, &bytes(3, b"")],
        );
        is(
            &prefix::message(stream, 300, 0, false),
            b"",
            &[own, &bytes(3, &number(1, 300))],
        );
        let flag = number(100, 1);
        is(
            &prefix::message(stream, 0, 0, true),
            b"",
            &[own, &bytes(3, &flag)],
        );
        for size in [16_384, u32::MAX] {
            let size_field = number(1, u64::from(size));
            let data = bytes(2, &chunk);
            let plain = bytes(3, &cat(&[&size_field, &data]));
            is(
                &prefix::message(stream, size, 16_384, false),
                &chunk,
                &[own, &plain],
            );
            let compressed = bytes(3, &cat(&[&size_field, &flag, &data]));
            is(
                &prefix::message(stream, size, 16_384, true),
                &chunk,
                &[own, &compressed],
            );
        }
    }
}

#[test]
fn new_streams() {
    let head = bytes(1, b"s/M");
    let len = head.len() as u32;
    let bare = prefix::new_stream(0, len, 0, Revision::Zero, None);
    is(&bare, &head, &[&bytes(2, &head)]);
    for (duration, text) in [
        (Duration::ZERO, "0n"),
        (Duration::from_millis(1_500), "1500000u"),
        (Duration::from_secs(99_999), "99999000m"),
        (Duration::MAX, "99999999H"),
    ] {
        let values = bytes(1, text.as_bytes());
        let entry = cat(&[&bytes(1, b"grpc-timeout"), &bytes(2, &values)]);
        let body = cat(&[
            &number(3, u64::from(u32::MAX)),
            &number(4, 1),
            &bytes(2, &bytes(1, &entry)),
            &head,
        ]);
        for stream in IDS {
            let timeout = Some(duration);
            let prefix = prefix::new_stream(stream, len, u32::MAX, Revision::One, timeout);
            is(&prefix, &head, &[&id(stream as u64), &bytes(2, &body)]);
        }
    }
}

#[test]
fn reasons() {
    let text = b"why";
    for stream in IDS {
        let own = &id(stream as u64)[..];
        let status = cat(&[&number(1, 13), &bytes(2, text)]);
        let expected = bytes(5, &bytes(2, &status));
        is(
            &prefix::close_reason(stream, 13, 3),
            text,
            &[own, &expected],
        );
        let expected = bytes(5, &bytes(2, &number(1, 1)));
        is(&prefix::close_reason(stream, 1, 0), b"", &[own, &expected]);
        is(
            &prefix::close_reason(stream, 0, 0),
            b"",
            &[own, &bytes(5, &bytes(2, b""))],
        );
        let negative = cat(&[&number(1, MINUS_ONE), &bytes(2, text)]);
        let expected = bytes(5, &bytes(2, &negative));
        is(
            &prefix::close_reason(stream, -1, 3),
            text,
            &[own, &expected],
        );
    }
}

#[test]
fn frames_of_the_tunnel() {
    let own = &id(MINUS_ONE)[..];
    let both = [Revision::Zero, Revision::One];
    let body = cat(&[&bytes(1, &[0, 1]), &number(2, 65_536)]);
    is(
        &prefix::settings(65_536, &both, None),
        b"",
        &[own, &bytes(6, &body)],
    );
    is(&prefix::settings(0, &[], None), b"", &[own, &bytes(6, b"")]);
    is(
        &prefix::settings(0, &both[..1], None),
        b"",
        &[own, &bytes(6, &bytes(1, &[0]))],
    );
    let offer = bytes(6, &cat(&[&body, &bytes(100, &[1, 2, 3, 4, 5])]));
    is(
        &prefix::settings(65_536, &both, Some(ExtensionSet::ALL)),
        b"",
        &[own, &offer],
    );
    // An offer of nothing is an offer.
    let nothing = bytes(6, &bytes(100, b""));
    is(
        &prefix::settings(0, &[], Some(ExtensionSet::EMPTY)),
        b"",
        &[own, &nothing],
    );
    let eight = bytes(6, &bytes(1, &[1; 8]));
    is(
        &prefix::settings(0, &[Revision::One; 200], None),
        b"",
        &[own, &eight],
    );

    let set = ExtensionSet::EMPTY
        .with(Extension::Ping)
        .with(Extension::Drain);
    is(
        &prefix::extensions(set),
        b"",
        &[own, &bytes(100, &bytes(1, &[3, 4]))],
    );
    is(
        &prefix::extensions(ExtensionSet::EMPTY),
        b"",
        &[own, &bytes(100, b"")],
    );
    for last in [-1, 0, 9, i64::MAX] {
        let expected = bytes(100, &id(last as u64));
        is(&prefix::drain(last), b"", &[own, &expected]);
    }
    let opaque = cat(&[&varint(9), &u64::MAX.to_le_bytes()]);
    is(&prefix::ping(u64::MAX), b"", &[own, &bytes(101, &opaque)]);
    is(&prefix::pong(u64::MAX), b"", &[own, &bytes(102, &opaque)]);
    is(&prefix::ping(0), b"", &[own, &bytes(101, b"")]);
}

#[test]
fn lengths_that_do_not_fit_stay_at_the_largest() {
    for prefix in [
        prefix::headers(i64::MAX, u32::MAX),
        prefix::message(i64::MAX, u32::MAX, u32::MAX, true),
        prefix::new_stream(1, u32::MAX, u32::MAX, Revision::One, Some(Duration::MAX)),
        prefix::close_reason(i64::MAX, -1, u32::MAX),
    ] {
        assert_eq!(prefix[..5], length_prefix(0, u32::MAX));
    }
}
