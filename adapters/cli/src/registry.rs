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
    ) -> Result<(Name, TunnelGroup), Refusal> {
        let found = match target {
            Some(target) if may(target) => self.0.get(target).map(|group| (target.clone(), group)),
            Some(_) => None,
            None => self.only(may)?,
        };
        let not_connected = || Refusal::NotConnected {
            target: target.cloned(),
        };
        // One that arrives may be waited for: the agent may know that it is connected before its
        // tunnel can carry a call.
        found
            .filter(|(_, group)| group.is_expecting() || group.is_usable())
            .ok_or_else(not_connected)
    }

    /// The agent that a call without a target means: the only one that is connected, or else the
    /// only one that arrives.
    fn only(&self, may: impl Fn(&Name) -> bool) -> Result<Option<(Name, TunnelGroup)>, Refusal> {
        let names = self.0.keys().into_iter().filter(may);
        let group = |name: Name| self.0.get(&name).map(|group| (name, group));
        let groups: Vec<_> = names.filter_map(group).collect();
        let mut connected = groups.iter().filter(|(_, group)| group.is_usable());
        match (connected.next(), connected.next()) {
            (Some(_), Some(_)) => Err(Refusal::Ambiguous),
            (Some(only), None) => Ok(Some(only.clone())),
            // One that leaves does not hide one that arrives.
            (None, _) => Ok(groups.into_iter().find(|(_, group)| group.is_expecting())),
        }
    }

    /// The tunnels of an agent.
    pub(crate) fn channels(&self, name: &Name) -> Vec<Channel> {
        let channels = self.0.get(name).map(|group| group.channels());
        channels.unwrap_or_default()
    }

    /// The tunnels of all agents.
    pub(crate) fn all(&self) -> Vec<Channel> {
        self.0.all().channels()
    }

    /// Whether the agent can be called now.
    pub(crate) fn is_connected(&self, name: &Name) -> bool {
        self.0.get(name).is_some_and(|group| group.is_usable())
    }

    /// Where the other tunnels of an agent come from.
    pub(crate) fn others(&self, name: &Name, channel: &Channel) -> Vec<Endpoint> {
        let others = self.channels(name).into_iter();
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

fn opened(channel: &Channel) -> Option<&Opened> {
    channel.peer()?.extensions().get::<Opened>()
}

fn endpoint(channel: &Channel) -> Option<Endpoint> {
    opened(channel).map(|opened| opened.by.peer.clone())
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        time::{Duration, Instant},
    };

    use bytes::Bytes;
    use grpctunnel_driver::TransmitBody;
    use http::{Request, Response};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tower_service::Service;

    use super::*;
    use crate::auth::{Authenticated, Identity};

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Opens a tunnel of an agent that says nothing. One that negotiates may carry calls only when
    /// it has answered.
    fn open(service: &mut TunnelService, name: &str, negotiates: bool) -> Response<TransmitBody> {
        let silence = tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let mut request = Request::post(TunnelService::OPEN_REVERSE_TUNNEL)
            .extension(Opened {
                by: Authenticated::new(Identity::anybody(), Endpoint::Unix(name.into())),
                name: name.parse().unwrap(),
                named: true,
                since: Instant::now(),
            })
            .body(StreamBody::new(silence))
            .unwrap();
        if negotiates {
            let on = http::HeaderValue::from_static("on");
            request.headers_mut().insert("grpctunnel-negotiate", on);
        }
        service.call(request).into_inner().unwrap()
    }

    async fn connected(agents: &Agents, count: usize) {
        while agents.0.all().len() < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn without_a_target_the_only_agent_is_meant_that_the_caller_may_call() {
        let agents = Agents::new();
        let mut service = agents.of(TunnelService::new(grpctunnel_tokio::runtime()));
        let any = |_: &Name| true;
        let nobody = Refusal::NotConnected { target: None };
        assert_eq!(agents.find(None, any).unwrap_err(), nobody);
        let _a = open(&mut service, "a", false);
        let _b = open(&mut service, "b", false);
        connected(&agents, 2).await;
        assert_eq!(agents.find(None, any).unwrap_err(), Refusal::Ambiguous);
        let only_b = |name: &Name| name.as_str() == "b";
        let found = agents.find(None, only_b).unwrap().1.channels().remove(0);
        assert_eq!(endpoint(&found), Some(Endpoint::Unix("b".into())));
        let a: Name = "a".parse().unwrap();
        assert!(agents.find(Some(&a), any).is_ok());
        let hidden = Refusal::NotConnected {
            target: Some(a.clone()),
        };
        assert_eq!(agents.find(Some(&a), only_b).unwrap_err(), hidden);
        let second = open(&mut service, "a", false);
        connected(&agents, 3).await;
        assert_eq!(agents.others(&a, &found).len(), 2);
        drop(second);
    }

    #[tokio::test]
    async fn an_agent_that_leaves_does_not_hide_one_that_arrives() {
        let agents = Agents::new();
        let mut service = agents.of(TunnelService::new(grpctunnel_tokio::runtime()));
        let _leaving = open(&mut service, "a", false);
        connected(&agents, 1).await;
        let a: Name = "a".parse().unwrap();
        assert!(agents.is_connected(&a));
        agents.0.all().channels().remove(0).drain(HOUR);
        assert!(!agents.is_connected(&a));
        assert!(agents.find(None, |_| true).is_err());
        let _arriving = open(&mut service, "b", true);
        let (_, found) = agents.find(None, |_| true).unwrap();
        assert!(found.is_expecting() && found.is_empty());
    }
}
