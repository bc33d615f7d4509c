//! The headers that mean something to HTTP/2 or to gRPC itself.

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(crate) const GRPC_STATUS_DETAILS: HeaderName =
    HeaderName::from_static("grpc-status-details-bin");
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(crate) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub(crate) const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The key of a call's authority in metadata, of the extension `TRANSPARENT`.
pub(crate) const AUTHORITY: &str = ":authority";

/// The encoding of messages that are not compressed.
pub(crate) const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// The `content-type` of gRPC messages in an encoding that is not named: `application/grpc`.
pub const GRPC_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// The base64 of binary headers: written without padding, read with or without.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whether a request or response with these headers is gRPC: its `content-type` is
/// `application/grpc`, alone or with a message encoding (`+proto`) or parameters behind it. That of
/// gRPC-Web is not.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(is_grpc_content_type)
}

fn is_grpc_content_type(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .strip_prefix(GRPC_CONTENT_TYPE.as_bytes())
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether a header stays on its side of a tunnel, in either direction: HTTP/2 or gRPC sets it
/// for each connection, or it would let a peer speak for the HTTP stack that carries a call.
pub(crate) fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "grpc-accept-encoding"
            | "grpc-encoding"
            | "grpc-message"
            | "grpc-message-type"
            | "grpc-status"
            | "grpc-status-details-bin"
            | "grpc-timeout"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    ) || name.starts_with(':')
}

/// Whether a reserved header is one that the extension `TRANSPARENT` carries.
pub(crate) fn is_transparent(name: &str) -> bool {
    matches!(
        name,
        "content-type" | "grpc-accept-encoding" | "grpc-encoding"
    )
}

/// The first header of the extension `TRANSPARENT` that no peer would take. A header that is not
/// there is none.
pub(crate) fn transparent_fault(headers: &HeaderMap) -> Option<HeaderName> {
    let is_bad = |name: &HeaderName| !is_good(headers, name);
    [CONTENT_TYPE, GRPC_ENCODING].into_iter().find(is_bad)
}

/// Whether a header of the extension `TRANSPARENT` is missing, or one that a peer takes.
pub(crate) fn is_good(headers: &HeaderMap, name: &HeaderName) -> bool {
    let is_valid: fn(&HeaderValue) -> bool = match name.as_str() {
        "content-type" => |value| is_grpc_content_type(value) && is_printable(value),
        "grpc-encoding" => |value| is_token(value.as_bytes()),
        _ => return true,
    };
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    second.is_none() && first.is_none_or(is_valid)
}

fn is_printable(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether the bytes are a token of HTTP (RFC 9110, 5.6.2).
fn is_token(value: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !value.is_empty() && value.iter().all(is_allowed)
}

/// Whether the headers of a request say that its messages may be compressed.
pub(crate) fn names_encoding(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(GRPC_ENCODING).iter();
    encodings.any(|encoding| encoding != IDENTITY)
}

/// Removes the headers of the extension `TRANSPARENT` that have no place in trailers.
pub(crate) fn remove_transparent(trailers: &mut HeaderMap) {
    for name in [CONTENT_TYPE, GRPC_ENCODING, GRPC_ACCEPT_ENCODING] {
        trailers.remove(name);
    }
}

/// Whether values of this key are binary.
pub(crate) fn is_binary(name: &str) -> bool {
    name.ends_with("-bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_grpc(&headers), expected, "{content_type:?}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
