//! Why a call has no agent to go to.

use std::fmt;

use grpctunnel_driver::{Code, Status};

use crate::{TARGET, name::Name};

/// Why a call has no agent to go to. It names nobody who was not named: callers need not know
/// who else is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The agent is not there, or every tunnel of it drains.
    NotConnected {
        /// The agent that was asked for; nothing, when any would have done.
        target: Option<Name>,
    },
    /// No agent was named, and there are several.
    Ambiguous,
}

impl Refusal {
    /// What the caller is told.
    pub(crate) fn status(&self) -> Status {
        let code = match self {
            Self::NotConnected { .. } => Code::Unavailable,
            Self::Ambiguous => Code::InvalidArgument,
        };
        Status::new(code, self.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected { target: None } => f.write_str("no agent is connected"),
            Self::NotConnected {
                target: Some(target),
            } => write!(f, "agent {target} is not connected"),
            Self::Ambiguous => write!(
                f,
                "several agents are connected; name the one that is meant in the metadata {TARGET}"
            ),
        }
    }
}
