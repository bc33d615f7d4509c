//! The agents that are connected, by their names.

use grpctunnel_driver::{Channel, Code, Registry, Status, TunnelGroup, TunnelPeer, TunnelService};

use crate::{front::Opened, listener::Endpoint, name::Name, refusal::Refusal};

/// The connected agents. Clones are the same.
///
/// Tunnels of one name share the name's calls in turn.
#[derive(Clone, Debug)]
pub(crate) struct Agents(Registry<Name>);

impl Agents {
    pub(crate) fn new() -> Self {
        let name_of = |peer: &TunnelPeer| match peer.extensions().get::<Opened>() {
            Some(opened) => Ok(opened.name.clone()),
            // Every opening passes the front, which adds it.
            None => Err(Status::new(Code::Internal, "the tunnel has no name")),
        };
        Self(Registry::new(grpctunnel_tokio::runtime(), name_of))
    }

    /// Lets this service find its reverse tunnels here.
    pub(crate) fn of<H>(&self, service: TunnelService<H>) -> TunnelService<H> {
        service.register(&self.0)
    }

    /// The tunnels to the agent `target`, or to the only one that is connected of those that the
    /// caller `may` call.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when there is no such agent, or when it is not clear which one is meant.
    pub(crate) fn find(
        &self,
        target: Option<&Name>,
        may: impl Fn(&Name) -> bool,
    ) -> Result<TunnelGroup, Refusal> {
        let found = match target {
            Some(target) if may(target) => self.0.get(target),
            Some(_) => None,
            None => self.only(may)?,
        };
        let not_connected = || Refusal::NotConnected {
            target: target.cloned(),
        };
        // One that arrives may be waited for: the agent may know that it is connected before its
        // tunnel can carry a call.
        found
            .filter(|group| group.is_expecting() || is_connected(group))
            .ok_or_else(not_connected)
    }

    /// The agent that a call without a target means: the only one that is connected, or else the
    /// only one that arrives.
    fn only(&self, may: impl Fn(&Name) -> bool) -> Result<Option<TunnelGroup>, Refusal> {
        let names = self.0.keys().into_iter().filter(may);
        let groups: Vec<_> = names.filter_map(|name| self.0.get(&name)).collect();
        let mut connected = groups.iter().filter(|group| is_connected(group));
        match (connected.next(), connected.next()) {
            (Some(_), Some(_)) => Err(Refusal::Ambiguous),
            (Some(only), None) => Ok(Some(only.clone())),
            (None, _) => Ok(groups.into_iter().next()),
        }
    }

    /// Whether the agent can be called now.
    pub(crate) fn is_connected(&self, name: &Name) -> bool {
        self.0.get(name).is_some_and(|group| is_connected(&group))
    }

    /// Where the other tunnels of an agent come from.
    pub(crate) fn others(&self, name: &Name, channel: &Channel) -> Vec<Endpoint> {
        let channels = self.0.get(name).map(|group| group.channels());
        let others = channels.into_iter().flatten();
        let others = others.filter(|other| other.id() != channel.id());
        others.filter_map(|other| endpoint(&other)).collect()
    }

    /// Waits for `answer` to give something else than it did, which it may whenever an agent comes
    /// or goes.
    pub(crate) async fn other<T: PartialEq>(&self, last: Option<T>, answer: impl Fn() -> T) -> T {
        let all = self.0.all();
        loop {
            // Before looking, so that a change in between is not missed.
            let changed = all.changed();
            let now = answer();
            if last.as_ref() != Some(&now) {
                return now;
            }
            changed.await;
        }
    }
}

/// Whether any tunnel of an agent may take a call, now or when it has room.
fn is_connected(group: &TunnelGroup) -> bool {
    let channels = group.channels();
    channels.iter().any(|channel| channel.state().is_usable())
}

fn endpoint(channel: &Channel) -> Option<Endpoint> {
    let opened = channel.peer()?.extensions().get::<Opened>()?;
    Some(opened.by.peer.clone())
}
