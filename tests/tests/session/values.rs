//! Metadata and status of a session: values that own what they say.

use grpctunnel_core::wire::BinDialect;

use super::*;

#[test]
fn metadata_keeps_the_values_of_a_key_together() {
    let mut metadata = OwnedMetadata::new();
    assert!(metadata.is_empty());
    metadata.append("a", "1");
    metadata.append("b", "2");
    metadata.append("a", "3");
    let pairs = [("a", "1"), ("a", "3"), ("b", "2")].map(|(key, value)| (key, value.as_bytes()));
    assert!(metadata.iter().eq(pairs));
    assert_eq!(metadata.get("a"), Some(&b"3"[..]));
    metadata.insert("a", "4");
    let values: Vec<_> = metadata.get_all("a").collect();
    assert_eq!(values, [b"4"]);
    metadata.remove("a");
    assert_eq!((metadata.get("a"), metadata.is_empty()), (None, false));
}

#[test]
fn a_status_arrives_with_its_details() {
    // A google.rpc.Status: code 5, message "m", one Any of type "t".
    let details = [8, 5, 0x12, 1, b'm', 0x1a, 3, 0x0a, 1, b't'];
    let mut status = OwnedStatus::new(Code::NotFound, "m");
    status.details = details.to_vec();
    let mut two = Two::new();
    let (ours, theirs) = two.open(MethodKind::Bidi);
    two.ends[SERVER].close(theirs, &status).unwrap();
    two.rest();
    assert_eq!(two.ended(CLIENT, ours).status, status);
}

/// To a peer that has no `RAW_METADATA`: one dialect carries any bytes, the other one refuses what is
/// no text rather than send what its peer would end the tunnel over.
#[test]
fn binary_values_without_an_extension_go_as_their_dialect_says() {
    let any: Vec<u8> = (0..=u8::MAX).collect();
    let any = OwnedMetadata::from_iter([("a-bin", any.as_slice()), ("text", b"plain")]);
    let text = OwnedMetadata::from_iter([("a-bin", "text, \u{e4}")]);
    for (dialect, carries_any) in [(BinDialect::Latin1, true), (BinDialect::default(), false)] {
        let now = Time::ZERO;
        let mut config = settings();
        config.bin_dialect = dialect;
        let opening = Opening::Accepted(Negotiation::Off);
        let mut client = Session::grpc(now, config.clone(), Side::Client, opening).unwrap();
        let mut server = Session::grpc(now, config, Side::Server, opening).unwrap();
        for (metadata, carried) in [(&any, carries_any), (&text, true)] {
            let opened = client.open("a/B", metadata, OpenOptions::default());
            let not_text = Err(OpenCallError::Head(EncodeError::MetadataNotUtf8));
            assert_eq!(opened == not_text, !carried, "{dialect:?} {opened:?}");
            let mut bytes = Vec::new();
            client.poll_bytes(now, &mut bytes);
            server.handle_bytes(now, &bytes).unwrap();
            let came = server.accept().map(|call| call.metadata);
            assert_eq!(came.as_ref(), carried.then_some(metadata), "{dialect:?}");
        }
    }
}

#[test]
fn what_is_shown_holds_no_value_and_no_message() {
    let mut two = Two::new();
    let (ours, _) = two.open(MethodKind::Bidi);
    two.ends[CLIENT].send(ours, b"secret").unwrap();
    let shown = format!("{:?}", two.ends[CLIENT]);
    assert!(
        shown.contains("Session") && !shown.contains("secret"),
        "{shown}"
    );
    let metadata = OwnedMetadata::from_iter([("password", "secret")]);
    assert_eq!(format!("{metadata:?}"), r#"["password"]"#);
}

#[test]
fn a_status_is_shown_with_its_code() {
    let status = OwnedStatus::new(Code::NotFound, "no such file");
    assert_eq!(status.to_string(), "NotFound: no such file");
    let mut other = status;
    other.code = 99;
    assert_eq!(other.to_string(), "code 99: no such file");
    assert_eq!(other.code(), Code::Unknown);
}
