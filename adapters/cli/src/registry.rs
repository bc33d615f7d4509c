//! The agents that are connected, by their names.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{
    name::Name,
    refusal::{Names, Refusal},
};

/// A way to an agent, as the registry sees it.
pub(crate) trait Link: Clone {
    /// Whether a new call may be started on it: it has neither ended nor begun to drain.
    fn takes_calls(&self) -> bool;
}

/// The connected agents. Clones are the same registry.
///
/// Tunnels of one name share the name's calls in turn. One that has ended or that drains is
/// passed over.
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

#[derive(Debug)]
struct Agent<L> {
    links: Vec<(u64, L)>,
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
        if agent.links.is_empty() && agent.arriving == 0 {
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
            links: Vec::new(),
            arriving: 0,
            turn: 0,
        })
    }
}

impl<L: Link> Agent<L> {
    fn is_connected(&self) -> bool {
        self.links.iter().any(|(_, link)| link.takes_calls())
    }

    fn next(&mut self) -> Option<L> {
        let count = self.links.len();
        let start = self.turn;
        let places = (0..count).map(|step| start.wrapping_add(step) % count);
        let usable = |place: &usize| {
            let link = self.links.get(*place);
            link.is_some_and(|(_, link)| link.takes_calls())
        };
        let place = places.into_iter().find(usable)?;
        self.turn = place.wrapping_add(1);
        self.links.get(place).map(|(_, link)| link.clone())
    }
}

impl<L: Clone> Registry<L> {
    /// The ways to all agents.
    pub(crate) fn links(&self) -> Vec<L> {
        let state = self.state();
        let links = state.agents.values().flat_map(|agent| &agent.links);
        links.map(|(_, link)| link.clone()).collect()
    }
}

enum Choice<L> {
    Found(L),
    Arriving,
    Refused(Refusal),
}

impl<L: Link> Registry<L> {
    /// The way to the agent `target`, or to the only one that is connected.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when there is no such agent, or when it is not clear which one is meant.
    pub(crate) async fn choose(&self, target: Option<&str>) -> Result<L, Refusal> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            match self.look(target) {
                Choice::Found(link) => return Ok(link),
                Choice::Refused(refusal) => return Err(refusal),
                Choice::Arriving => changed.await,
            }
        }
    }

    fn look(&self, target: Option<&str>) -> Choice<L> {
        let mut state = self.state();
        let State { agents, .. } = &mut *state;
        let wanted = match target {
            Some(target) => agents.iter_mut().find(|(name, _)| name.as_str() == target),
            None => match Self::only(agents) {
                Ok(agent) => agent,
                Err(refusal) => return Choice::Refused(refusal),
            },
        };
        let arriving = wanted.as_ref().is_some_and(|(_, agent)| agent.arriving > 0);
        if let Some(link) = wanted.and_then(|(_, agent)| agent.next()) {
            return Choice::Found(link);
        }
        if arriving {
            return Choice::Arriving;
        }
        Choice::Refused(Refusal::NotConnected {
            target: target.map(ToOwned::to_owned),
            connected: connected(agents),
        })
    }

    /// The agent that a call without a target means: the only one that is connected, or
    /// else the only one that arrives.
    fn only(
        agents: &mut BTreeMap<Name, Agent<L>>,
    ) -> Result<Option<(&Name, &mut Agent<L>)>, Refusal> {
        let names = connected(agents);
        if names.count() > 1 {
            return Err(Refusal::Ambiguous { connected: names });
        }
        let none = names.count() == 0;
        let meant = |agent: &Agent<L>| match none {
            true => agent.arriving > 0,
            false => agent.is_connected(),
        };
        Ok(agents.iter_mut().find(|(_, agent)| meant(agent)))
    }
}

