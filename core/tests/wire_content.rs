//! The content of heads: metadata in one place and in several, statuses, and the faults that only
//! a stream pays for.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failure stops the test, which is what it is for"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{bytes, cat, number, varint};
use grpctunnel_core::wire::{
    ClientKind, CloseStream, ContentFault, DecodeError, DecodeLimits, Headers, Metadata, NewStream,
    ServerKind, Timeout, decode_client, decode_server,
};

fn new_stream<'f>(frame: &'f [u8], limits: &DecodeLimits) -> NewStream<'f> {
    match decode_client(frame, limits).unwrap().kind {
        ClientKind::NewStream(new) => new,
        other => panic!("{other:?}"),
    }
}

fn headers<'f>(frame: &'f [u8], limits: &DecodeLimits) -> Headers<'f> {
    match decode_server(frame, limits).unwrap().kind {
        ServerKind::Headers(headers) => headers,
        other => panic!("{other:?}"),
    }
}

fn close<'f>(frame: &'f [u8], limits: &DecodeLimits) -> CloseStream<'f> {
    match decode_server(frame, limits).unwrap().kind {
        ServerKind::Close(close) => close,
        other => panic!("{other:?}"),
    }
}

/// One entry of the map.
fn entry(key: &[u8], values: &[&[u8]]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|value| bytes(1, value)).collect();
    bytes(1, &cat(&[&bytes(1, key), &bytes(2, &values.concat())]))
}

fn listed(metadata: Metadata<'_>) -> Vec<(&[u8], Vec<&[u8]>)> {
    // By reference and by value the same entries are iterated.
    let keys = (&metadata).into_iter().map(|entry| entry.key());
    assert!(keys.eq(metadata.into_iter().map(|entry| entry.key())));
    metadata
        .all_entries()
        .map(|entry| (entry.key(), entry.values().collect()))
        .collect()
}

#[test]
fn entries_come_in_the_order_of_the_wire() {
    let metadata = cat(&[
        &entry(b"b", &[b"1", b"", b"2"]),
        &entry(b"a", &[b"3"]),
        &entry(b"b", &[b"4"]),
    ]);
    let expected: Vec<(&[u8], Vec<&[u8]>)> = vec![
        (b"b", vec![b"1", b"", b"2"]),
        (b"a", vec![b"3"]),
        (b"b", vec![b"4"]),
    ];
    let limits = DecodeLimits::default();
    let frame = bytes(2, &metadata);
    assert_eq!(listed(headers(&frame, &limits).metadata), expected);
    let frame = bytes(2, &bytes(2, &metadata));
    assert_eq!(listed(new_stream(&frame, &limits).metadata), expected);
    let frame = bytes(5, &bytes(1, &metadata));
    assert_eq!(listed(close(&frame, &limits).trailers), expected);
    // As the map that the field is, the last entry of a key replaces the earlier ones.
    let map: BTreeMap<_, _> = expected.into_iter().collect();
    assert_eq!(map[&b"b"[..]], [b"4"]);
}

#[test]
fn entries_that_lack_something_or_say_it_twice() {
    let limits = DecodeLimits::default();
    let of = |body: &[u8]| {
        let frame = bytes(2, &bytes(1, body));
        let headers = headers(&frame, &limits);
        assert_eq!(headers.fault, None);
        let read = listed(headers.metadata);
        assert_eq!(read.len(), 1);
        let (key, values) = &read[0];
        (key.to_vec(), values.concat())
    };
    assert_eq!(of(b""), (vec![], vec![]));
    assert_eq!(of(&bytes(1, b"k")), (b"k".to_vec(), vec![]));
    assert_eq!(of(&bytes(2, &bytes(1, b"v"))), (vec![], b"v".to_vec()));
    // The last key counts; the values are one message, wherever they are.
    let twice = cat(&[
        &bytes(2, &bytes(1, b"v")),
        &bytes(1, b"old"),
        &number(9, 1),
        &bytes(1, b"new"),
        &bytes(2, &cat(&[&number(9, 1), &bytes(1, b"w")])),
    ]);
    assert_eq!(of(&twice), (b"new".to_vec(), b"vw".to_vec()));
}

#[test]
fn raw_values_are_kept_apart_and_may_be_any_bytes() {
    let values = cat(&[
        &bytes(100, b"\xff\xfe"),
        &bytes(1, b"text"),
        &bytes(100, b""),
    ]);
    let entry = bytes(1, &cat(&[&bytes(1, b"k-bin"), &bytes(2, &values)]));
    let frame = bytes(2, &entry);
    let headers = headers(&frame, &DecodeLimits::default());
    assert_eq!(headers.fault, None);
    let entry = headers.metadata.iter().next().unwrap();
    assert!(entry.raw_values().eq([&b"\xff\xfe"[..], b""]));
    assert!(entry.values().eq([b"text"]));
}

