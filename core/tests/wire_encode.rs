//! What a caller's metadata and statuses become, and what is kept away from peers that could not
//! read it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failure stops the test, which is what it is for"
)]

mod common;

use common::{bytes, cat, number};
use grpctunnel_core::wire::{
    BinDialect, EncodeError, Extension, ExtensionSet, HeadOptions, Sink, SinkFull, SliceSink,
    StatusHead, encode_close, encode_headers, encode_open,
};

type Pairs<'a> = &'a [(&'a str, &'a [u8])];
type Head = heapless::Vec<u8, 40_000>;

fn headers(pairs: Pairs<'_>, options: &HeadOptions<'_>) -> Result<(Vec<u8>, u32), EncodeError> {
    let mut head = Head::new();
    let encoded = encode_headers(&mut head, pairs.iter().copied(), options)?;
    assert_eq!(encoded.len() as usize, head.len());
    Ok((head.to_vec(), encoded.dropped()))
}

fn close(status: StatusHead<'_>, max_status: u32) -> (Vec<u8>, u32) {
    let options = HeadOptions {
        max_status,
        ..HeadOptions::default()
    };
    let mut head = Head::new();
    let none = core::iter::empty();
    let encoded = encode_close(&mut head, status, none, &options).unwrap();
    assert_eq!(encoded.len() as usize, head.len());
    (head.to_vec(), encoded.dropped())
}

fn entry(key: &str, values: &[&[u8]]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|value| bytes(1, value)).collect();
    bytes(
        1,
        &cat(&[&bytes(1, key.as_bytes()), &bytes(2, &values.concat())]),
    )
}

#[test]
fn values_of_one_key_become_one_entry() {
    let options = HeadOptions::default();
    let pairs: Pairs<'_> = &[
        ("a", b"1"),
        ("a", b""),
        ("b.c_d-2", b"\xc3\xa9"),
        ("a-bin", b"\0"),
    ];
    let (head, dropped) = headers(pairs, &options).unwrap();
    let expected = cat(&[
        &entry("a", &[b"1", b""]),
        &entry("b.c_d-2", &[b"\xc3\xa9"]),
        &entry("a-bin", &[b"\0"]),
    ]);
    assert_eq!((&head[..], dropped), (&expected[..], 0));
    assert_eq!(headers(&[], &options).unwrap(), (Vec::new(), 0));
}

#[test]
fn the_timeout_of_the_caller_is_left_out_everywhere() {
    let options = HeadOptions::default();
    let pairs: Pairs<'_> = &[
        ("grpc-timeout", b"\xff"),
        ("k", b"v"),
        ("grpc-timeout", b"1S"),
    ];
    let (head, dropped) = headers(pairs, &options).unwrap();
    assert_eq!((&head[..], dropped), (&entry("k", &[b"v"])[..], 0));
    let mut head = Head::new();
    let _ = encode_open(&mut head, "s/M", pairs[..1].iter().copied(), &options).unwrap();
    assert_eq!(head[..], bytes(1, b"s/M"));
}

#[test]
fn methods_are_service_and_method() {
    let options = HeadOptions::default();
    for method in ["s/M", "/s/M", "pkg.S/M", "a/b/c"] {
        let mut head = Head::new();
        let _ = encode_open(&mut head, method, core::iter::empty(), &options).unwrap();
        assert_eq!(head[..], bytes(1, method.as_bytes()));
    }
    let longest = format!("s/{}", "m".repeat(1_022));
    let mut head = Head::new();
    assert!(encode_open(&mut head, &longest, core::iter::empty(), &options).is_ok());
}

#[test]
fn limits_hold_to_the_byte_and_count_what_is_written() {
    let pairs: Pairs<'_> = &[("key-bin", b"a\xe9"), ("k", b"v")];
    // As Latin-1 the two bytes take three.
    let size = 7 + 3 + 32 + 1 + 1 + 32;
    let exact = HeadOptions {
        bin_dialect: BinDialect::Latin1,
        max_metadata_bytes: size,
        max_metadata_entries: 2,
        ..HeadOptions::default()
    };
    let (head, _) = headers(pairs, &exact).unwrap();
    let expected = cat(&[&entry("key-bin", &["aé".as_bytes()]), &entry("k", &[b"v"])]);
    assert_eq!(head, expected);
    let less = HeadOptions {
        max_metadata_bytes: size - 1,
        ..exact
    };
    assert_eq!(headers(pairs, &less), Err(EncodeError::MetadataTooLarge));
    let less = HeadOptions {
        max_metadata_entries: 1,
        ..exact
    };
    assert_eq!(
        headers(pairs, &less),
        Err(EncodeError::TooManyMetadataEntries)
    );
}

