//! The tunnels of a gateway, and the names that it takes none of.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use grpctunnel_driver::Channel;

use super::{Drained, Tunnel, Tunnels, Way};
use crate::{auth::Authenticated, front::Opened, name::Name, registry::Agents};

/// What is known of a gateway's tunnels. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct GatewayTunnels(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    agents: Agents,
    /// How long open calls may go on where a name is drained.
    limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    drained: BTreeSet<Name>,
    /// The forward tunnels, in the order in which they were opened.
    forward: BTreeMap<u64, (Authenticated, Instant)>,
    next: u64,
}

impl GatewayTunnels {
    pub(crate) fn new(agents: Agents, limit: Duration) -> Self {
        Self(Arc::new(Inner {
            agents,
            limit,
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is whole between any two statements.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn agents(&self) -> &Agents {
        &self.0.agents
    }

    /// Whether no tunnels of this name are taken.
    pub(crate) fn is_drained(&self, name: &Name) -> bool {
        self.state().drained.contains(name)
    }

    /// A forward tunnel is there, until the result is dropped.
    pub(crate) fn forward(&self, by: Authenticated) -> ListedForward {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.forward.insert(number, (by, Instant::now()));
        ListedForward {
            all: self.clone(),
            number,
        }
    }

    /// Drains an agent, or takes it again: how many tunnels that concerns; `None` where there is no
    /// such agent.
    pub(crate) fn change(&self, name: &Name, drained: Drained) -> Option<usize> {
        match drained {
            Drained::Admit => self.state().drained.remove(name).then_some(0),
            Drained::Drain => {
                // Those that come in between are refused, or found below.
                let is_new = self.state().drained.insert(name.clone());
                let channels = self.0.agents.channels(name);
                if channels.is_empty() && is_new {
                    self.state().drained.remove(name);
                    return None;
                }
                channels
                    .iter()
                    .for_each(|channel| channel.drain(self.0.limit));
                Some(channels.len())
            }
        }
    }

    pub(crate) fn tunnels(&self) -> Tunnels {
        let agents = self.0.agents.all();
        let mut tunnels: Vec<_> = agents.iter().filter_map(of_agent).collect();
        tunnels.sort_by(|one, other| one.name.cmp(&other.name).then(other.age.cmp(&one.age)));
        let state = self.state();
        tunnels.extend(state.forward.values().map(|(by, since)| Tunnel {
            identity: Some(by.identity.to_string()),
            age: Some(since.elapsed()),
            ..Tunnel::new(Way::Caller, by.peer.to_string(), "open")
        }));
        Tunnels {
            tunnels,
            drained: state.drained.iter().cloned().collect(),
        }
    }
}

fn of_agent(channel: &Channel) -> Option<Tunnel> {
    let Opened {
        by, name, since, ..
    } = channel.peer()?.extensions().get::<Opened>()?;
    let state = channel.state();
    let doing = match (state.open, state.draining, state.settled) {
        (false, _, _) => "ended",
        (_, true, _) => "draining",
        (_, _, false) => "connecting",
        _ => "open",
    };
    Some(Tunnel {
        name: Some(name.clone()),
        identity: Some(by.identity.to_string()),
        age: Some(since.elapsed()),
        calls_open: Some(state.calls.into()),
        calls: Some(channel.counters().opened),
        ..Tunnel::new(Way::Agent, by.peer.to_string(), doing)
    })
}

/// A forward tunnel that is there.
#[derive(Debug)]
pub(crate) struct ListedForward {
    all: GatewayTunnels,
    number: u64,
}

impl Drop for ListedForward {
    fn drop(&mut self) {
        self.all.state().forward.remove(&self.number);
    }
}
