use grpctunnel_core::{Config, Growing, Input, Negotiation, Opening, Time, TunnelServer};
use http::HeaderValue;

use super::*;

/// A length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        field.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    field.push(u8::try_from(len).unwrap());
    field.extend_from_slice(bytes);
    field
}

/// What becomes of metadata that a peer sends with a call.
fn received(entries: &[(&str, &[&str])], dialect: BinDialect) -> Result<HeaderMap, BadMetadata> {
    let mut new_stream = field(1, b"s/M");
    let mut metadata = Vec::new();
    for (key, values) in entries {
        let values: Vec<u8> = values
            .iter()
            .flat_map(|value| field(1, value.as_bytes()))
            .collect();
        let entry = [field(1, key.as_bytes()), field(2, &values)].concat();
        metadata.extend(field(1, &entry));
    }
    new_stream.extend(field(2, &metadata));
    let frame = [vec![8, 1], field(2, &new_stream)].concat();
    let opening = Opening::Accepted(Negotiation::Off);
    let mut tunnel = TunnelServer::<Growing>::new(Time::ZERO, Config::default(), opening).unwrap();
    match tunnel.handle_frame(Time::ZERO, &frame).unwrap() {
        Input::Opened { metadata, .. } => to_headers(&metadata, read_options(dialect)),
        other => panic!("{other:?}"),
    }
}

fn read_options(dialect: BinDialect) -> ReadOptions {
    ReadOptions {
        extensions: ExtensionSet::EMPTY,
        dialect,
    }
}

fn values<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect()
}

#[test]
fn conf_053_a_key_without_values_is_no_header() {
    let headers = received(&[("a", &[]), ("b", &[""])], BinDialect::Utf8Bytes).unwrap();
    assert!(headers.get("a").is_none());
    assert_eq!(values(&headers, "b"), [""]);
}

#[test]
fn conf_054_keys_that_differ_in_case_are_one() {
    let entries: &[(&str, &[&str])] = &[
        ("Foo", &["1"]),
        ("foo", &["2", "3"]),
        ("FOO", &["4"]),
        ("Foo", &["5"]),
    ];
    let headers = received(entries, BinDialect::Utf8Bytes).unwrap();
    assert_eq!(values(&headers, "foo"), ["2", "3", "4", "5"]);
}

#[test]
fn the_last_entry_of_a_key_counts() {
    let entries: &[(&str, &[&str])] = &[("a", &["1", "2"]), ("b", &["3"]), ("a", &["4"])];
    let headers = received(entries, BinDialect::Utf8Bytes).unwrap();
    assert_eq!(values(&headers, "a"), ["4"]);
    assert_eq!(values(&headers, "b"), ["3"]);
}

#[test]
fn conf_055_what_means_something_to_http_or_grpc_is_stripped() {
    let stripped = [
        ":path",
        ":authority",
        "te",
        "content-type",
        "content-length",
        "connection",
        "transfer-encoding",
        "upgrade",
        "host",
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "grpc-encoding",
        "grpc-accept-encoding",
        "grpc-timeout",
        "Grpc-Encoding",
    ];
    let mut entries: Vec<(&str, &[&str])> = vec![("authorization", &["yes"])];
    entries.extend(stripped.map(|key| (key, &["x"] as &[&str])));
    let headers = received(&entries, BinDialect::Utf8Bytes).unwrap();
    assert_eq!(headers.len(), 1);
    assert_eq!(headers["authorization"], "yes");

    let mut headers: HeaderMap = stripped
        .iter()
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .map(|name| (name, HeaderValue::from_static("x")))
        .collect();
    headers.insert("user-agent", HeaderValue::from_static("me"));
    let pairs = to_metadata(&headers, ExtensionSet::EMPTY).unwrap();
    assert_eq!(pairs, [("user-agent", Cow::Borrowed(&b"me"[..]))]);
}

#[test]
fn conf_056_what_no_header_can_be_is_refused() {
    for key in ["", "x y", "k\r\n", "é"] {
        let refused = received(&[(key, &["v"])], BinDialect::Utf8Bytes);
        assert_eq!(refused, Err(BadMetadata::Key), "{key:?}");
    }
    for value in ["a\r\nb: c", "a\nb", "a\0"] {
        let refused = received(&[("k", &[value])], BinDialect::Utf8Bytes);
        assert_eq!(refused, Err(BadMetadata::Value), "{value:?}");
    }
}

#[test]
fn conf_058_binary_values_are_bytes_on_the_wire_and_base64_in_headers() {
    let headers = received(&[("k-bin", &["h\u{e9}", ""])], BinDialect::Utf8Bytes).unwrap();
    assert_eq!(values(&headers, "k-bin"), ["aMOp", ""]);
    let headers = received(&[("k-bin", &["h\u{e9}"])], BinDialect::Latin1).unwrap();
    assert_eq!(values(&headers, "k-bin"), ["aOk"]);
    let refused = received(&[("k-bin", &["\u{100}"])], BinDialect::Latin1);
    assert_eq!(refused, Err(BadMetadata::Dialect));
}

#[test]
fn binary_headers_are_read_with_and_without_padding_and_several_on_a_line() {
    let mut headers = HeaderMap::new();
    headers.append("k-bin", HeaderValue::from_static("aGk=, aGk,AA"));
    headers.append("k-bin", HeaderValue::from_static("/w"));
    let pairs = to_metadata(&headers, ExtensionSet::EMPTY).unwrap();
    let values: Vec<&[u8]> = pairs.iter().map(|(_, value)| value.as_ref()).collect();
    assert_eq!(values, [&b"hi"[..], b"hi", &[0], &[0xff]]);
    headers.append("k-bin", HeaderValue::from_static("!"));
    assert_eq!(
        to_metadata(&headers, ExtensionSet::EMPTY),
        Err(BadMetadata::NotBase64)
    );
}
