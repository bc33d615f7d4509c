//! `grpctunnel gateway`: agents and callers come to it.

use std::{sync::Arc, time::Duration};

use grpctunnel_driver::{
    ForwardTunnel, MemoryBudget, Options, ReverseTunnel, TunnelEnd, TunnelService,
};
use http::HeaderValue;

use crate::{
    HANDSHAKE_RATE, IDLE_LIMIT, MAX_STREAMS, MEMORY, SLACK,
    address::Address,
    admin::{Drained, GatewayTunnels, Panel, Tunnels, readiness},
    admission::Purpose,
    audit::{Audit, CallFailed, Refused},
    auth::{Authenticated, Guard, LoadError, Trust, TrustSettings, Trusted},
    front::{Front, Opened},
    health::Health,
    limits::{Accounts, ConnectionPermits},
    listener::{BindError, Endpoint, Listener, Protection},
    metrics::{AgentTunnel, Observed, Observer, Recorder},
    name::{Name, random},
    pace::Pace,
    registry::Agents,
    retry::RetryPolicy,
    router::Router,
    routing::Routing,
    serve::{Arrived, Limits, Security, TurnedAway, serve},
    stop::{Ended, Stop},
};

/// What happens at a gateway.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum GatewayEvent {
    /// An agent can be called.
    Joined {
        /// Its name.
        name: Name,
        /// Whether the agent said it; if not, the gateway made it up.
        named: bool,
        /// Where it comes from.
        peer: Endpoint,
        /// Who it is: see [`Refused::identity`].
        identity: String,
        /// Where others of the same name come from, with which it shares the calls.
        others: Vec<Endpoint>,
    },
    /// The tunnel of an agent is over.
    Left {
        /// Its name.
        name: Name,
        /// Where it came from.
        peer: Endpoint,
        /// Who it was: see [`Refused::identity`].
        identity: String,
        /// How it ended.
        end: TunnelEnd,
    },
    /// A forward tunnel is open.
    Dialled {
        /// Where it comes from.
        peer: Endpoint,
        /// Who opened it: see [`Refused::identity`].
        identity: String,
    },
    /// A forward tunnel is over.
    HungUp {
        /// Where it came from.
        peer: Endpoint,
        /// Who had opened it: see [`Refused::identity`].
        identity: String,
        /// How it ended.
        end: TunnelEnd,
    },
    /// Whoever opened a forward tunnel is not known any more. It takes no more calls, and ends.
    Revoked {
        /// Where it comes from.
        peer: Endpoint,
        /// Who had opened it: see [`Refused::identity`].
        identity: String,
    },
    /// An agent may not serve its name any more. It gets no more calls, and its tunnel ends.
    Dismissed {
        /// Its name.
        name: Name,
        /// Where it comes from.
        peer: Endpoint,
        /// Who it is: see [`Refused::identity`].
        identity: String,
    },
    /// Something was refused: a connection, a tunnel or a call.
    Refused(Refused),
    /// A call ended with another code than OK.
    CallFailed(CallFailed),
    /// Connections were not taken. Told at once, and then at most every 10 s.
    TurnedAway {
        /// How many since it was last told.
        count: u64,
        /// Why the last of them was not.
        why: String,
    },
}

type Tell = Arc<dyn Fn(GatewayEvent) + Send + Sync>;

/// The settings of a gateway.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GatewaySettings {
    /// Where it listens.
    pub listen: Address,
    /// Whether it may listen where other machines reach it, although nobody has to authenticate or
    /// what passes can be read on the way. Default: no.
    pub insecure: bool,
    /// Whom it trusts, and with what. Default: everybody, without TLS.
    pub trust: TrustSettings,
    /// How calls without a target find their agent. Default: the only agent.
    pub routing: Routing,
    /// Which calls are made again that failed. Default: none.
    pub retries: Vec<RetryPolicy>,
    /// Calls that may be open at once on a tunnel. Default: 1,024.
    pub max_streams: u32,
    /// Bytes that the connections of callers may hold of what nobody has read yet. It bounds how
    /// many connections there are, too: one for every 128 KiB. As much again may wait in the tunnels
    /// together before new calls are refused. Default: 256 MiB.
    pub memory: usize,
    /// How many connections may begin their handshakes in a second, of TLS and of HTTP/2. Those
    /// beyond that wait, and the addresses that they come from take turns. Default: 300.
    pub handshake_rate: usize,
    /// How long a connection may have neither a call nor a tunnel before it is ended. Default: 5 min.
    pub idle_limit: Duration,
    /// How long open calls may go on once it drains; then they end UNAVAILABLE. Default: 30 s.
    pub drain_limit: Duration,
}

