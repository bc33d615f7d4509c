//! The authority of a call, which the core of the peer checks.

use grpctunnel_core::wire::{
    DecodeLimits, ExtensionSet, HeadOptions, ServerKind, decode_server, encode_headers,
};
use http::uri::Authority;

/// Whether the core's own check of an authority lets this one pass: it judges request heads as it
/// judges response heads.
fn is_taken(authority: &str) -> Option<bool> {
    let options = HeadOptions {
        extensions: ExtensionSet::ALL,
        ..HeadOptions::default()
    };
    let pair = [(":authority", authority.as_bytes())];
    let mut head = Vec::new();
    let _ = encode_headers(&mut head, pair.into_iter(), &options).ok()?;
    let len = u8::try_from(head.len()).ok()?;
    let frame = [&[8, 1, 0x12, len], head.as_slice()].concat();
    match decode_server(&frame, &DecodeLimits::default()).ok()?.kind {
        ServerKind::Headers(headers) => Some(headers.transparent.fault().is_none()),
        _ => None,
    }
}

#[test]
fn every_authority_of_a_uri_is_one_that_a_peer_takes() {
    for letter in 0..=127_u8 {
        let text = format!("a{}b", char::from(letter));
        if text.parse::<Authority>().is_ok() {
            assert_eq!(is_taken(&text), Some(true), "{text:?}");
        }
    }
}
