//! Heads and prefixes: what is encoded decodes to the same, and what cannot travel is refused.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a failure stops the test, which is what it is for"
)]

use core::time::Duration;

use grpctunnel_core::wire::{
    BinDialect, ClientKind, DecodeLimits, EncodeError, Extension, ExtensionSet, HeadOptions,
    Prefix, Revision, ServerKind, SliceSink, StatusHead, Timeout, decode_client, decode_server,
    encode_close, encode_headers, encode_open, encode_unprocessed, prefix,
};

type Pairs<'a> = &'a [(&'a str, &'a [u8])];
type Head = heapless::Vec<u8, 20_000>;

/// A whole frame without its length prefix, whose length is checked.
fn frame(prefix: &Prefix, body: &[u8]) -> Vec<u8> {
    let (length, rest) = prefix.split_at(5);
    let len = u32::from_be_bytes(length[1..].try_into().unwrap());
    assert_eq!(length[0], 0);
    assert_eq!(len as usize, rest.len() + body.len());
    [rest, body].concat()
}

fn open(method: &str, metadata: Pairs<'_>, options: &HeadOptions<'_>) -> Result<Head, EncodeError> {
    let mut head = Head::new();
    let encoded = encode_open(&mut head, method, metadata.iter().copied(), options)?;
    assert_eq!(encoded.len() as usize, head.len());
    Ok(head)
}

#[test]
fn a_new_stream_with_everything() {
    let metadata: Pairs<'_> = &[
        ("a", b"1"),
        ("a", b"2"),
        ("grpc-timeout", b"1n"),
        ("b-bin", "\u{e9}\0".as_bytes()),
    ];
    let head = open("/pkg.S/M", metadata, &HeadOptions::default()).unwrap();
    for timeout in [
        None,
        Some(Duration::from_millis(1_500)),
        Some(Duration::MAX),
    ] {
        for id in [0, 1, i64::MAX] {
            let len = head.len() as u32;
            let prefix = prefix::new_stream(id, len, u32::MAX, Revision::One, timeout);
            let bytes = frame(&prefix, &head);
            let decoded = decode_client(&bytes, &DecodeLimits::default()).unwrap();
            let ClientKind::NewStream(new) = decoded.kind else {
                panic!("{decoded:?}");
            };
            assert_eq!((decoded.stream_id, new.method), (id, "/pkg.S/M"));
            assert_eq!((new.initial_window_size, new.revision), (u32::MAX, 1));
            assert_eq!(new.fault, None);
            match (timeout, new.timeout) {
                (None, None) => {}
                (Some(sent), Some(Timeout::After(read))) => {
                    let longest = Duration::from_secs(99_999_999 * 3_600);
                    assert_eq!(read, sent.min(longest));
                }
                other => panic!("{other:?}"),
            }
            let all: Vec<_> = new
                .metadata
                .iter()
                .map(|entry| (entry.key(), entry.values().collect::<Vec<_>>()))
                .filter(|(key, _)| *key != b"grpc-timeout")
                .collect();
            let expected: Vec<(&[u8], Vec<&[u8]>)> = vec![
                (b"a", vec![b"1", b"2"]),
                (b"b-bin", vec!["\u{e9}\0".as_bytes()]),
            ];
            assert_eq!(all, expected);
        }
    }
}

