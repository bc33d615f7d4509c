//! Why a call or a connection failed.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use grpctunnel_driver::{BoxError, NeverProcessed};
use h2::Reason;
use http::HeaderMap;

use crate::headers::{grpc_status, list_size};

/// Why a call or a connection failed.
///
/// Its [`source`](StdError::source) is the `io::Error` or the `h2::Error` that caused it, where one
/// did. For a call that nobody processed a [`NeverProcessed`] comes between the two, so that a
/// tunnel's handler that fails with this error tells its caller.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    reason: Option<Reason>,
    /// Set where the call was certainly not processed; then it holds the source.
    unprocessed: Option<NeverProcessed>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The peer did not show in time that it speaks HTTP/2:
    /// [`handshake_timeout`](crate::Settings::handshake_timeout).
    HandshakeTimeout(Duration),
    /// The peer speaks HTTP/1.
    Http1,
    /// The peer speaks TLS.
    Tls,
    /// The peer answered with something that is no protocol this crate knows.
    NotHttp2,
    /// Nothing was received after a keepalive ping:
    /// [`keepalive_timeout`](crate::Settings::keepalive_timeout).
    KeepaliveTimeout(Duration),
    /// Calls were open when the grace of a [shutdown](crate::Connection::shutdown) was over.
    GraceExpired,
    /// The connection was lost, or a peer broke HTTP/2's rules on it.
    Connection,
    /// The call was to be made on a connection that had ended, or is ending.
    Closed,
    /// The peer refused the stream (`REFUSED_STREAM`), or said by GOAWAY that it will not process
    /// it.
    Refused,
    /// The peer reset the stream, or broke HTTP/2's rules on it.
    Reset,
    /// This end ended the stream.
    Cancelled,
    /// A head or trailers exceed [`max_header_list`](crate::Settings::max_header_list).
    HeadersTooLarge {
        /// Whether these were trailers.
        trailers: bool,
        /// Bytes that were received, by HTTP/2's count.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
        /// The `grpc-status` among them, if it could be read.
        grpc_status: Option<u32>,
    },
    /// The caller's own request body failed, so the call was cancelled.
    RequestBody,
    /// The request cannot be sent by HTTP/2.
    InvalidRequest,
}

impl Error {
    pub(crate) const fn new(kind: ErrorKind) -> Self {
        Self {
            kind,
            reason: None,
            unprocessed: None,
            source: None,
        }
    }

    /// The error of a service that has not touched a request and wants it to be made again
    /// elsewhere: a server answers `REFUSED_STREAM`, and gRPC clients retry by themselves.
    #[must_use]
    pub fn refused() -> Self {
        Self {
            reason: Some(Reason::REFUSED_STREAM),
            unprocessed: Some(NeverProcessed::new()),
            ..Self::new(ErrorKind::Refused)
        }
    }

    /// A call that was not sent, as its connection had ended for this reason.
    pub(crate) fn closed(cause: Option<Self>) -> Self {
        Self {
            reason: cause.as_ref().and_then(Self::reason),
            unprocessed: Some(cause.map_or_else(NeverProcessed::new, NeverProcessed::because)),
            ..Self::new(ErrorKind::Closed)
        }
    }

    /// The error of a head or of trailers that are too large, if they are.
    pub(crate) fn if_too_large(headers: &HeaderMap, trailers: bool, limit: usize) -> Option<Self> {
        let size = list_size(headers);
        let grpc_status = grpc_status(headers);
        (size > limit).then_some(Self::new(ErrorKind::HeadersTooLarge {
            trailers,
            size,
            limit,
            grpc_status,
        }))
    }

