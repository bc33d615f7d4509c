//! Errors: of openings, request bodies, calls and tunnels.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use grpctunnel_core::{Code, ConfigError, TunnelError};

use crate::grpc::status::{Status, excerpt};

/// Any error, as tower services pass it.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// An error, then its source, the source of that, and so on.
pub fn error_sources<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error and its sources in one line, separated by colons. A source whose text already ends what
/// was written is left out.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in error_sources(error) {
        let part = error.to_string();
        if text.is_empty() {
            text = part;
        } else if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
    }
    text
}

/// Why a tunnel could not be opened. Its RPC was cancelled or has ended.
#[derive(Clone, Debug)]
pub struct ConnectError {
    attempt: Box<Attempt>,
}

#[derive(Clone, Debug)]
struct Attempt {
    status: Status,
    end: TunnelEnd,
}

impl ConnectError {
    pub(crate) fn new(end: TunnelEnd) -> Self {
        let status = match (&end.carrier.status, &end.error) {
            (Some(status), _) => status.clone(),
            (None, Some(error)) => Status::new(error.code(), end.to_string()),
            (None, None) => Status::new(Code::Unavailable, "the tunnel ended before it started"),
        };
        let attempt = Box::new(Attempt { status, end });
        Self { attempt }
    }

    /// The options hold a value that no tunnel can have.
    pub(crate) fn config(error: ConfigError) -> Self {
        Self::not_tried(Status::new(Code::InvalidArgument, error.to_string()))
    }

    /// Nothing was sent.
    pub(crate) fn not_tried(status: Status) -> Self {
        let end = TunnelEnd {
            error: None,
            carrier: CarrierEnd::default(),
        };
        let attempt = Box::new(Attempt { status, end });
        Self { attempt }
    }

    /// The status of the opening: the peer's own if it answered with one (UNIMPLEMENTED if it
    /// accepts no such tunnels), DEADLINE_EXCEEDED if it did not answer in time, UNAVAILABLE if it
    /// could not be reached, INVALID_ARGUMENT if the options hold a value that no tunnel can have,
    /// INTERNAL if there is no runtime for the tunnel's tasks (nothing was sent in both cases),
    /// otherwise the code of the rule that it broke.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.attempt.status
    }

    /// How the attempt to open the tunnel ended.
    #[must_use]
    pub fn end(&self) -> &TunnelEnd {
        &self.attempt.end
    }

    /// The code of [`status`](Self::status).
    #[must_use]
    pub fn code(&self) -> Code {
        self.status().code()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tunnel was not opened: {}", self.status())
    }
}

impl Error for ConnectError {
    /// The error of the transport, where that is the cause.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.end().source()
    }
}

/// Why a call has no HTTP response.
///
/// A failure of the call or of the tunnel, its loss included, is a response with a gRPC status. The
/// exception is an error of the caller's own request body: then the call was cancelled, and
/// [`source`](Error::source) is that error. A generated client shows a status among the sources.
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

/// In the `http::Extensions` of a response: no handler saw the call, and it may succeed when it is
/// made again, on this tunnel or on another.
///
/// A call has it that was lost before it was sent, that was refused because the tunnel drains or
/// has no room, or that the peer refused as unprocessed (`CloseStream.unprocessed`, of the
/// extension `UNPROCESSED`). A call that cannot succeed has it not: one whose metadata cannot be
/// sent, or whose deadline has passed.
///
/// A handler that passes calls on says the same of one that it could not pass on: in the extensions
/// of an error response without messages, or among the sources of its own error. It goes to the
/// caller where the extension is in effect; so what a [`Channel`](crate::Channel) answers may be
/// returned as it is.
#[derive(Clone, Debug, Default)]
pub struct NeverProcessed {
    source: Option<Arc<dyn Error + Send + Sync + 'static>>,
}

impl NeverProcessed {
    /// A mark without a source.
    #[must_use]
    pub const fn new() -> Self {
        Self { source: None }
    }

    /// The mark with what kept the call from being processed.
    #[must_use]
    pub fn because(source: impl Into<BoxError>) -> Self {
        Self {
            source: Some(source.into().into()),
        }
    }