#[test]
fn what_cannot_travel_is_refused_and_writes_nothing() {
    let options = HeadOptions::default();
    let long = "x".repeat(2_000);
    let long_method = format!("s/{long}");
    let big = vec![b'v'; 70_000];
    let many: Vec<(String, Vec<u8>)> = (0..257).map(|n| (format!("k{n}"), vec![])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(k, v)| (&k[..], &v[..])).collect();
    let cases: &[(&str, Pairs<'_>, EncodeError)] = &[
        ("", &[], EncodeError::MethodEmpty),
        ("/", &[], EncodeError::MethodSyntax),
        ("foo", &[], EncodeError::MethodSyntax),
        ("/s/", &[], EncodeError::MethodSyntax),
        (&long_method, &[], EncodeError::MethodTooLong),
        ("s/M", &[("K", b"v")], EncodeError::MetadataKey),
        ("s/M", &[("", b"v")], EncodeError::MetadataKey),
        ("s/M", &[("k\r\n", b"v")], EncodeError::MetadataKey),
        ("s/M", &[("k", b"\xff")], EncodeError::MetadataNotUtf8),
        ("s/M", &[("k-bin", b"\xff")], EncodeError::MetadataNotUtf8),
        (
            "s/M",
            &[("k", b""), ("l", b""), ("k", b"")],
            EncodeError::DuplicateKey,
        ),
        ("s/M", &[("k", &big)], EncodeError::MetadataTooLarge),
        ("s/M", &many, EncodeError::TooManyMetadataEntries),
    ];
    for (method, metadata, error) in cases {
        let mut memory = [7; 100];
        let mut sink = SliceSink::new(&mut memory);
        let refused = encode_open(&mut sink, method, metadata.iter().copied(), &options);
        assert_eq!(refused, Err(*error), "{method:?}");
        assert_eq!(sink.room(), 100);
    }
    let mut memory = [0; 3];
    let mut sink = SliceSink::new(&mut memory);
    let refused = encode_open(&mut sink, "s/M", core::iter::empty(), &options);
    assert_eq!(refused, Err(EncodeError::SinkFull));
    assert_eq!(sink.room(), 3);
}

#[test]
fn binary_values_by_dialect_extension_and_drop_list() {
    let all: Vec<u8> = (0..=255).collect();
    let metadata: Pairs<'_> = &[("k-bin", &all)];
    let mut options = HeadOptions {
        bin_dialect: BinDialect::Latin1,
        ..HeadOptions::default()
    };
    let mut head = Head::new();
    let _ = encode_headers(&mut head, metadata.iter().copied(), &options).unwrap();
    let bytes = frame(&prefix::headers(3, head.len() as u32), &head);
    let decoded = decode_server(&bytes, &DecodeLimits::default()).unwrap();
    let ServerKind::Headers(headers) = decoded.kind else {
        panic!("{decoded:?}");
    };
    assert_eq!(headers.fault, None);
    let value = headers
        .metadata
        .iter()
        .next()
        .unwrap()
        .values()
        .next()
        .unwrap();
    let read: Option<Vec<u8>> = BinDialect::Latin1.decode(value).collect();
    assert_eq!(read.as_deref(), Some(&all[..]));

    options.extensions = ExtensionSet::EMPTY.with(Extension::RawMetadata);
    let mut head = Head::new();
    let _ = encode_headers(&mut head, metadata.iter().copied(), &options).unwrap();
    let bytes = frame(&prefix::headers(3, head.len() as u32), &head);
    let decoded = decode_server(&bytes, &DecodeLimits::default()).unwrap();
    let ServerKind::Headers(headers) = decoded.kind else {
        panic!("{decoded:?}");
    };
    assert_eq!(headers.fault, None);
    let entry = headers.metadata.iter().next().unwrap();
    assert!(entry.raw_values().eq([&all[..]]));

    let options = HeadOptions::default();
    let metadata: Pairs<'_> = &[("grpc-trace-bin", &all), ("k", b"v")];
    let mut head = Head::new();
    let encoded = encode_headers(&mut head, metadata.iter().copied(), &options).unwrap();
    assert_eq!(encoded.dropped(), 1);
    let mut plain = Head::new();
    let _ = encode_headers(&mut plain, metadata[1..].iter().copied(), &options).unwrap();
    assert_eq!(head, plain);
}

/// `google.rpc.Status { code: 5, message: "n", details: [Any { type_url: "t", value: "v" }] }`
const DETAILS: &[u8] = b"\x08\x05\x12\x01n\x1a\x06\x0a\x01t\x12\x01v";

fn close(status: StatusHead<'_>, max_status: u32) -> (Head, u32) {
    let options = HeadOptions {
        max_status,
        ..HeadOptions::default()
    };
    let mut head = Head::new();
    let trailers: Pairs<'_> = &[("t", b"1")];
    let encoded = encode_close(&mut head, status, trailers.iter().copied(), &options).unwrap();
    (head, encoded.dropped())
}

#[test]
fn a_status_with_details_byte_for_byte() {
    let status = StatusHead {
        code: 5,
        message: "n",
        details: DETAILS,
    };
    let (head, dropped) = close(status, 1_000);
    assert_eq!(dropped, 0);
    let bytes = frame(&prefix::close(9, head.len() as u32), &head);
    let decoded = decode_server(&bytes, &DecodeLimits::default()).unwrap();
    let ServerKind::Close(close) = decoded.kind else {
        panic!("{decoded:?}");
    };
    assert_eq!((close.status.code, close.status.message), (5, "n"));
    assert!(close.status.has_details());
    assert!(close.status.raw_parts().eq([DETAILS]));
    assert!(close.status.details().eq([&DETAILS[7..]]));
    let trailer = close.trailers.iter().next().unwrap();
    assert!(trailer.key() == b"t" && trailer.values().eq([b"1"]));
}

#[test]
fn a_status_above_the_limit_is_shortened_and_says_so() {
    let message = "\u{20ac}".repeat(1_000);
    for max in [0, 10, 60, 100, 500, 2_999] {
        for details in [&b""[..], DETAILS, b"\xff"] {
            let status = StatusHead {
                code: 13,
                message: &message,
                details,
            };
            let (head, dropped) = close(status, max);
            let bytes = frame(&prefix::close(9, head.len() as u32), &head);
            let decoded = decode_server(&bytes, &DecodeLimits::default()).unwrap();
            let ServerKind::Close(close) = decoded.kind else {
                panic!("{decoded:?}");
            };
            assert_eq!((close.fault, close.status.code), (None, 13));
            assert!(close.status.message.ends_with(']'), "{max}");
            assert!(close.status.message.len() <= (max as usize).max(60));
            let lost = !details.is_empty() && !close.status.has_details();
            assert_eq!(dropped > 0, lost);
        }
    }
}

#[test]
fn a_reason_of_the_core() {
    let text = "the reason";
    let prefix = prefix::close_reason(i64::MAX, 16, text.len() as u32);
    let bytes = frame(&prefix, text.as_bytes());
    let decoded = decode_server(&bytes, &DecodeLimits::default()).unwrap();
    let ServerKind::Close(close) = decoded.kind else {
        panic!("{decoded:?}");
    };
    assert_eq!((close.status.code, close.status.message), (16, text));
    assert!(close.trailers.is_empty() && close.fault.is_none());
}

fn raw_close(
    status: StatusHead<'_>,
    trailers: Pairs<'_>,
    change: fn(&mut HeadOptions<'_>),
) -> (Head, u32) {
    let mut options = HeadOptions {
        extensions: ExtensionSet::EMPTY.with(Extension::RawMetadata),
        ..HeadOptions::default()
    };
    change(&mut options);
    let mut head = Head::new();
    let encoded = encode_close(&mut head, status, trailers.iter().copied(), &options).unwrap();
    assert_eq!(encoded.len() as usize, head.len());
    (head, encoded.dropped())
}

/// What the reader of a close finds: the details of its trailers, how many entries these have, and
/// whether there are details in the status.
fn read_close(head: &Head) -> (Option<Vec<u8>>, usize, bool, bool) {
    let bytes = frame(&prefix::close(9, head.len() as u32), head);
    let decoded = decode_server(&bytes, &DecodeLimits::default()).unwrap();
    let ServerKind::Close(close) = decoded.kind else {
        panic!("{decoded:?}");
    };
    assert_eq!(close.fault, None);
    let details = close.trailers.status_details().map(<[u8]>::to_vec);
    let entries = close.trailers.iter().count();
    (
        details,
        entries,
        close.status.has_details(),
        close.unprocessed,
    )
}

#[test]
fn details_that_an_encoder_would_change_travel_as_they_are() {
    // Unknown fields, another order, another code, another message, a string that is not UTF-8,
    // nothing but code and message, and what is no status at all.
    let changed: &[&[u8]] = &[
        b"\x08\x05\x12\x01n\x1a\x06\x0a\x01t\x12\x01v\x20\x01",
        b"\x12\x01n\x08\x05",
        b"\x08\x06\x12\x01n",
        b"\x08\x05\x12\x01m",
        b"\x08\x05",
        b"\x08\x05\x12\x01n",
        b"\x12\x01\xff",
        b"\xff",
    ];
    for details in changed {
        let status = StatusHead {
            code: 5,
            message: "n",
            details,
        };
        let (head, dropped) = raw_close(status, &[("t", b"1")], |_| {});
        let (read, entries, _, _) = read_close(&head);
        assert_eq!(
            (read.as_deref(), entries, dropped),
            (Some(*details), 2, 0),
            "{details:?}"
        );
        // The caller's own trailer of this name is the same thing a second time.
        let own: Pairs<'_> = &[("grpc-status-details-bin", b"x"), ("t", b"1")];
        let (head, _) = raw_close(status, own, |_| {});
        assert_eq!(read_close(&head).0.as_deref(), Some(*details));
        // Where they have no room the call ends without them.
        for change in [
            (|it| it.max_metadata_entries = 1) as fn(&mut HeadOptions<'_>),
            |it| it.max_metadata_bytes = 60,
        ] {
            let (head, dropped) = raw_close(status, &[("t", b"1")], change);
            assert_eq!(
                (read_close(&head).0, dropped > 0),
                (None, true),
                "{details:?}"
            );
        }
    }
    // What comes out as it was travels once.
    for details in [DETAILS, b""] {
        let status = StatusHead {
            code: 5,
            message: "n",
            details,
        };
        let (head, dropped) = raw_close(status, &[("t", b"1")], |_| {});
        let (read, entries, _, _) = read_close(&head);
        assert_eq!((read, entries, dropped), (None, 1, 0), "{details:?}");
    }
    // Towards a peer that does not know the extension nothing is added.
    let status = StatusHead {
        code: 5,
        message: "n",
        details: b"\x08\x06",
    };
    let (head, _) = raw_close(status, &[], |it| it.extensions = ExtensionSet::EMPTY);
    assert_eq!(read_close(&head).1, 0);
}

#[test]
fn a_call_that_no_handler_saw_is_marked_where_the_mark_is_known() {
    for (extensions, marked) in [(ExtensionSet::ALL, true), (ExtensionSet::EMPTY, false)] {
        let options = HeadOptions {
            extensions,
            ..HeadOptions::default()
        };
        let none = core::iter::empty();
        let status = StatusHead {
            code: 14,
            message: "n",
            details: b"",
        };
        let mut head = Head::new();
        let encoded = encode_unprocessed(&mut head, status, none.clone(), &options).unwrap();
        assert_eq!(encoded.len() as usize, head.len());
        assert_eq!(read_close(&head).3, marked);
        let mut head = Head::new();
        let _ = encode_close(&mut head, status, none, &options).unwrap();
        assert!(!read_close(&head).3);
    }
    let prefix = prefix::close_unprocessed(7, 14, 1);
    let bytes = frame(&prefix, b"n");
    let decoded = decode_server(&bytes, &DecodeLimits::default()).unwrap();
    let ServerKind::Close(close) = decoded.kind else {
        panic!("{decoded:?}");
    };
    assert!(close.unprocessed);
    assert_eq!((close.status.code, close.status.message), (14, "n"));
}