    /// An error of this kind with its cause.
    pub(crate) fn caused(kind: ErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            source: Some(source.into().into()),
            ..Self::new(kind)
        }
    }

    /// A connection was lost.
    pub(crate) fn lost(source: impl Into<BoxError>) -> Self {
        Self::caused(ErrorKind::Connection, source)
    }

    /// What h2 says of a connection, or of a stream of which something was received.
    pub(crate) fn from_h2(error: h2::Error) -> Self {
        let kind = if error.is_reset() {
            if error.is_remote() || error.is_library() {
                ErrorKind::Reset
            } else {
                ErrorKind::Cancelled
            }
        } else if error.is_io() || error.is_go_away() {
            ErrorKind::Connection
        } else {
            ErrorKind::InvalidRequest
        };
        Self {
            reason: error.reason(),
            ..Self::caused(kind, error)
        }
    }

    /// What h2 says of a stream of which nothing was received. A peer's GOAWAY ends only streams
    /// above the last one that it will process.
    pub(crate) fn from_unanswered(error: h2::Error) -> Self {
        let refused = error.is_remote()
            && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        if !refused {
            return Self::from_h2(error);
        }
        Self {
            reason: error.reason(),
            unprocessed: Some(NeverProcessed::because(error)),
            ..Self::new(ErrorKind::Refused)
        }
    }

    /// The error of a server's request body. That the client cancelled is not left to be found by
    /// its HTTP/2 reason: tonic takes a request that ends so for one that is complete.
    pub(crate) fn from_request_body(error: h2::Error) -> Self {
        let error = Self::from_h2(error);
        if matches!(error.reason, Some(Reason::CANCEL | Reason::NO_ERROR)) {
            return Self {
                source: None,
                ..error
            };
        }
        error
    }

    /// Gives an error of a lost connection what is known of how it was lost.
    pub(crate) fn because(mut self, cause: Option<Self>) -> Self {
        if let (ErrorKind::Connection, Some(cause)) = (&self.kind, cause)
            && cause.kind != ErrorKind::Connection
        {
            self.source = Some(Arc::new(cause));
        }
        self
    }

    /// What failed.
    #[must_use]
    pub const fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// HTTP/2's error code, where the stream or the connection ended by one.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The mark of a call that was certainly not processed by anybody, so that it is safe to make
    /// it again: it was not sent, or the peer said so (`REFUSED_STREAM`, or GOAWAY with a lower
    /// stream id). It is also the [`source`](StdError::source) of this error.
    #[must_use]
    pub fn never_processed(&self) -> Option<NeverProcessed> {
        self.unprocessed.clone()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::HandshakeTimeout(limit) => {
                write!(f, "the peer did not speak HTTP/2 within {limit:?}")
            }
            ErrorKind::Http1 => f.write_str("the peer speaks HTTP/1, not HTTP/2"),
            ErrorKind::Tls => f.write_str("the peer speaks TLS, not plain HTTP/2"),
            ErrorKind::NotHttp2 => f.write_str("the peer does not speak HTTP/2"),
            ErrorKind::KeepaliveTimeout(limit) => {
                write!(f, "nothing was heard for {limit:?} after a keepalive ping")
            }
            ErrorKind::GraceExpired => f.write_str("calls were cut off by the shutdown"),
            ErrorKind::Connection => f.write_str("the connection was lost"),
            ErrorKind::Closed => f.write_str("the connection had ended"),
            ErrorKind::Refused => f.write_str("the peer did not take the call"),
            ErrorKind::Reset => match self.reason {
                Some(reason) => write!(f, "the stream was reset: {reason}"),
                None => f.write_str("the stream was reset"),
            },
            ErrorKind::Cancelled => f.write_str("the call was cancelled at this end"),
            ErrorKind::HeadersTooLarge {
                trailers,
                size,
                limit,
                ..
            } => {
                let what = if *trailers { "trailers" } else { "a head" };
                write!(f, "{what} of {size} bytes; at most {limit} are allowed")
            }
            ErrorKind::RequestBody => f.write_str("the request body failed"),
            ErrorKind::InvalidRequest => f.write_str("the request cannot be sent by HTTP/2"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        if let Some(mark) = &self.unprocessed {
            return Some(mark);
        }
        let source = self.source.as_deref()?;
        // h2's own error does not name it as its source.
        let io = source
            .downcast_ref::<h2::Error>()
            .and_then(h2::Error::get_io);
        Some(io.map_or(source as _, |io| io as _))
    }
}