fn connected<L: Link>(agents: &BTreeMap<Name, Agent<L>>) -> Names {
    let names = agents.iter().filter(|(_, agent)| agent.is_connected());
    names.map(|(name, _)| name.clone()).collect()
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

    /// The tunnel can carry calls from now on, until the result is dropped.
    pub(crate) fn register(&self, link: L) -> Membership<L> {
        let ArrivalGuard { registry, name, .. } = &*self.0;
        let id = registry.next_id();
        let expected = self.0.take_expected();
        registry.change(name, |agent| {
            agent.links.push((id, link));
            agent.arriving -= expected;
        });
        Membership {
            registry: registry.clone(),
            name: name.clone(),
            id,
        }
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
            let place = agent.links.iter().position(|(id, _)| *id == self.id);
            place.map(|place| agent.links.remove(place))
        });
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task::spawn};

    use super::*;

    #[derive(Clone, Debug)]
    struct Fake(&'static str, Arc<AtomicBool>);

    impl Link for Fake {
        fn takes_calls(&self) -> bool {
            self.1.load(Ordering::Relaxed)
        }
    }

    fn fake(label: &'static str) -> Fake {
        Fake(label, Arc::new(AtomicBool::new(true)))
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn join(registry: &Registry<Fake>, as_name: &str, link: Fake) -> Membership<Fake> {
        registry.arriving(name(as_name)).register(link)
    }

    fn chosen(registry: &Registry<Fake>, target: Option<&str>) -> Result<&'static str, String> {
        let mut choice = spawn(registry.choose(target));
        let result = assert_ready!(choice.poll());
        result
            .map(|link| link.0)
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_target_is_found_by_its_name() {
        let registry = Registry::new();
        let _a = join(&registry, "a", fake("1"));
        let _b = join(&registry, "b", fake("2"));
        assert_eq!(chosen(&registry, Some("b")), Ok("2"));
        let refusal = chosen(&registry, Some("c")).unwrap_err();
        assert_eq!(refusal, "agent \"c\" is not connected; connected: a, b");
    }

    #[test]
    fn without_a_target_the_only_agent_is_meant() {
        let registry = Registry::new();
        assert_eq!(
            chosen(&registry, None).unwrap_err(),
            "no agent is connected"
        );
        let _a = join(&registry, "a", fake("1"));
        assert_eq!(chosen(&registry, None), Ok("1"));
        let b = join(&registry, "b", fake("2"));
        let refusal = chosen(&registry, None).unwrap_err();
        assert!(refusal.ends_with("x-tunnel-target: a, b"), "{refusal}");
        drop(b);
        assert_eq!(chosen(&registry, None), Ok("1"));
    }

    #[test]
    fn tunnels_of_one_name_take_turns_and_the_unusable_are_passed_over() {
        let registry = Registry::new();
        let links = ["1", "2", "3"].map(fake);
        let _members = links.clone().map(|link| join(&registry, "a", link));
        let turns = |count| (0..count).map(|_| chosen(&registry, Some("a")).unwrap());
        assert_eq!(turns(4).collect::<Vec<_>>(), ["1", "2", "3", "1"]);
        links[1].1.store(false, Ordering::Relaxed);
        assert_eq!(turns(3).collect::<Vec<_>>(), ["3", "1", "3"]);
        for link in &links {
            link.1.store(false, Ordering::Relaxed);
        }
        let refusal = chosen(&registry, Some("a")).unwrap_err();
        assert_eq!(refusal, "agent \"a\" is not connected; connected: none");
        assert_eq!(
            chosen(&registry, None).unwrap_err(),
            "no agent is connected"
        );
    }

    #[test]
    fn a_call_waits_for_a_tunnel_that_is_being_opened() {
        let registry = Registry::new();
        let arrival = registry.arriving(name("a"));
        let mut named = spawn(registry.choose(Some("a")));
        let mut any = spawn(registry.choose(None));
        assert_pending!(named.poll());
        assert_pending!(any.poll());
        let _member = arrival.register(fake("1"));
        assert!(named.is_woken() && any.is_woken());
        assert_eq!(assert_ready!(named.poll()).unwrap().0, "1");
        assert_eq!(assert_ready!(any.poll()).unwrap().0, "1");
    }

    #[test]
    fn an_arrival_that_is_kept_does_not_make_calls_wait() {
        let registry = Registry::new();
        let arrival = registry.arriving(name("a"));
        let link = fake("1");
        let member = arrival.register(link.clone());
        link.1.store(false, Ordering::Relaxed);
        assert!(chosen(&registry, Some("a")).is_err());
        drop(member);
        assert!(chosen(&registry, Some("a")).is_err());
    }

    #[test]
    fn a_link_may_hold_its_own_arrival() {
        #[derive(Clone)]
        struct Holding(Arrival<Holding>);
        impl Link for Holding {
            fn takes_calls(&self) -> bool {
                self.0.name().as_str() == "a"
            }
        }
        let registry = Registry::new();
        let arrival = registry.arriving(name("a"));
        drop(arrival.register(Holding(arrival.clone())));
        drop(arrival);
        let mut call = spawn(registry.choose(Some("a")));
        assert!(assert_ready!(call.poll()).is_err());
    }

    #[test]
    fn an_agent_that_leaves_does_not_hide_one_that_arrives() {
        let registry = Registry::new();
        let leaving = fake("1");
        let _a = join(&registry, "a", leaving.clone());
        leaving.1.store(false, Ordering::Relaxed);
        let _b = registry.arriving(name("b"));
        assert_pending!(spawn(registry.choose(None)).poll());
    }

    #[test]
    fn a_call_stops_waiting_when_the_opening_fails() {
        let registry: Registry<Fake> = Registry::new();
        let arrival = registry.arriving(name("a"));
        let clone = arrival.clone();
        let mut call = spawn(registry.choose(Some("a")));
        assert_pending!(call.poll());
        drop(arrival);
        assert_pending!(call.poll());
        drop(clone);
        assert!(call.is_woken());
        assert!(assert_ready!(call.poll()).is_err());
    }
}
