//! Why no connection was made, and what HTTP/2's errors are in gRPC.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use grpctunnel_http2::{ErrorKind, Reason};
use tonic::{Code, Status};

/// Why no connection was made.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The URI is none that can be connected to. It says what is missing.
    Uri(String),
    /// No connection was made within
    /// [`connect_timeout`](crate::Endpoint::with_connect_timeout).
    Timeout(Duration),
    /// The host was not found, or takes no connections.
    Tcp(io::Error),
    /// The TLS handshake failed.
    Tls(io::Error),
    /// The peer does not speak HTTP/2, or did not answer in time.
    Http2(grpctunnel_http2::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(what) => f.write_str(what),
            Self::Timeout(limit) => write!(f, "no connection was made within {limit:?}"),
            Self::Tcp(_) => f.write_str("no TCP connection was made"),
            Self::Tls(_) => f.write_str("the TLS handshake failed"),
            Self::Http2(_) => f.write_str("no HTTP/2 connection was made"),
        }
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Uri(_) | Self::Timeout(_) => None,
            Self::Tcp(error) | Self::Tls(error) => Some(error),
            Self::Http2(error) => Some(error),
        }
    }
}

/// The status of a call that failed below gRPC, by the mapping of gRPC's HTTP/2 protocol. The
/// error is its source.
pub(crate) fn status(error: grpctunnel_http2::Error) -> Status {
    let code = match error.kind() {
        ErrorKind::RequestBody => return Status::from_error(Box::new(error)),
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::InvalidRequest => Code::Internal,
        ErrorKind::HeadersTooLarge { grpc_status, .. } => match grpc_status {
            Some(code) if *code != 0 => i32::try_from(*code).map_or(Code::Unknown, Code::from_i32),
            _ => Code::ResourceExhausted,
        },
        ErrorKind::Reset => match error.reason() {
            Some(Reason::REFUSED_STREAM) => Code::Unavailable,
            Some(Reason::CANCEL) => Code::Cancelled,
            Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
            Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
            _ => Code::Internal,
        },
        _ => Code::Unavailable,
    };
    let mut status = Status::new(code, error.to_string());
    status.set_source(Arc::new(error));
    status
}