/// The field is a map: of a key the last entry counts, and no other is handed out by accident.
#[test]
fn an_entry_that_a_later_one_replaces_is_not_handed_out() {
    let metadata = cat(&[
        &entry(b"a", &[b"1"]),
        &entry(b"b", &[b"2"]),
        &entry(b"a", &[b"3", b"4"]),
        &entry(b"c", &[]),
        &entry(b"b", &[b"5"]),
    ]);
    let frame = bytes(2, &metadata);
    let metadata = headers(&frame, &DecodeLimits::default()).metadata;
    let read: Vec<(&[u8], Vec<&[u8]>)> = metadata
        .iter()
        .map(|entry| (entry.key(), entry.values().collect()))
        .collect();
    let expected: [(&[u8], Vec<&[u8]>); 3] =
        [(b"a", vec![b"3", b"4"]), (b"c", vec![]), (b"b", vec![b"5"])];
    assert_eq!(read, expected);
    assert_eq!(metadata.all_entries().count(), 5);
    assert!(metadata.get("a").unwrap().values().eq([b"3", b"4"]));
    assert!(metadata.get("b").unwrap().values().eq([b"5"]));
    assert_eq!(metadata.get("c").unwrap().values().count(), 0);
    assert!(metadata.get("d").is_none());
    assert!(metadata.status_details().is_none());
}

#[test]
fn metadata_in_several_places_is_one() {
    let limits = DecodeLimits::default();
    let (a, b, c) = (
        entry(b"a", &[b"1"]),
        entry(b"b", &[b"2"]),
        entry(b"c", &[b"3"]),
    );
    let keys = |metadata: Metadata<'_>| {
        let keys = metadata.iter().map(|entry| entry.key().to_vec());
        keys.collect::<Vec<_>>().concat()
    };
    // Twice the member, and in one of them twice the field.
    let first = cat(&[
        &bytes(1, b"s/M"),
        &bytes(2, &a),
        &number(3, 9),
        &bytes(2, &b),
    ]);
    let second = cat(&[&bytes(2, &c), &number(4, 1)]);
    let frame = cat(&[
        &bytes(2, &first),
        &number(1, 5),
        &number(9, 9),
        &bytes(2, &second),
    ]);
    let new = new_stream(&frame, &limits);
    assert_eq!(keys(new.metadata), b"abc");
    assert_eq!(
        (new.method, new.initial_window_size, new.revision),
        ("s/M", 9, 1)
    );

    let frame = cat(&[
        &bytes(2, &a),
        &bytes(2, &b"\x4b\x4c".repeat(2)),
        &bytes(2, &cat(&[&b, &c])),
    ]);
    assert_eq!(keys(headers(&frame, &limits).metadata), b"abc");

    let first = cat(&[&bytes(1, &a), &bytes(2, &number(1, 5)), &bytes(1, &b)]);
    let frame = cat(&[&bytes(5, &first), &bytes(5, &bytes(1, &c))]);
    let close = close(&frame, &limits);
    assert_eq!(
        (keys(close.trailers), close.status.code),
        (b"abc".to_vec(), 5)
    );
}

#[test]
fn what_another_member_replaced_does_not_come_back() {
    let limits = DecodeLimits::default();
    let not_utf8 = entry(b"\xff", &[]);
    let good = entry(b"good", &[]);
    for between in [bytes(4, b"x"), number(7, 1), bytes(3, b"")] {
        let frame = cat(&[&bytes(2, &not_utf8), &between, &bytes(2, &good)]);
        let headers = headers(&frame, &limits);
        assert_eq!(listed(headers.metadata), [(&b"good"[..], vec![])]);
        assert_eq!(headers.fault, None);
    }
    let replaced = cat(&[
        &bytes(1, b"old"),
        &bytes(2, &entry(b"grpc-timeout", &[b"1S"])),
    ]);
    let frame = cat(&[
        &bytes(2, &replaced),
        &bytes(5, b""),
        &bytes(2, &number(4, 1)),
    ]);
    let new = new_stream(&frame, &limits);
    assert_eq!((new.method, new.timeout, new.revision), ("", None, 1));
    assert!(new.metadata.is_empty());
    let status = bytes(2, &cat(&[&number(1, 5), &bytes(3, b"")]));
    for between in [bytes(2, b""), bytes(4, b"x"), bytes(6, b"")] {
        let frame = cat(&[&bytes(5, &status), &between, &bytes(5, b"")]);
        let close = close(&frame, &limits);
        assert!(close.status.code == 0 && !close.status.has_details());
        assert_eq!(close.status.raw_parts().count(), 0);
    }
}

