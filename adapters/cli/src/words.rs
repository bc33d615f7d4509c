//! Failures in the words of whoever runs the program, without those of the libraries below.

use std::{error::Error, io};

use grpctunnel_driver::{TunnelEnd, error_chain};
use tonic::Code;

/// Why something failed, from the cause that is deepest in its chain of sources.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    let mut known = None;
    loop {
        if let Some(error) = deepest.downcast_ref::<io::Error>() {
            known = Some(io(error));
        } else if let Some(error) = deepest.downcast_ref::<h2::Error>()
            && let Some(reason) = error.reason()
        {
            known = Some(format!("HTTP/2 ended with {}", reason_name(reason)));
        } else if let Some(error) = deepest.downcast_ref::<hyper::Error>()
            && (error.is_canceled() || error.is_closed())
        {
            known = Some("the connection was closed".to_owned());
        }
        match deepest.source() {
            Some(source) => deepest = source,
            None => return known.unwrap_or_else(|| plain(&deepest.to_string())),
        }
    }
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

/// The last of a chain of causes that was written in one line, where it is prose.
fn cause(chain: &str) -> String {
    let last = plain(chain.rsplit(": ").next().unwrap_or(chain));
    match last.contains(['{', '}', '"', '(', ')']) {
        true => "the connection broke".to_owned(),
        false => last,
    }
}

/// How a tunnel ended.
pub(crate) fn end(end: &TunnelEnd) -> String {
    let mut text = match (end.error(), end.transport_error()) {
        (None, _) => "finished".to_owned(),
        (Some(_), Some(transport)) => cause(&error_chain(transport)),
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
pub(crate) fn reason_name(reason: h2::Reason) -> String {
    let name = match reason {
        h2::Reason::NO_ERROR => "NO_ERROR",
        h2::Reason::PROTOCOL_ERROR => "PROTOCOL_ERROR",
        h2::Reason::INTERNAL_ERROR => "INTERNAL_ERROR",
        h2::Reason::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
        h2::Reason::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
        h2::Reason::STREAM_CLOSED => "STREAM_CLOSED",
        h2::Reason::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
        h2::Reason::REFUSED_STREAM => "REFUSED_STREAM",
        h2::Reason::CANCEL => "CANCEL",
        h2::Reason::COMPRESSION_ERROR => "COMPRESSION_ERROR",
        h2::Reason::CONNECT_ERROR => "CONNECT_ERROR",
        h2::Reason::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
        h2::Reason::INADEQUATE_SECURITY => "INADEQUATE_SECURITY",
        h2::Reason::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED",
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
    fn the_last_cause_of_a_chain_is_told_if_it_is_prose() {
        let chain = "code: 'Unknown', source: hyper::Error(Body, ..): error reading a body: \
                     stream closed because of a broken pipe";
        assert_eq!(cause(chain), "stream closed because of a broken pipe");
        assert_eq!(cause("x: Error { kind: Io }"), "the connection broke");
    }

    #[test]
    fn the_cause_is_what_is_told() {
        let inner = io::Error::other("the peer speaks HTTP/1, not HTTP/2");
        assert_eq!(
            reason(&io::Error::other(inner)),
            "the peer speaks HTTP/1, not HTTP/2"
        );
        assert_eq!(
            reason(&h2::Error::from(h2::Reason::PROTOCOL_ERROR)),
            "HTTP/2 ended with PROTOCOL_ERROR"
        );
    }
}