impl GatewaySettings {
    /// The defaults, with this address.
    #[must_use]
    pub fn new(listen: Address) -> Self {
        Self {
            listen,
            insecure: false,
            trust: TrustSettings::default(),
            routing: Routing::default(),
            retries: Vec::new(),
            max_streams: MAX_STREAMS,
            memory: MEMORY,
            handshake_rate: HANDSHAKE_RATE,
            idle_limit: IDLE_LIMIT,
            drain_limit: Duration::from_secs(30),
        }
    }
}

/// A gateway that listens and does not serve yet.
pub struct Gateway {
    listener: Listener,
    endpoint: Endpoint,
    settings: GatewaySettings,
    trusted: Trusted,
    listed: GatewayTunnels,
    tell: Tell,
}

/// Changes a gateway while it runs. Clones change the same one.
#[derive(Clone, Debug)]
pub struct GatewayControl {
    trusted: Trusted,
    listed: GatewayTunnels,
    began_as: (bool, bool),
}

impl GatewayControl {
    /// Trusts whom these settings say from now on, and reads their files again. What is wrong
    /// changes nothing. Tunnels stay; those of agents that may not serve their name any more are
    /// drained, and so are the forward tunnels of whoever is not known any more.
    ///
    /// # Errors
    ///
    /// As [`Gateway::bind`], and when TLS or authentication would be switched on or off.
    pub fn trust(&self, settings: &TrustSettings) -> Result<(), LoadError> {
        if kind(settings) != self.began_as {
            return Err(LoadError::NeedsRestart);
        }
        self.trusted.replace(Trust::load(settings)?);
        Ok(())
    }

    /// What its admin port shows: its readiness, which `stop` tells, and its tunnels.
    #[must_use]
    pub fn panel(&self, recorder: Recorder, stop: &Stop) -> Panel {
        let (stop, listed, changed) = (stop.clone(), self.listed.clone(), self.listed.clone());
        let ready = move || readiness(&stop);
        let panel = Panel::new("gateway", recorder, ready, move || listed.tunnels());
        panel.with_drain(move |name, drained| changed.change(name, drained))
    }

    /// The tunnels that it has.
    #[must_use]
    pub fn tunnels(&self) -> Tunnels {
        self.listed.tunnels()
    }

    /// Drains the tunnels of an agent and takes no more of its name, or takes it again. Open calls
    /// may go on until the drain limit. Says how many tunnels that concerns; `None` where there is no
    /// such agent.
    #[must_use]
    pub fn change(&self, name: &Name, drained: Drained) -> Option<usize> {
        self.listed.change(name, drained)
    }
}

/// What a gateway cannot change while it runs: whether it speaks TLS, and whether anybody has to
/// authenticate.
fn kind(settings: &TrustSettings) -> (bool, bool) {
    (settings.tls.is_some(), settings.authenticates())
}