#[test]
fn the_timeout_is_the_last_value_of_the_last_entry() {
    let limits = DecodeLimits::default();
    let of = |entries: &[Vec<u8>]| {
        let frame = bytes(2, &bytes(2, &entries.concat()));
        new_stream(&frame, &limits).timeout
    };
    let seconds = |seconds| Some(Timeout::After(Duration::from_secs(seconds)));
    assert_eq!(of(&[entry(b"grpc-timeout", &[b"5S", b"7S"])]), seconds(7));
    let two = [
        entry(b"grpc-timeout", &[b"5S"]),
        entry(b"grpc-timeout", &[b"6S"]),
    ];
    assert_eq!(of(&two), seconds(6));
    let emptied = [
        entry(b"grpc-timeout", &[b"5S"]),
        entry(b"grpc-timeout", &[]),
    ];
    assert_eq!(of(&emptied), None);
    assert_eq!(of(&[entry(b"grpc-timeout", &[b"5S", b"soon"])]), None);
    assert_eq!(
        of(&[entry(b"grpc-timeout", &[b"0S"])]),
        Some(Timeout::Expired)
    );
    assert_eq!(of(&[entry(b"Grpc-Timeout", &[b"5S"])]), None);
    assert_eq!(of(&[entry(b"grpc-timeout ", &[b"5S"])]), None);
}

#[test]
fn a_string_that_is_not_utf8_leaves_the_stream_known() {
    let limits = DecodeLimits::default();
    let bad = b"\xc3\x28";
    for body in [
        bytes(1, bad),
        bytes(2, &entry(bad, &[])),
        bytes(2, &entry(b"k", &[b"fine", bad])),
        bytes(2, &entry(b"k-bin", &[bad])),
    ] {
        let frame = cat(&[&bytes(2, &body), &number(1, 77)]);
        assert_eq!(decode_client(&frame, &limits).unwrap().stream_id, 77);
        let new = new_stream(&frame, &limits);
        assert_eq!((new.fault, new.method), (Some(ContentFault::NotUtf8), ""));
    }
    for body in [
        bytes(1, &entry(bad, &[])),
        bytes(2, &bytes(2, bad)),
        bytes(2, &bytes(3, &bytes(1, bad))),
    ] {
        let frame = bytes(5, &body);
        let close = close(&frame, &limits);
        assert_eq!(
            (close.fault, close.status.message),
            (Some(ContentFault::NotUtf8), "")
        );
    }
    let frame = bytes(2, &entry(b"k", &[bad]));
    assert_eq!(headers(&frame, &limits).fault, Some(ContentFault::NotUtf8));
    // The value of a detail is bytes, not a string.
    let frame = bytes(5, &bytes(2, &bytes(3, &bytes(2, bad))));
    assert_eq!(close(&frame, &limits).fault, None);
}

#[test]
fn limits_hold_to_the_byte() {
    let metadata = cat(&[&entry(b"key", &[b"value", b""]), &entry(b"k", &[])]);
    // key 3 + 32 + 5, key 3 + 32 + 0, k 1 + 32
    let (size, values) = (40 + 35 + 33, 3);
    let status = cat(&[
        &number(1, 5),
        &bytes(2, b"message"),
        &bytes(3, &bytes(2, b"v")),
    ]);
    let new = bytes(2, &cat(&[&bytes(1, b"s/Method"), &bytes(2, &metadata)]));
    let end = bytes(5, &cat(&[&bytes(1, &metadata), &bytes(2, &status)]));
    let exact = DecodeLimits {
        metadata_bytes: size,
        metadata_entries: values,
        method_name: 8,
        status: status.len() as u32,
    };
    assert_eq!(new_stream(&new, &exact).fault, None);
    assert_eq!(close(&end, &exact).fault, None);
    let less = DecodeLimits {
        metadata_bytes: size - 1,
        ..exact
    };
    assert_eq!(
        new_stream(&new, &less).fault,
        Some(ContentFault::MetadataTooLarge)
    );
    assert_eq!(
        close(&end, &less).fault,
        Some(ContentFault::MetadataTooLarge)
    );
    assert_eq!(
        headers(&bytes(2, &metadata), &less).fault,
        Some(ContentFault::MetadataTooLarge)
    );
    let less = DecodeLimits {
        metadata_entries: values - 1,
        ..exact
    };
    assert_eq!(
        new_stream(&new, &less).fault,
        Some(ContentFault::TooManyMetadataEntries)
    );
    let less = DecodeLimits {
        method_name: 7,
        ..exact
    };
    assert_eq!(
        new_stream(&new, &less).fault,
        Some(ContentFault::MethodNameTooLong)
    );
    let less = DecodeLimits {
        status: exact.status - 1,
        ..exact
    };
    assert_eq!(close(&end, &less).fault, Some(ContentFault::StatusTooLarge));
}

