//! The agents that are connected, by their names.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{listener::Endpoint, name::Name, refusal::Refusal};

/// A way to an agent, as the registry sees it.
pub(crate) trait Link: Clone {
    /// Whether a new call may be started on it: it has neither ended nor begun to drain.
    fn takes_calls(&self) -> bool;
    /// Whether a new call would not have to wait there.
    fn has_room(&self) -> bool;
}

/// The connected agents. Clones are the same registry.
///
/// Tunnels of one name share the name's calls in turn. One that has ended or that drains is
/// passed over, and so is a full one while another has room.
#[derive(Debug)]
pub(crate) struct Registry<L>(Arc<Inner<L>>);

#[derive(Debug)]
struct Inner<L> {
    state: Mutex<State<L>>,
    changed: Notify,
    next_id: AtomicU64,
}

#[derive(Debug)]
struct State<L> {
    agents: BTreeMap<Name, Agent<L>>,
}

/// A tunnel that can be used.
#[derive(Clone, Debug)]
struct Tunnel<L> {
    id: u64,
    link: L,
    peer: Endpoint,
}

/// The tunnel that a call is to take.
#[derive(Clone, Debug)]
pub(crate) struct Chosen<L> {
    /// To avoid it the next time.
    pub(crate) id: u64,
    /// The way.
    pub(crate) link: L,
}

#[derive(Debug)]
struct Agent<L> {
    tunnels: Vec<Tunnel<L>>,
    /// Tunnels that are being opened and cannot be used yet.
    arriving: usize,
    turn: usize,
}

impl<L> Clone for Registry<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L> Registry<L> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                agents: BTreeMap::new(),
            }),
            changed: Notify::new(),
            next_id: AtomicU64::new(0),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        // A panic elsewhere leaves the map whole: every change is one insert or one removal.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tunnel of this name is being opened. Until it is registered, or the last clone of the
    /// result is gone, calls for the name wait instead of failing: the agent may know that it
    /// is connected before the tunnel can carry a call.
    pub(crate) fn arriving(&self, name: Name) -> Arrival<L> {
        self.state().agent(&name).arriving += 1;
        Arrival(Arc::new(ArrivalGuard {
            registry: self.clone(),
            name,
            expected: AtomicBool::new(true),
        }))
    }

    fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes an agent. What `change` takes out of it is returned, to be dropped while
    /// nothing is locked: the end of a link may come back here.
    fn change<T>(&self, name: &Name, change: impl FnOnce(&mut Agent<L>) -> T) -> T {
        let mut state = self.state();
        let agent = state.agent(name);
        let taken = change(agent);
        if agent.tunnels.is_empty() && agent.arriving == 0 {
            state.agents.remove(name);
        }
        drop(state);
        self.0.changed.notify_waiters();
        taken
    }
}

impl<L> State<L> {
    fn agent(&mut self, name: &Name) -> &mut Agent<L> {
        self.agents.entry(name.clone()).or_insert_with(|| Agent {
            tunnels: Vec::new(),
            arriving: 0,
            turn: 0,
        })
    }
}

impl<L: Link> Agent<L> {
    fn is_connected(&self) -> bool {
        self.tunnels.iter().any(|tunnel| tunnel.link.takes_calls())
    }

    /// The tunnel whose turn it is, of those that were not tried.
    fn next(&mut self, tried: &[u64]) -> Option<Chosen<L>> {
        let count = self.tunnels.len();
        let places: Vec<usize> = (0..count)
            .map(|step| self.turn.wrapping_add(step) % count)
            .filter(|place| self.is_usable(*place, tried))
            .collect();
        let has_room = |place: &&usize| {
            let tunnel = self.tunnels.get(**place);
            tunnel.is_some_and(|tunnel| tunnel.link.has_room())
        };
        let place = *places.iter().find(has_room).or(places.first())?;
        self.turn = place.wrapping_add(1);
        self.tunnels.get(place).map(|tunnel| Chosen {
            id: tunnel.id,
            link: tunnel.link.clone(),
        })
    }

    fn is_usable(&self, place: usize, tried: &[u64]) -> bool {
        let tunnel = self.tunnels.get(place);
        tunnel.is_some_and(|tunnel| !tried.contains(&tunnel.id) && tunnel.link.takes_calls())
    }
}

enum Choice<L> {
    Found(Chosen<L>),
    Arriving,
    Refused(Refusal),
}

