//! Headers that HTTP/2 has other means for, and how large a header list is.

use http::header::{self, HeaderMap, HeaderName};

/// Bytes that a field counts beside its name and value, RFC 9113, section 6.5.2.
const FIELD: usize = 32;

/// Headers that belong to one HTTP/1 connection, RFC 9113, section 8.2.2.
const CONNECTION_SPECIFIC: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes headers that must not be in HTTP/2.
pub(crate) fn remove_connection_specific(headers: &mut HeaderMap) {
    for name in &CONNECTION_SPECIFIC {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
}

/// The size of a header list by HTTP/2's count.
pub(crate) fn list_size(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| field_size(name.as_str(), value.as_bytes()))
        .sum()
}

/// The size of one field.
pub(crate) const fn field_size(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + FIELD
}

/// The gRPC status among headers, if they have one that is a number. Of several the last counts.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let last = headers.get_all("grpc-status").iter().next_back()?;
    last.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_belongs_to_one_connection_stays_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("x-stays", "1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        remove_connection_specific(&mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x-stays"], "1");
        assert_eq!(list_size(&headers), (2 + 8 + 32) + (7 + 1 + 32));

        headers.insert("te", HeaderValue::from_static("gzip"));
        remove_connection_specific(&mut headers);
        assert!(!headers.contains_key("te"));
    }
}