    /// The mark in an error and its sources, such as the status that a generated client returns.
    /// Where there is one, the call may be made again. A response has it among its
    /// [extensions](http::Response::extensions).
    ///
    /// ```
    /// # use grpctunnel_driver::{BoxError, NeverProcessed};
    /// let error: BoxError = NeverProcessed::new().into();
    /// assert!(NeverProcessed::find_in(&*error).is_some());
    /// ```
    #[must_use]
    pub fn find_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        error_sources(error).find_map(|error| error.downcast_ref())
    }

    /// The mark of a call that was lost with its tunnel, if `end` is known.
    pub(crate) fn lost(end: Option<Arc<TunnelEnd>>) -> Self {
        Self {
            source: end.map(|end| end as _),
        }
    }
}

impl fmt::Display for NeverProcessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call was never processed and is safe to retry")
    }
}

impl Error for NeverProcessed {
    /// What kept the call from being processed: the [`TunnelEnd`], where it was lost with its tunnel.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Why the request body of a call that a tunnel server handles cannot be read to its end.
///
/// Its code is never CANCELLED, which servers take for a complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    status: Status,
}

impl RequestError {
    pub(crate) const fn new(status: Status) -> Self {
        Self { status }
    }

    /// ABORTED if the caller cancelled, DEADLINE_EXCEEDED, UNAVAILABLE if the tunnel was lost,
    /// otherwise the code of the rule that the caller broke.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request ended early")
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}

/// What was reported as a tunnel's carrier ended.
///
/// Displayed as an addition to other text: what the peer said. What the transport said is not for
/// callers, who may be remote; it is among the sources.
#[derive(Clone, Debug, Default)]
pub(crate) struct CarrierEnd {
    /// The status that the peer ended the carrier with, unless it was OK.
    pub(crate) status: Option<Status>,
    /// The error of the transport.
    pub(crate) error: Option<Arc<dyn Error + Send + Sync + 'static>>,
    /// The peer finished the carrier in good order, and no call was open.
    pub(crate) was_idle: bool,
}

impl fmt::Display for CarrierEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.status {
            Some(status) => write!(f, "; the peer said: {}", excerpt(&status.to_string())),
            None => Ok(()),
        }
    }
}

/// How a tunnel ended.
///
/// In the `http::Extensions` of a response: the call was lost with its tunnel. As an error its
/// source is the error of the transport, if there is one, with the sources of that: down to an
/// `io::Error`, or the reason that HTTP/2 gave.
#[derive(Clone, Debug)]
pub struct TunnelEnd {
    pub(crate) error: Option<TunnelError>,
    pub(crate) carrier: CarrierEnd,
}

impl TunnelEnd {
    /// Whether the tunnel ended in good order: either end finished it, as after a drain, and no call
    /// was lost with it.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.error.is_none() || self.carrier.was_idle
    }

    /// What ended the tunnel, if it was not finished by this end. Where the peer finished it, that is
    /// [`TunnelReason::CarrierFinished`](crate::TunnelReason), in good order or not.
    #[must_use]
    pub const fn error(&self) -> Option<&TunnelError> {
        self.error.as_ref()
    }

    /// The status that the peer ended the tunnel with, where it gave one.
    #[must_use]
    pub const fn peer_status(&self) -> Option<&Status> {
        self.carrier.status.as_ref()
    }

    /// The error of the transport below, where that is what ended the tunnel. It is also the
    /// [`source`](Error::source).
    #[must_use]
    pub fn transport_error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.carrier.error.as_deref()
    }

    /// The end as a status: OK if it is clean, else the tunnel error's code, and as its message
    /// what ended the tunnel and what the peer said.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.error {
            Some(error) if !self.is_clean() => Status::new(error.code(), self.to_string()),
            _ => Status::ok(),
        }
    }
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            None => f.write_str("the tunnel was finished")?,
            Some(error) => write!(f, "{error}")?,
        }
        self.carrier.fmt(f)
    }
}

impl Error for TunnelEnd {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.carrier.error.as_deref().map(|error| error as _)
    }
}
