//! gRPC statuses, and their form in HTTP headers and trailers.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use bytes::Bytes;
use grpctunnel_core::Code;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::grpc::headers::{
    BASE64, GRPC_CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS, GRPC_STATUS_DETAILS, is_grpc,
};

/// What `grpc-message` escapes; everything that is not ASCII is escaped too.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// How a call, or the opening of a tunnel, ended: a gRPC status.
///
/// It is displayed in one line: control characters in its text are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: Code,
    message: Cow<'static, str>,
    details: Bytes,
    /// No handler saw the call, which may succeed at another try.
    unprocessed: bool,
}

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Bytes::new(),
            unprocessed: false,
        }
    }

    pub(crate) fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.code == Code::Ok
    }

    /// Whether no handler saw the call, which may succeed at another try.
    pub(crate) const fn is_unprocessed(&self) -> bool {
        self.unprocessed
    }

    /// The same, marked as that of a call that no handler saw, if it is an error.
    pub(crate) fn with_mark(mut self, unprocessed: bool) -> Self {
        self.unprocessed = unprocessed && !self.is_ok();
        self
    }

    /// The same with details: a serialized `google.rpc.Status`, byte for byte as given.
    #[must_use]
    pub fn with_details(mut self, details: Bytes) -> Self {
        self.details = details;
        self
    }

    /// The status of a number on the wire; one that gRPC does not define is UNKNOWN, and kept in
    /// the text.
    pub(crate) fn from_wire(code: i32, message: &str, details: Bytes) -> Self {
        let status = match Code::from_i32(code) {
            Some(code) => Self::new(code, message.to_owned()),
            None if message.is_empty() => {
                Self::new(Code::Unknown, format!("undefined status code {code}"))
            }
            None => Self::new(
                Code::Unknown,
                format!("undefined status code {code}: {message}"),
            ),
        };
        status.with_details(details)
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details: a serialized `google.rpc.Status` as in `grpc-status-details-bin`, or nothing.
    #[must_use]
    pub const fn details(&self) -> &Bytes {
        &self.details
    }

    /// Reads `grpc-status` and what belongs to it; `None` if there is none. Of several values of a
    /// header the last counts, as in gRPC's C core.
    ///
    /// A code that is not a number is UNKNOWN; text that is not UTF-8 is replaced; details that are
    /// not base64 are dropped.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let last = |name: &HeaderName| headers.get_all(name).iter().next_back();
        let code = last(&GRPC_STATUS)?.as_bytes();
        let message = last(&GRPC_MESSAGE).map_or_else(
            || Cow::Borrowed(""),
            |message| percent_decode(message.as_bytes()).decode_utf8_lossy(),
        );
        let details = last(&GRPC_STATUS_DETAILS)
            .and_then(|details| BASE64.decode(details.as_bytes()).ok())
            .map_or_else(Bytes::new, Bytes::from);
        let number = str::from_utf8(code).ok().and_then(|code| code.parse().ok());
        Some(match number {
            Some(number) => Self::from_wire(number, &message, details),
            None => {
                let code = String::from_utf8_lossy(code);
                Self::new(
                    Code::Unknown,
                    format!("malformed grpc-status {code:?}: {message}"),
                )
                .with_details(details)
            }
        })
    }

    /// Writes `grpc-status` and what belongs to it, in place of what is there.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, code_value(self.code));
        headers.remove(GRPC_MESSAGE);
        headers.remove(GRPC_STATUS_DETAILS);
        if !self.message.is_empty() {
            let message: Cow<'_, str> = utf8_percent_encode(&self.message, MESSAGE).into();
            if let Ok(value) = HeaderValue::from_str(&message) {
                headers.insert(GRPC_MESSAGE, value);
            }
        }
        if !self.details.is_empty()
            && let Ok(value) = HeaderValue::try_from(BASE64.encode(&self.details))
        {
            headers.insert(GRPC_STATUS_DETAILS, value);
        }
    }

    /// A response that is its headers alone, with this status: gRPC's Trailers-Only. `body` is an
    /// empty body.
    pub fn trailers_only<B>(&self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
        self.write_headers(headers);
        response
    }

    /// The status in the head of a response: `grpc-status` if the head `is_all` of it (gRPC's
    /// Trailers-Only), or the one that stands for an HTTP error or another content type, unless the
    /// head has an error of its own. `None`: messages or trailers follow, and the trailers decide. A
    /// response without a content type is accepted.
    pub(crate) fn of_response(response: &Parts, is_all: bool) -> Option<Self> {
        let headers = &response.headers;
        let own = Self::from_headers(headers);
        if is_all && own.is_some() {
            return own;
        }
        let error = own.filter(|status| !status.is_ok());
        if response.status != StatusCode::OK {
            return error.or_else(|| Some(Self::from_http(response.status)));
        }
        let content_type = headers.get(CONTENT_TYPE)?;
        if is_grpc(headers) {
            return None;
        }
        error.or_else(|| Some(Self::not_grpc(Some(content_type))))
    }

    /// The status of a response that is not gRPC.
    pub(crate) fn not_grpc(content_type: Option<&HeaderValue>) -> Self {
        let content_type = content_type
            .map(HeaderValue::as_bytes)
            .map(String::from_utf8_lossy);
        Self::new(
            Code::Unknown,
            match content_type {
                Some(found) => format!(
                    "the response is not gRPC: its content-type is {found:?}, expected \
                     application/grpc"
                ),
                None => "the response is not gRPC: it has no content-type, expected \
                         application/grpc"
                    .to_owned(),
            },
        )
    }

    /// The status of an HTTP response that has none of its own, by gRPC's table.
    fn from_http(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        Self::new(
            code,
            format!("the response is HTTP {status}, without a gRPC status"),
        )
    }
}

