//! The tunnels of a command, as its admin port tells of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::name::Name;

/// The tunnels of a command, and the names that it takes none of.
#[derive(Clone, Debug, Default)]
pub struct Tunnels {
    /// The tunnels that it has, or tries to have.
    pub tunnels: Vec<Tunnel>,
    /// The names that were drained.
    pub drained: Vec<Name>,
}

/// A tunnel. As JSON it has these keys, of which those that are not known are left out:
///
/// | key | meaning |
/// | --- | --- |
/// | `name` | the name of the agent |
/// | `way` | `agent`: an agent opened it, to be called; `caller`: whoever calls opened it |
/// | `peer` | the address of the other end, or the URL of the gateway |
/// | `identity` | who opened it, at a gateway |
/// | `state` | `open`, `draining`, `connecting`, `waiting` or `ended` |
/// | `seconds` | how long it is there |
/// | `calls_open`, `calls` | calls that are open on it, and all that were |
/// | `why` | why it is not there |
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tunnel {
    /// The name of the agent.
    pub name: Option<Name>,
    /// Who opened it.
    pub way: Way,
    /// The other end.
    pub peer: String,
    /// Who opened it, at a gateway.
    pub identity: Option<String>,
    /// What it is doing: `open`, `draining`, `connecting`, `waiting` or `ended`.
    pub state: &'static str,
    /// How long it is there.
    pub age: Option<Duration>,
    /// Calls that are open on it.
    pub calls_open: Option<u64>,
    /// Calls that were opened on it.
    pub calls: Option<u64>,
    /// Why it is not there.
    pub why: Option<String>,
}

/// Who opened a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An agent, to be called.
    Agent,
    /// Whoever calls through it.
    Caller,
}

/// Whether an agent is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Not any more.
    Drain,
    /// Again.
    Admit,
}

impl Tunnel {
    pub(crate) fn new(way: Way, peer: String, state: &'static str) -> Self {
        Self {
            name: None,
            way,
            peer,
            identity: None,
            state,
            age: None,
            calls_open: None,
            calls: None,
            why: None,
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut value = json!({
            "name": self.name.as_ref().map(Name::as_str),
            "way": match self.way {
                Way::Agent => "agent",
                Way::Caller => "caller",
            },
            "peer": self.peer,
            "identity": self.identity,
            "state": self.state,
            "seconds": self.age.map(|age| age.as_secs()),
            "calls_open": self.calls_open,
            "calls": self.calls,
            "why": self.why,
        });
        if let Value::Object(keys) = &mut value {
            keys.retain(|_, value| !value.is_null());
        }
        value
    }
}