#[test]
fn the_limits_end_the_search_for_keys_that_come_again() {
    let keys: Vec<String> = (0..200_000).map(|n| format!("k{n}")).collect();
    let pairs: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), &b""[..])).collect();
    let options = HeadOptions::default();
    assert_eq!(
        headers(&pairs, &options),
        Err(EncodeError::TooManyMetadataEntries)
    );
}

#[test]
fn the_authority_travels_where_the_peer_takes_it() {
    let pairs: Pairs<'_> = &[(":authority", b"host")];
    let mut options = HeadOptions::default();
    assert_eq!(headers(pairs, &options), Err(EncodeError::MetadataKey));
    options.extensions = ExtensionSet::EMPTY.with(Extension::Transparent);
    assert_eq!(
        headers(pairs, &options).unwrap().0,
        entry(":authority", &[b"host"])
    );
    assert_eq!(
        headers(&[(":path", b"/")], &options),
        Err(EncodeError::MetadataKey)
    );
}

#[test]
fn only_what_cannot_be_carried_is_dropped() {
    let options = HeadOptions::default();
    let pairs: Pairs<'_> = &[
        ("grpc-trace-bin", b"\xff"),
        ("grpc-trace-bin", b"text"),
        ("grpc-tags-bin", b"\xfe"),
        ("k", b"v"),
    ];
    let (head, dropped) = headers(pairs, &options).unwrap();
    let expected = cat(&[&entry("grpc-trace-bin", &[b"text"]), &entry("k", &[b"v"])]);
    assert_eq!((&head[..], dropped), (&expected[..], 2));
    // The list is about `-bin` keys.
    let options = HeadOptions {
        drop_bin: &["k"],
        ..options
    };
    assert_eq!(
        headers(&[("k", b"\xff")], &options),
        Err(EncodeError::MetadataNotUtf8)
    );
    assert_eq!(headers(pairs, &options), Err(EncodeError::MetadataNotUtf8));
}

#[test]
fn raw_values_go_where_they_may_be_any_bytes() {
    let options = HeadOptions {
        extensions: ExtensionSet::EMPTY.with(Extension::RawMetadata),
        bin_dialect: BinDialect::Latin1,
        ..HeadOptions::default()
    };
    let pairs: Pairs<'_> = &[("grpc-trace-bin", b"\xff"), ("grpc-trace-bin", b"")];
    let values = cat(&[&bytes(100, b"\xff"), &bytes(100, b"")]);
    let body = cat(&[&bytes(1, b"grpc-trace-bin"), &bytes(2, &values)]);
    let (head, dropped) = headers(pairs, &options).unwrap();
    assert_eq!((&head[..], dropped), (&bytes(1, &body)[..], 0));
    assert_eq!(
        headers(&[("k", b"\xff")], &options),
        Err(EncodeError::MetadataNotUtf8)
    );
}

#[test]
fn values_of_a_dialect_are_read_as_they_were_written() {
    let read = |dialect: BinDialect, value: &str| {
        let bytes: Option<Vec<u8>> = dialect.decode(value.as_bytes()).collect();
        bytes
    };
    assert_eq!(read(BinDialect::Utf8Bytes, "é"), Some(vec![0xc3, 0xa9]));
    assert_eq!(read(BinDialect::Latin1, "é"), Some(vec![0xe9]));
    assert_eq!(read(BinDialect::Latin1, "aĀ"), None);
    let not_text: Option<Vec<u8>> = BinDialect::Latin1.decode(b"\xff").collect();
    assert_eq!(not_text, None);
    assert_eq!(read(BinDialect::Latin1, ""), Some(vec![]));
}

#[test]
fn details_are_copied_where_a_peer_can_read_them() {
    let any = bytes(
        3,
        &cat(&[&bytes(1, b"t"), &bytes(2, b"\xff"), &number(9, 1)]),
    );
    let kept = |details: &[u8]| {
        let status = StatusHead {
            code: 2,
            message: "",
            details,
        };
        let (head, dropped) = close(status, 1_000);
        let whole = bytes(2, &cat(&[&number(1, 2), &any]));
        let without = bytes(2, &number(1, 2));
        match dropped {
            0 => assert_eq!(head, whole),
            1 => assert_eq!(head, without),
            _ => panic!("{dropped}"),
        }
        dropped == 0
    };
    assert!(kept(&cat(&[
        &number(1, 9),
        &bytes(2, b"other"),
        &any,
        &number(7, 7)
    ])));
    // Not a message; a string that is not UTF-8, which would end a known peer's tunnel.
    assert!(!kept(&any[..any.len() - 1]));
    assert!(!kept(&cat(&[&any, &bytes(3, &bytes(1, b"\xff"))])));
    assert!(!kept(&cat(&[&any, &bytes(2, b"\xff")])));
    assert!(!kept(&cat(&[&any, &bytes(3, &[0x0a, 1])])));
}