fn code_value(code: Code) -> HeaderValue {
    HeaderValue::from_static(match code {
        Code::Ok => "0",
        Code::Cancelled => "1",
        Code::Unknown => "2",
        Code::InvalidArgument => "3",
        Code::DeadlineExceeded => "4",
        Code::NotFound => "5",
        Code::AlreadyExists => "6",
        Code::PermissionDenied => "7",
        Code::ResourceExhausted => "8",
        Code::FailedPrecondition => "9",
        Code::Aborted => "10",
        Code::OutOfRange => "11",
        Code::Unimplemented => "12",
        Code::Internal => "13",
        Code::Unavailable => "14",
        Code::DataLoss => "15",
        Code::Unauthenticated => "16",
    })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", OneLine(&self.message))?;
        }
        Ok(())
    }
}

/// Text of the peer in one line: control characters, which terminals and logs interpret, are
/// escaped.
pub(crate) struct OneLine<'t>(pub(crate) &'t str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bad =
            |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
        for part in self.0.split_inclusive(is_bad) {
            let mut letters = part.chars();
            match letters.next_back() {
                Some(last) if is_bad(last) => {
                    write!(f, "{}{}", letters.as_str(), last.escape_default())?
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Bytes of another's text that a caller is told.
const MAX_EXCERPT: usize = 256;

/// The beginning of a text, in one line: what a remote caller is told of an error or of a peer.
pub(crate) fn excerpt(text: &str) -> String {
    let mut excerpt = OneLine(text).to_string();
    if excerpt.len() > MAX_EXCERPT {
        let ends = excerpt.char_indices().map(|(start, _)| start);
        let end = ends.take_while(|end| *end <= MAX_EXCERPT).last();
        excerpt.truncate(end.unwrap_or(0));
        excerpt.push_str("...");
    }
    excerpt
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_a32_a_text_is_one_line_whatever_the_peer_says() {
        for (text, line) in [
            ("", "Unknown"),
            ("n\u{f6}thing: 100%", "Unknown: n\u{f6}thing: 100%"),
            ("a\r\nb\n", "Unknown: a\\r\\nb\\n"),
            (
                "\u{1b}[2J\u{85}\u{2028}",
                "Unknown: \\u{1b}[2J\\u{85}\\u{2028}",
            ),
        ] {
            assert_eq!(Status::new(Code::Unknown, text).to_string(), line);
        }
    }

    fn round(status: &Status) -> Option<Status> {
        let mut headers = HeaderMap::new();
        status.write_headers(&mut headers);
        Status::from_headers(&headers)
    }

    #[test]
    fn a_status_survives_headers() {
        let status = Status::new(Code::DataLoss, "nö: % bad\n")
            .with_details(Bytes::from_static(&[8, 15, 0xff, 0]));
        assert_eq!(round(&status), Some(status));
        assert_eq!(round(&Status::ok()), Some(Status::ok()));
    }

    #[test]
    fn every_code_is_written_as_its_number() {
        for number in 0..=16 {
            let code = Code::from_i32(number).unwrap();
            assert_eq!(code_value(code), number.to_string());
        }
    }

    #[test]
    fn the_message_is_percent_encoded() {
        let mut headers = HeaderMap::new();
        Status::new(Code::Internal, "a b~é%\n").write_headers(&mut headers);
        assert_eq!(headers["grpc-message"], "a b~%C3%A9%25%0A");
    }

    #[test]
    fn conf_121_an_undefined_code_is_unknown_and_named() {
        for (number, text) in [(99, "99"), (-1, "-1")] {
            let status = Status::from_wire(number, "why", Bytes::new());
            assert_eq!(status.code(), Code::Unknown);
            assert!(status.message().contains(text), "{status}");
            assert!(status.message().contains("why"), "{status}");
        }
    }

    #[test]
    fn conf_181_a_message_that_is_not_utf_8_keeps_its_code() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("5"));
        headers.insert("grpc-message", HeaderValue::from_static("a%FFb"));
        let status = Status::from_headers(&headers).unwrap();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "a\u{fffd}b");
    }

    #[test]
    fn details_are_read_with_and_without_padding() {
        for value in ["CAU=", "CAU"] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static("5"));
            headers.insert("grpc-status-details-bin", HeaderValue::from_static(value));
            let status = Status::from_headers(&headers).unwrap();
            assert_eq!(status.details().as_ref(), [8, 5], "{value}");
        }
    }

    #[test]
    fn an_http_status_becomes_a_code() {
        let table = [
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
            (418, Code::Unknown),
            (500, Code::Unknown),
        ];
        for (http, code) in table {
            let status = Status::from_http(StatusCode::from_u16(http).unwrap());
            assert_eq!(status.code(), code, "{http}");
        }
    }
}
