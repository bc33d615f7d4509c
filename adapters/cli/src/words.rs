//! Failures in the words of whoever runs the program, without those of the libraries below.

use std::{error::Error, io};

use grpctunnel_driver::{ConnectError, Interruption, TunnelEnd, error_sources};
use grpctunnel_http2::{Error as HttpError, ErrorKind, Reason};
use tokio_rustls::rustls::{Error as TlsError, InvalidMessage};
use tonic::Code;

use crate::tls::{HandshakeError, explain, is_refusal_of_ours};

/// Why something failed, from the cause that is deepest in its chain of sources.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut known = None;
    let mut deepest = error;
    for error in error_sources(error) {
        deepest = error;
        if let Some(error) = error.downcast_ref::<HandshakeError>() {
            return error.to_string();
        }
        if let Some(error) = tls(error) {
            return explain(error, "the other end");
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            known = Some(io(error));
        } else if let Some(error) = error.downcast_ref::<HttpError>() {
            known = Some(match error.reason() {
                Some(reason) => format!("HTTP/2 ended with {}", reason_name(reason)),
                None => error.to_string(),
            });
        }
    }
    known.unwrap_or_else(|| plain(&deepest.to_string()))
}

/// The error of TLS that an error is, or has in it: IO errors do not name it as their source.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let inner = inner.and_then(|inner| inner.downcast_ref::<TlsError>());
    inner.or_else(|| error.downcast_ref())
}

/// Whether the other end refused the certificate of this end, or the lack of one.
pub(crate) fn refuses_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut errors = error_sources(error).filter_map(|error| tls(error));
    errors.any(is_refusal_of_ours)
}

/// What a server speaks that does not speak what it was asked to.
pub(crate) fn spoken(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut errors = error_sources(error).filter_map(|error| tls(error));
    let plaintext = TlsError::InvalidMessage(InvalidMessage::InvalidContentType);
    if errors.any(|error| *error == plaintext) {
        return Some("it speaks plaintext, not TLS; use http:// there");
    }
    let refused = |error: &(dyn Error + 'static)| {
        let error = error.downcast_ref::<HttpError>()?;
        error
            .reason()
            .filter(|reason| *reason == Reason::INADEQUATE_SECURITY)
    };
    if error_sources(error).find_map(refused).is_some() {
        return Some("it speaks TLS; use https:// there");
    }
    let errors = error_sources(error);
    let mut kinds = errors.filter_map(|error| Some(error.downcast_ref::<HttpError>()?.kind()));
    kinds.find_map(|kind| match kind {
        ErrorKind::Http1 => Some("it speaks HTTP/1, not HTTP/2 without TLS (h2c)"),
        ErrorKind::Tls => Some("it speaks TLS; use https:// there"),
        ErrorKind::NotHttp2 => Some("it does not speak HTTP/2"),
        _ => None,
    })
}

/// An error of the system, without its number.
pub(crate) fn io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::BrokenPipe => "the connection was closed".to_owned(),
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => plain(&error.to_string()),
    }
}

/// A text without the numbers that the standard library puts behind errors of the system.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

/// How a tunnel ended.
pub(crate) fn end(end: &TunnelEnd) -> String {
    let mut text = match (end.error(), end.transport_error()) {
        (None, _) => "finished".to_owned(),
        (Some(_), Some(transport)) => reason(transport),
        (Some(error), None) => error.to_string(),
    };
    if let Some(status) = end.peer_status() {
        let said = [
            code_name(Code::from(status.code().as_i32())),
            status.message(),
        ];
        let said: Vec<_> = said.into_iter().filter(|part| !part.is_empty()).collect();
        text = format!("{text}; the other end said {}", said.join(": "));
    }
    // What the peer says is printed in one line.
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// Why a tunnel to a gateway is not there.
pub(crate) fn interruption(why: &Interruption) -> String {
    match why {
        Interruption::NotDialled(error) => error.to_string(),
        Interruption::Refused(error) | Interruption::NotOpened(error) => not_opened(error),
        Interruption::Drained(_) => "the gateway drained it".to_owned(),
        Interruption::Replaced(tunnel) => {
            format!("the gateway replaced it by another one: {}", end(tunnel))
        }
        why => why.end().map_or_else(|| why.to_string(), end),
    }
}

/// Why a tunnel was not opened.
fn not_opened(error: &ConnectError) -> String {
    if let Some(spoken) = error
        .end()
        .transport_error()
        .and_then(|error| spoken(error))
    {
        return format!("this is no grpctunnel gateway: {spoken}");
    }
    let end = end(error.end());
    match (Code::from(error.code().as_i32()), error.end().peer_status()) {
        (Code::Unimplemented | Code::Unknown, Some(_)) => {
            format!("this is no grpctunnel gateway: {end}")
        }
        (Code::DeadlineExceeded, None) => {
            "the gateway did not answer the opening of the tunnel in time".to_owned()
        }
        (_, Some(_)) => format!("the gateway refused the tunnel: {end}"),
        (_, None) => format!("the tunnel was not opened: {end}"),
    }
}

/// The name of a code, as gRPC writes it.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The name of an HTTP/2 error code, as RFC 9113 writes it.
pub(crate) fn reason_name(reason: Reason) -> String {
    let name = match reason {
        Reason::NO_ERROR => "NO_ERROR",
        Reason::PROTOCOL_ERROR => "PROTOCOL_ERROR",
        Reason::INTERNAL_ERROR => "INTERNAL_ERROR",
        Reason::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
        Reason::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
        Reason::STREAM_CLOSED => "STREAM_CLOSED",
        Reason::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
        Reason::REFUSED_STREAM => "REFUSED_STREAM",
        Reason::CANCEL => "CANCEL",
        Reason::COMPRESSION_ERROR => "COMPRESSION_ERROR",
        Reason::CONNECT_ERROR => "CONNECT_ERROR",
        Reason::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
        Reason::INADEQUATE_SECURITY => "INADEQUATE_SECURITY",
        Reason::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED",
        other => return format!("error code {}", u32::from(other)),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_has_no_number() {
        assert_eq!(
            plain("no such file (os error 2): try again (os error 11)"),
            "no such file: try again"
        );
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(reason(&refused), "connection refused");
    }

    #[test]
    fn the_cause_is_what_is_told() {
        let inner = io::Error::other("the peer speaks HTTP/1, not HTTP/2");
        assert_eq!(
            reason(&io::Error::other(inner)),
            "the peer speaks HTTP/1, not HTTP/2"
        );
        assert_eq!(
            reason(&HttpError::refused()),
            "HTTP/2 ended with REFUSED_STREAM"
        );
    }
}