#[test]
fn a_status_that_fits_is_whole() {
    let any = bytes(3, &bytes(2, &[1; 100]));
    let status = StatusHead {
        code: 5,
        message: "short",
        details: &any,
    };
    let whole = bytes(2, &cat(&[&number(1, 5), &bytes(2, b"short"), &any]));
    let exact = (any.len() + 5) as u32;
    assert_eq!(close(status, exact), (whole, 0));
    let (head, dropped) = close(status, exact - 1);
    assert_eq!(dropped, 1);
    let text = String::from_utf8_lossy(&head);
    assert!(text.contains("short [details dropped"), "{text}");
    // An empty status is OK, and takes nothing.
    assert_eq!(close(StatusHead::default(), 0), (Vec::new(), 0));
}

#[test]
fn codes_are_written_as_protobuf_writes_them() {
    for (code, expected) in [(0, vec![]), (16, number(1, 16)), (-1, number(1, u64::MAX))] {
        let status = StatusHead {
            code,
            message: "m",
            details: b"",
        };
        let (head, _) = close(status, 100);
        assert_eq!(head, bytes(2, &cat(&[&expected, &bytes(2, b"m")])));
    }
}

#[test]
fn sinks_take_all_or_say_so() {
    let options = HeadOptions::default();
    let pairs: Pairs<'_> = &[("k", b"v")];
    let expected = entry("k", &[b"v"]);
    for room in 0..expected.len() {
        let mut memory = vec![7; room];
        let mut sink = SliceSink::new(&mut memory);
        let refused = encode_headers(&mut sink, pairs.iter().copied(), &options);
        assert_eq!(refused, Err(EncodeError::SinkFull));
        assert_eq!(memory, vec![7; room]);
    }
    let mut memory = vec![0; expected.len()];
    let mut sink = SliceSink::new(&mut memory);
    let _ = encode_headers(&mut sink, pairs.iter().copied(), &options).unwrap();
    assert_eq!(sink.room(), 0);
    assert_eq!(sink.put(b"x"), Err(SinkFull));
    assert_eq!(memory, expected);

    let mut fixed = heapless::Vec::<u8, 4>::from_slice(b"abc").unwrap();
    assert_eq!(fixed.reserve(2), Err(SinkFull));
    assert_eq!(fixed.put(b"de"), Err(SinkFull));
    assert_eq!((fixed.put(b"d"), &fixed[..]), (Ok(()), &b"abcd"[..]));
}

/// What is there stays there: a head is added to it.
#[cfg(feature = "alloc")]
#[test]
fn a_growing_sink_is_added_to() {
    let mut memory = b"before".to_vec();
    let pairs: Pairs<'_> = &[("k", b"v")];
    let options = HeadOptions::default();
    let encoded = encode_headers(&mut memory, pairs.iter().copied(), &options).unwrap();
    assert_eq!(memory, [&b"before"[..], &entry("k", &[b"v"])].concat());
    assert_eq!(encoded.len() as usize, memory.len() - 6);
}

#[test]
fn lengths_of_every_size_are_right() {
    let options = HeadOptions::default();
    for len in [
        0, 1, 119, 120, 121, 125, 127, 128, 16_370, 16_383, 16_384, 30_000,
    ] {
        let value = vec![b'v'; len];
        let (head, _) = headers(&[("k", &value), ("k", b"w")], &options).unwrap();
        assert_eq!(head, entry("k", &[&value, b"w"]), "{len}");
        let (head, _) = headers(&[("l", b""), ("k", &value)], &options).unwrap();
        assert_eq!(
            head,
            cat(&[&entry("l", &[b""]), &entry("k", &[&value])]),
            "{len}"
        );
    }
}

#[test]
fn a_set_of_extensions_has_what_was_put_in_and_not_taken_out() {
    let all = [
        Extension::RawMetadata,
        Extension::Transparent,
        Extension::Drain,
        Extension::Ping,
        Extension::Unprocessed,
    ];
    for one in all {
        let (without, only) = (
            ExtensionSet::ALL.without(one),
            ExtensionSet::EMPTY.with(one),
        );
        for other in all {
            assert!(ExtensionSet::ALL.contains(other));
            assert_eq!(without.contains(other), other != one);
            assert_eq!(only.contains(other), other == one);
        }
        assert_eq!(only.without(one), ExtensionSet::EMPTY);
        assert!(only.without(one).is_empty() && !only.is_empty());
        assert_eq!(only.intersection(without), ExtensionSet::EMPTY);
        assert_eq!(only.intersection(ExtensionSet::ALL), only);
    }
}
