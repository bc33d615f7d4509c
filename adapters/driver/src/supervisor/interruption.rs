//! Why a tunnel of a supervisor is not there.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use grpctunnel_core::{Code, TunnelReason};

use crate::error::{ConnectError, TunnelEnd};
use crate::supervisor::dial::DialError;

/// Why a tunnel of a [`Supervisor`](crate::Supervisor) is not there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Interruption {
    /// There was no connection to open it on. The [`source`](Error::source) is the dialer's error.
    NotDialled(Arc<dyn Error + Send + Sync + 'static>),
    /// The peer refused to open it, with [`ConnectError::status`].
    Refused(Arc<ConnectError>),
    /// It was not opened for another reason: the peer did not answer, or the transport failed.
    NotOpened(Arc<ConnectError>),
    /// It was open, and this end's own [`check`](crate::SupervisorBuilder::check) refused it. The
    /// [`source`](Error::source) is the error of the check.
    Rejected(Arc<dyn Error + Send + Sync + 'static>),
    /// It was open, and the peer put another one in its place: it ended the tunnel with ABORTED or
    /// ALREADY_EXISTS.
    Replaced(Arc<TunnelEnd>),
    /// It was open, and the peer ended it in good order, as when it drains.
    Drained(Arc<TunnelEnd>),
    /// It was open, and was lost.
    Lost(Arc<TunnelEnd>),
    /// It was open, and this end ended it because the supervisor stops.
    Stopped(Arc<TunnelEnd>),
    /// The task that kept it was dropped by the executor, or panicked in code of the application.
    TaskLost,
}

impl Interruption {
    pub(crate) fn not_dialled(error: DialError) -> Self {
        Self::NotDialled(error.into_source())
    }

    pub(crate) fn not_opened(error: ConnectError) -> Self {
        let refused = error.end().peer_status().is_some();
        let error = Arc::new(error);
        if refused {
            Self::Refused(error)
        } else {
            Self::NotOpened(error)
        }
    }

    /// How a tunnel ended that was open. `draining`: the peer had said that it drains.
    pub(crate) fn ended(end: TunnelEnd, draining: bool) -> Self {
        let code = end.peer_status().map(|status| status.code());
        let reason = end.error().map(|error| error.reason());
        let finished = matches!(reason, None | Some(TunnelReason::CarrierFinished));
        let end = Arc::new(end);
        match code {
            Some(Code::Aborted | Code::AlreadyExists) => Self::Replaced(end),
            None if finished || draining => Self::Drained(end),
            _ => Self::Lost(end),
        }
    }

    pub(crate) fn stopped(end: TunnelEnd) -> Self {
        Self::Stopped(Arc::new(end))
    }

    /// The gRPC code that tells most about it: of the opening, or of the tunnel's end.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotDialled(_) | Self::TaskLost => Code::Unavailable,
            Self::Refused(error) | Self::NotOpened(error) => error.code(),
            Self::Rejected(_) => Code::FailedPrecondition,
            Self::Replaced(end) | Self::Drained(end) | Self::Lost(end) | Self::Stopped(end) => end
                .peer_status()
                .map_or(Code::Unavailable, |status| status.code()),
        }
    }

    /// How the tunnel ended, where it was open.
    #[must_use]
    pub fn end(&self) -> Option<&TunnelEnd> {
        match self {
            Self::Replaced(end) | Self::Drained(end) | Self::Lost(end) | Self::Stopped(end) => {
                Some(end)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDialled(_) => f.write_str("the peer was not reached"),
            Self::Refused(error) => write!(f, "the peer refused the tunnel: {}", error.status()),
            Self::NotOpened(error) => error.fmt(f),
            Self::Rejected(_) => f.write_str("this end refused the tunnel that it had opened"),
            Self::Replaced(end) => write!(f, "the peer replaced the tunnel by another: {end}"),
            Self::Drained(_) => f.write_str("the peer drained the tunnel"),
            Self::Lost(end) => write!(f, "the tunnel was lost: {end}"),
            Self::Stopped(_) => f.write_str("this end finished the tunnel"),
            Self::TaskLost => f.write_str("the task that kept the tunnel is gone"),
        }
    }
}

impl Error for Interruption {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotDialled(error) | Self::Rejected(error) => Some(error.as_ref()),
            Self::Refused(error) | Self::NotOpened(error) => error.source(),
            Self::Replaced(end) | Self::Drained(end) | Self::Lost(end) | Self::Stopped(end) => {
                end.source()
            }
            Self::TaskLost => None,
        }
    }
}
