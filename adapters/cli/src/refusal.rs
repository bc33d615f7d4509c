//! Why a call has no agent to go to.

use std::fmt;

use grpctunnel_driver::{Code, Status};

use crate::{TARGET, name::Name};

/// How many names a refusal tells.
const NAMES_TOLD: usize = 20;

/// Names of agents, as a refusal tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names(Vec<Name>);

impl Names {
    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Name> for Names {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (place, name) in self.0.iter().take(NAMES_TOLD).enumerate() {
            write!(f, "{}{name}", if place == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(NAMES_TOLD) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Why a call has no agent to go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The agent is not there, or every tunnel of it drains.
    NotConnected {
        /// The agent that was asked for; nothing, when any would have done.
        target: Option<String>,
        /// Those that are there.
        connected: Names,
    },
    /// No agent was named, and there are several.
    Ambiguous {
        /// Those that are there.
        connected: Names,
    },
}

impl Refusal {
    /// What the caller is told.
    pub(crate) fn status(&self) -> Status {
        let code = match self {
            Self::NotConnected { .. } => Code::Unavailable,
            Self::Ambiguous { .. } => Code::InvalidArgument,
        };
        Status::new(code, self.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected { target: None, .. } => f.write_str("no agent is connected"),
            Self::NotConnected {
                target: Some(target),
                connected,
            } => {
                write!(
                    f,
                    "agent {target:?} is not connected; connected: {connected}"
                )
            }
            Self::Ambiguous { connected } => write!(
                f,
                "several agents are connected, name one of them in the metadata {}: {connected}",
                TARGET
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_names_are_cut() {
        let name = |number| format!("n{number}").parse::<Name>().unwrap();
        let names: Names = (0..NAMES_TOLD + 5).map(name).collect();
        assert!(names.to_string().ends_with("n19 and 5 more"), "{names}");
    }
}