impl Gateway {
    /// Listens. `tell` is called with what happens, and must not block.
    ///
    /// # Errors
    ///
    /// When the address cannot be resolved or listened on; when other machines reach it, nothing
    /// protects it and the settings do not say that this is meant; when whom it trusts cannot be
    /// read.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    pub async fn bind(
        settings: GatewaySettings,
        tell: impl Fn(GatewayEvent) + Send + Sync + 'static,
    ) -> Result<Self, BindError> {
        let trust = Trust::load(&settings.trust)?;
        let (encrypts, authenticates) = kind(&settings.trust);
        let safe = Protection {
            waived: settings.insecure,
            authenticates,
            encrypts,
        };
        let listener = Listener::bind(&settings.listen, safe).await?;
        let listed = GatewayTunnels::new(Agents::new(), settings.drain_limit);
        Ok(Self {
            listed,
            endpoint: listener.endpoint()?,
            listener,
            settings,
            trusted: Trusted::new(trust),
            tell: Arc::new(tell),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What changes it while it runs.
    #[must_use]
    pub fn control(&self) -> GatewayControl {
        GatewayControl {
            trusted: self.trusted.clone(),
            listed: self.listed.clone(),
            began_as: kind(&self.settings.trust),
        }
    }

    /// Serves until `stop`. Once it drains, agents and calls are refused; calls that are open
    /// then may go on until the drain limit, and end UNAVAILABLE.
    pub async fn run(self, stop: Stop) -> Ended {
        let drain_limit = self.settings.drain_limit;
        let limits = Limits {
            memory: self.settings.memory,
            tunnels: true,
            security: Some(Security {
                trusted: self.trusted.clone(),
                audit: self.audit(),
            }),
            idle: self.settings.idle_limit,
            pace: Some(Pace::new(self.settings.handshake_rate)),
        };
        let tell = Arc::clone(&self.tell);
        let turned_away = move |TurnedAway { count, why }| {
            tell(GatewayEvent::TurnedAway { count, why });
        };
        let (front, listener) = self.front(&stop);
        let (calls, tunnels) = (front.guard.router.calls().clone(), front.tunnels.clone());
        let make = move |arrived: Arrived| Front {
            peer: arrived.peer,
            purpose: arrived.purpose,
            certified: arrived.certified,
            permits: ConnectionPermits::default(),
            ..front.clone()
        };
        // Connections end when the calls have been counted that this cuts off, not before.
        let connections = Stop::new();
        let (closing, until) = (stop.clone(), connections.clone());
        let serving = serve(listener, limits, make, turned_away, closing, until);
        // What ending everything now means for the calls that are open.
        let cut = || match calls.open() {
            0 => Ended::Finished,
            _ => Ended::CutOff,
        };
        // The end that the limit brings about may be seen by `serving` first.
        let at_limit = std::sync::OnceLock::new();
        let draining = async {
            stop.draining().await;
            connections.drain();
            tunnels.drain(drain_limit.saturating_add(SLACK));
            tokio::time::sleep(drain_limit).await;
            let ended = *at_limit.get_or_init(cut);
            tunnels.drained().await;
            // The callers are told; whoever does not listen is left.
            tokio::time::sleep(SLACK).await;
            ended
        };
        tokio::pin!(serving);
        let ended = tokio::select! {
            biased;
                // Before `serving`, which does not look at the calls.
            () = stop.ending() => cut(),
            ended = draining => ended,
            // Every connection is closed: no call is open, and no tunnel.
            _ = serving.as_mut() => return at_limit.get().copied().unwrap_or(Ended::Finished),
        };
        connections.now();
        serving.await;
        ended
    }

    fn audit(&self) -> Audit {
        let tell = Arc::clone(&self.tell);
        Audit::new(move |refused| tell(GatewayEvent::Refused(refused)))
    }

    fn front(self, stop: &Stop) -> (Front, Listener) {
        let audit = self.audit();
        let agents = self.listed.agents().clone();
        let instance = HeaderValue::from_str(&format!("{:016x}{:016x}", random(), random()));
        let instance = instance.unwrap_or_else(|_| HeaderValue::from_static(""));
        let health = Health::new(agents.clone(), stop.clone());
        let (routing, retries) = (self.settings.routing, self.settings.retries);
        let guard = Guard {
            router: Router::new(agents.clone(), routing, retries, health, instance.clone()),
            trusted: self.trusted.clone(),
            accounts: Accounts::default(),
            audit,
        };
        let tell = Arc::clone(&self.tell);
        let calls = Observed {
            inner: guard.clone(),
            observer: Observer::new(None, move |failed| tell(GatewayEvent::CallFailed(failed))),
        };
        let mut options = Options::default();
        options.limits.max_streams = self.settings.max_streams;
        options.budget = Some(MemoryBudget::new(self.settings.memory));
        // A call goes on to an agent as it came.
        options.authority = None;
        let listed = self.listed;
        let house = House {
            listed: listed.clone(),
            agents: agents.clone(),
            trusted: self.trusted,
            drain_limit: self.settings.drain_limit,
            tell: self.tell,
        };
        let forward = house.clone();
        let accept = move |tunnel| house.clone().accept(tunnel);
        let front = Front {
            tunnels: agents.of(TunnelService::new(grpctunnel_tokio::runtime())
                .with_options(options)
                .forward(calls.clone())
                .keep_forward(move |tunnel| forward.clone().keep_forward(tunnel))
                .reverse(accept)),
            guard,
            calls,
            instance,
            peer: self.endpoint,
            purpose: Purpose::default(),
            certified: None,
            permits: ConnectionPermits::default(),
            listed,
            stop: stop.clone(),
        };
        (front, self.listener)
    }
}

/// What is done with tunnels.
#[derive(Clone)]
struct House {
    listed: GatewayTunnels,
    agents: Agents,
    trusted: Trusted,
    drain_limit: Duration,
    tell: Tell,
}

impl House {
    /// Looks after an agent's tunnel, which can be called, until it is over.
    fn accept(self, mut tunnel: ReverseTunnel) -> impl Future<Output = ()> + Send {
        let opened = tunnel.extensions.remove::<Opened>();
        async move {
            let channel = tunnel.channel;
            let Some(Opened {
                by, name, named, ..
            }) = opened
            else {
                // Without it the tunnel has no name, and is not opened.
                return channel.close();
            };
            let Authenticated { identity, peer, .. } = by;
            let _counted = AgentTunnel::begin(&name);
            let others = self.agents.others(&name, &channel);
            (self.tell)(GatewayEvent::Joined {
                name: name.clone(),
                named,
                peer: peer.clone(),
                identity: identity.to_string(),
                others,
            });
            let identified = identity.to_string();
            let may_serve = |trusted: &Trusted| trusted.may_serve(&identity, &name);
            if self.is_distrusted(channel.closed(), may_serve).await {
                (self.tell)(GatewayEvent::Dismissed {
                    name: name.clone(),
                    peer: peer.clone(),
                    identity: identified.clone(),
                });
                channel.drain(self.drain_limit);
            }
            let end = channel.closed().await;
            (self.tell)(GatewayEvent::Left {
                name,
                peer,
                identity: identified,
                end,
            });
        }
    }

    /// Looks after a forward tunnel until it is over.
    async fn keep_forward(self, tunnel: ForwardTunnel) {
        let ForwardTunnel { handle, peer, .. } = tunnel;
        let Some(by) = peer.extensions().get::<Authenticated>().cloned() else {
            // Without it nobody would make its calls.
            return handle.close();
        };
        let _listed = self.listed.forward(by.clone());
        let Authenticated { identity, peer, .. } = by;
        let identified = identity.to_string();
        (self.tell)(GatewayEvent::Dialled {
            peer: peer.clone(),
            identity: identified.clone(),
        });
        let is_known = |trusted: &Trusted| trusted.is_known(&identity);
        if self.is_distrusted(handle.closed(), is_known).await {
            (self.tell)(GatewayEvent::Revoked {
                peer: peer.clone(),
                identity: identified.clone(),
            });
            handle.drain(self.drain_limit);
        }
        let end = handle.closed().await;
        (self.tell)(GatewayEvent::HungUp {
            peer,
            identity: identified,
            end,
        });
    }

    /// Waits until a tunnel is over, or what it depends on does not hold any more: whether it is
    /// that.
    async fn is_distrusted(
        &self,
        closed: impl Future<Output = TunnelEnd>,
        holds: impl Fn(&Trusted) -> bool,
    ) -> bool {
        tokio::select! {
            _ = closed => false,
            () = self.trusted.changed(holds) => true,
        }
    }
}
