//! What fails outside the calls themselves: openings, request bodies, tunnels.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use grpctunnel_core::{Code, ConfigError, TunnelError};

use crate::status::{OneLine, Status};

/// Any error, as tower services pass it.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Why a tunnel could not be opened. Nothing is left of it: its RPC was cancelled or has ended.
#[derive(Debug)]
pub struct ConnectError {
    status: Status,
    end: TunnelEnd,
}

impl ConnectError {
    pub(crate) fn new(end: TunnelEnd) -> Self {
        let status = match (&end.peer, &end.error) {
            (Some(status), _) => status.clone(),
            (None, Some(error)) => Status::new(error.code(), end.to_string()),
            (None, None) => Status::new(Code::Unavailable, "the tunnel ended before it started"),
        };
        Self { status, end }
    }

    /// The options are none that a tunnel can have.
    pub(crate) fn config(error: ConfigError) -> Self {
        Self {
            status: Status::new(Code::InvalidArgument, error.to_string()),
            end: TunnelEnd {
                error: None,
                peer: None,
                transport: None,
            },
        }
    }

    /// The status of the opening: the peer's own where it answered with one (UNIMPLEMENTED where
    /// it takes no such tunnels), DEADLINE_EXCEEDED where it did not answer in time, UNAVAILABLE
    /// where it could not be reached, and the code of the rule that it broke. INVALID_ARGUMENT
    /// where the options hold what no tunnel can have, which the text names; nothing was sent then.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// How the tunnel ended that was not opened.
    #[must_use]
    pub const fn end(&self) -> &TunnelEnd {
        &self.end
    }

    /// The code of [`status`](Self::status).
    #[must_use]
    pub const fn code(&self) -> Code {
        self.status.code()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tunnel was not opened: {}", self.status)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}

/// Why a call has no response of the form that HTTP gives it.
///
/// Everything that happens to a call on the tunnel, its loss included, is a gRPC status in a
/// response. What is left is an error of the caller's own request body: the call was cancelled,
/// and this is what ended it, to be found with [`source`](Error::source). A status in the chain of
/// sources is what a generated client shows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The request body failed, with this error.
    RequestBody(Arc<dyn Error + Send + Sync + 'static>),
}

impl CallError {
    pub(crate) fn request_body(source: BoxError) -> Self {
        Self::RequestBody(source.into())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestBody(_) => f.write_str("the request body failed; the call was cancelled"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::RequestBody(source) => Some(source.as_ref()),
        }
    }
}

/// Marks the response of a call, in its `http::Extensions`, that was certainly not processed by
/// anybody: it is safe to make it again, on this tunnel or on another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeverProcessed;

impl fmt::Display for NeverProcessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call was never processed and is safe to retry")
    }
}

impl Error for NeverProcessed {}

/// Why the request body of a call that a tunnel server handles cannot be read to its end.
///
/// Its code is never CANCELLED: servers take a request body that ends so for one that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    status: Status,
}

impl RequestError {
    pub(crate) const fn new(status: Status) -> Self {
        Self { status }
    }

    /// Why: ABORTED if the caller cancelled, DEADLINE_EXCEEDED, UNAVAILABLE if the tunnel was lost,
    /// the code of the rule that the caller broke otherwise.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request ended early: {}", self.status)
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}

/// How a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelEnd {
    pub(crate) error: Option<TunnelError>,
    pub(crate) peer: Option<Status>,
    pub(crate) transport: Option<Arc<str>>,
}

impl TunnelEnd {
    /// Whether this end finished the tunnel, and the peer agreed.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.error.is_none()
    }

    /// What ended the tunnel, if it was not finished by this end.
    #[must_use]
    pub const fn error(&self) -> Option<&TunnelError> {
        self.error.as_ref()
    }

    /// The status that the peer ended the tunnel with, where it gave one.
    #[must_use]
    pub const fn peer_status(&self) -> Option<&Status> {
        self.peer.as_ref()
    }

    /// The error of the transport below, where that is what ended the tunnel.
    #[must_use]
    pub fn transport_error(&self) -> Option<&str> {
        self.transport.as_deref()
    }

    /// The end as a status: OK if it is clean, else the tunnel error's code and all that is known.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.error {
            None => Status::ok(),
            Some(error) => Status::new(error.code(), self.to_string()),
        }
    }
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            None => f.write_str("the tunnel was finished")?,
            Some(error) => write!(f, "{error}")?,
        }
        if let Some(status) = &self.peer {
            write!(f, "; the peer said: {status}")?;
        }
        if let Some(text) = &self.transport {
            write!(f, "; the transport said: {}", OneLine(text))?;
        }
        Ok(())
    }
}