#[test]
fn raw_values_count_like_others() {
    let values = cat(&[&bytes(100, b"\xff"), &bytes(1, b"v"), &bytes(100, b"")]);
    let body = cat(&[&bytes(1, b"k-bin"), &bytes(2, &values)]);
    let frame = bytes(2, &bytes(1, &body));
    let exact = DecodeLimits {
        metadata_bytes: 3 * (5 + 32) + 2,
        metadata_entries: 3,
        ..DecodeLimits::default()
    };
    let fault = |limits: DecodeLimits| headers(&frame, &limits).fault;
    assert_eq!(fault(exact), None);
    let metadata_bytes = exact.metadata_bytes - 1;
    let less = DecodeLimits {
        metadata_bytes,
        ..exact
    };
    assert_eq!(fault(less), Some(ContentFault::MetadataTooLarge));
    let less = DecodeLimits {
        metadata_entries: 2,
        ..exact
    };
    assert_eq!(fault(less), Some(ContentFault::TooManyMetadataEntries));
}

#[test]
fn a_status_is_limited_with_what_is_unknown_in_it() {
    let limits = DecodeLimits::default();
    let padding = vec![0; 70_000];
    let frame = bytes(5, &bytes(2, &bytes(9, &padding)));
    assert_eq!(
        close(&frame, &limits).fault,
        Some(ContentFault::StatusTooLarge)
    );
    let half = bytes(2, &bytes(9, &padding[..40_000]));
    assert_eq!(close(&bytes(5, &half), &limits).fault, None);
    let frame = bytes(5, &half.repeat(2));
    assert_eq!(
        close(&frame, &limits).fault,
        Some(ContentFault::StatusTooLarge)
    );
}

#[test]
fn a_limit_that_is_exceeded_does_not_end_the_checks() {
    let limits = DecodeLimits {
        metadata_entries: 1,
        ..DecodeLimits::default()
    };
    let mut metadata = entry(b"a", &[]).repeat(5);
    let frame = cat(&[&bytes(2, &bytes(2, &metadata)), &[0x38]]);
    assert_eq!(
        decode_client(&frame, &limits).unwrap_err(),
        DecodeError::Truncated
    );
    metadata.extend([0x0a, 9, 1]);
    let frame = bytes(2, &bytes(2, &metadata));
    assert_eq!(
        decode_client(&frame, &limits).unwrap_err(),
        DecodeError::Truncated
    );
}

#[test]
fn a_status_in_several_places_is_one() {
    let first = cat(&[&number(1, 3), &bytes(2, b"old"), &bytes(3, b"")]);
    let second = cat(&[&bytes(2, b"new"), &bytes(3, &bytes(1, b"t")), &number(9, 9)]);
    let third = number(1, 7);
    let body = cat(&[&bytes(2, &first), &bytes(1, b""), &bytes(2, &second)]);
    let frame = cat(&[
        &bytes(5, &body),
        &number(1, 1),
        &bytes(5, &bytes(2, &third)),
    ]);
    let status = close(&frame, &DecodeLimits::default()).status;
    assert_eq!((status.code, status.message), (7, "new"));
    assert!(status.has_details());
    assert!(status.details().eq([&b""[..], &bytes(1, b"t")]));
    assert!(status.raw_parts().eq([&first[..], &second, &third]));
}

#[test]
fn a_hundred_thousand_entries_of_one_key_take_one_walk() {
    let limits = DecodeLimits {
        metadata_bytes: u32::MAX,
        metadata_entries: u32::MAX,
        ..DecodeLimits::default()
    };
    let mut metadata = Vec::new();
    for value in 0..100_000_u64 {
        // ASCII, in as many bytes as the number needs.
        let value = varint(value)
            .iter()
            .map(|byte| byte & 0x7f)
            .collect::<Vec<_>>();
        metadata.extend(entry(b"grpc-timeout", &[&value]));
    }
    metadata.extend(entry(b"grpc-timeout", &[b"3S"]));
    let frame = bytes(2, &bytes(2, &metadata));
    let new = new_stream(&frame, &limits);
    assert_eq!(new.timeout, Some(Timeout::After(Duration::from_secs(3))));
    assert_eq!(new.metadata.all_entries().count(), 100_001);
    assert_eq!(new.metadata.iter().count(), 1);
    let refused = new_stream(&frame, &DecodeLimits::default()).fault;
    assert!(refused.is_some());
}