impl<L: Link> Registry<L> {
    /// A way to the agent `target`, or to the only one that is connected, that was not `tried`. Where
    /// no agent is named, those count that the caller `may` call.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when there is no such agent, or when it is not clear which one is meant.
    pub(crate) async fn choose(
        &self,
        target: Option<&Name>,
        tried: &[u64],
        may: &(dyn Fn(&Name) -> bool + Sync),
    ) -> Result<Chosen<L>, Refusal> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            match self.look(target, tried, may) {
                Choice::Found(chosen) => return Ok(chosen),
                Choice::Refused(refusal) => return Err(refusal),
                Choice::Arriving => changed.await,
            }
        }
    }

    /// Whether the agent can be called now.
    pub(crate) fn is_connected(&self, name: &Name) -> bool {
        let state = self.state();
        state.agents.get(name).is_some_and(Agent::is_connected)
    }

    /// Waits for `answer` to give something else than it did, which it may whenever an agent
    /// comes or goes.
    pub(crate) async fn other<T: PartialEq>(&self, last: Option<T>, answer: impl Fn() -> T) -> T {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = answer();
            if last.as_ref() != Some(&now) {
                return now;
            }
            changed.await;
        }
    }

    fn look(
        &self,
        target: Option<&Name>,
        tried: &[u64],
        may: &(dyn Fn(&Name) -> bool + Sync),
    ) -> Choice<L> {
        let mut state = self.state();
        let State { agents, .. } = &mut *state;
        let wanted = match target {
            Some(target) => agents.get_mut(target),
            None => match Self::only(agents, may) {
                Ok(agent) => agent,
                Err(refusal) => return Choice::Refused(refusal),
            },
        };
        let arriving = wanted.as_ref().is_some_and(|agent| agent.arriving > 0);
        if let Some(chosen) = wanted.and_then(|agent| agent.next(tried)) {
            return Choice::Found(chosen);
        }
        if arriving {
            return Choice::Arriving;
        }
        Choice::Refused(Refusal::NotConnected {
            target: target.cloned(),
        })
    }

    /// The agent that a call without a target means: the only one that is connected, or
    /// else the only one that arrives.
    fn only<'a>(
        agents: &'a mut BTreeMap<Name, Agent<L>>,
        may: &(dyn Fn(&Name) -> bool + Sync),
    ) -> Result<Option<&'a mut Agent<L>>, Refusal> {
        let connected = agents
            .iter()
            .filter(|(name, agent)| agent.is_connected() && may(name));
        let count = connected.count();
        let meant = |agent: &Agent<L>| match count {
            0 => agent.arriving > 0,
            _ => agent.is_connected(),
        };
        match count {
            0 | 1 => {
                let mut agents = agents.iter_mut();
                let found = agents.find(|(name, agent)| meant(agent) && may(name));
                Ok(found.map(|(_, agent)| agent))
            }
            _ => Err(Refusal::Ambiguous),
        }
    }
}

/// A tunnel that is being opened; see [`Registry::arriving`].
#[derive(Debug)]
pub(crate) struct Arrival<L>(Arc<ArrivalGuard<L>>);

impl<L> Clone for Arrival<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L> Arrival<L> {
    /// The name under which it arrives.
    pub(crate) fn name(&self) -> &Name {
        &self.0.name
    }

    /// The tunnel can carry calls from now on, until the result is dropped. Also says where the
    /// other tunnels of the name come from.
    pub(crate) fn register(&self, link: L, peer: Endpoint) -> (Membership<L>, Vec<Endpoint>) {
        let ArrivalGuard { registry, name, .. } = &*self.0;
        let id = registry.next_id();
        let expected = self.0.take_expected();
        let others = registry.change(name, |agent| {
            let others = agent.tunnels.iter().map(|tunnel| tunnel.peer.clone());
            let others = others.collect();
            agent.tunnels.push(Tunnel { id, link, peer });
            agent.arriving -= expected;
            others
        });
        let member = Membership {
            registry: registry.clone(),
            name: name.clone(),
            id,
        };
        (member, others)
    }
}

#[derive(Debug)]
struct ArrivalGuard<L> {
    registry: Registry<L>,
    name: Name,
    /// Whether it still counts as arriving.
    expected: AtomicBool,
}

impl<L> ArrivalGuard<L> {
    /// How much it counts as arriving; nothing from now on.
    fn take_expected(&self) -> usize {
        self.expected.swap(false, Ordering::Relaxed).into()
    }
}

impl<L> Drop for ArrivalGuard<L> {
    fn drop(&mut self) {
        let expected = self.take_expected();
        self.registry
            .change(&self.name, |agent| agent.arriving -= expected);
    }
}

/// A tunnel in the registry; dropping it takes the tunnel out.
#[derive(Debug)]
pub(crate) struct Membership<L> {
    registry: Registry<L>,
    name: Name,
    id: u64,
}

impl<L> Drop for Membership<L> {
    fn drop(&mut self) {
        let left = self.registry.change(&self.name, |agent| {
            let mut tunnels = agent.tunnels.iter();
            let place = tunnels.position(|tunnel| tunnel.id == self.id);
            place.map(|place| agent.tunnels.remove(place))
        });
        drop(left);
    }
}
