//! `grpctunnel gateway`: agents and callers come to it.

use std::{sync::Arc, time::Duration};

use grpctunnel_driver::{Options, ReverseTunnel, TunnelEnd, TunnelService};
use http::HeaderValue;

use crate::{
    IDLE_LIMIT, MAX_STREAMS, MEMORY, SLACK,
    address::Address,
    admission::Purpose,
    front::{Front, Opened},
    health::Health,
    listener::{BindError, Endpoint, Listener},
    name::{Name, random},
    registry::{Arrival, Registry},
    router::{Router, Way},
    routing::Routing,
    serve::{Limits, TurnedAway, serve},
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
        /// Where others of the same name come from, with which it shares the calls.
        others: Vec<Endpoint>,
    },
    /// The tunnel of an agent is over.
    Left {
        /// Its name.
        name: Name,
        /// Where it came from.
        peer: Endpoint,
        /// How it ended.
        end: TunnelEnd,
    },
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
    /// Whether it may listen where other machines reach it, although nobody has to authenticate.
    /// Default: no.
    pub insecure: bool,
    /// How calls without a target find their agent. Default: the only agent.
    pub routing: Routing,
    /// Calls that may be open at once on a tunnel. Default: 1,024.
    pub max_streams: u32,
    /// Bytes that the connections of callers may hold of what nobody has read yet. It bounds how
    /// many connections there are, too: one for every 128 KiB. What tunnels hold comes on top.
    /// Default: 256 MiB.
    pub memory: usize,
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
            routing: Routing::default(),
            max_streams: MAX_STREAMS,
            memory: MEMORY,
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
    tell: Tell,
}

impl Gateway {
    /// Listens. `tell` is called with what happens, and must not block.
    ///
    /// # Errors
    ///
    /// When the address cannot be resolved or listened on, or when other machines reach it and the
    /// settings do not say that they may.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    pub async fn bind(
        settings: GatewaySettings,
        tell: impl Fn(GatewayEvent) + Send + Sync + 'static,
    ) -> Result<Self, BindError> {
        let listener = Listener::bind(&settings.listen, settings.insecure).await?;
        Ok(Self {
            endpoint: listener.endpoint()?,
            listener,
            settings,
            tell: Arc::new(tell),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves until `stop`. Once it drains, agents and calls are refused; calls that are open
    /// then may go on until the drain limit, and end UNAVAILABLE.
    pub async fn run(self, stop: Stop) -> Ended {
        let drain_limit = self.settings.drain_limit;
        let limits = Limits {
            memory: self.settings.memory,
            tunnels: true,
            idle: self.settings.idle_limit,
        };
        let tell = Arc::clone(&self.tell);
        let turned_away = move |TurnedAway { count, why }| {
            tell(GatewayEvent::TurnedAway { count, why });
        };
        let (front, listener) = self.front(&stop);
        let (calls, tunnels) = (front.router.calls().clone(), front.tunnels.clone());
        let make = move |peer, purpose| Front {
            peer,
            purpose,
            ..front.clone()
        };
        // Connections end when the calls have been counted that this cuts off, not before.
        let connections = Stop::new();
        let closing = stop.clone();
        let serving = serve(
            listener,
            limits,
            make,
            turned_away,
            closing,
            connections.clone(),
        );
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

    fn front(self, stop: &Stop) -> (Front, Listener) {
        let registry = Registry::new();
        let instance = HeaderValue::from_str(&format!("{:016x}{:016x}", random(), random()));
        let instance = instance.unwrap_or_else(|_| HeaderValue::from_static(""));
        let health = Health::new(registry.clone(), stop.clone());
        let routing = self.settings.routing;
        let router = Router::new(registry.clone(), routing, health, instance.clone());
        let mut options = Options::default();
        options.limits.max_streams = self.settings.max_streams;
        // A call goes on to an agent as it came.
        options.authority = None;
        let (tell, capacity) = (self.tell, self.settings.max_streams);
        let accept = move |tunnel| accept(tunnel, capacity, Arc::clone(&tell));
        let front = Front {
            tunnels: TunnelService::new(grpctunnel_tokio::runtime())
                .with_options(options)
                .forward(router.clone())
                .reverse(accept),
            router,
            registry,
            instance,
            peer: self.endpoint,
            purpose: Purpose::default(),
            stop: stop.clone(),
        };
        (front, self.listener)
    }
}

/// Keeps an agent's tunnel in the registry until it is over.
fn accept(mut tunnel: ReverseTunnel, capacity: u32, tell: Tell) -> impl Future<Output = ()> + Send {
    let arrival = tunnel.extensions.remove::<Arrival<Way>>();
    let opened = tunnel.extensions.remove::<Opened>();
    async move {
        let (Some(arrival), Some(Opened { peer, named })) = (arrival, opened) else {
            // Every opening passes the front, which adds both.
            return tunnel.channel.close();
        };
        let name = arrival.name().clone();
        let closed = tunnel.channel.closed();
        let way = Way {
            channel: tunnel.channel,
            capacity,
        };
        let (member, others) = arrival.register(way, peer.clone());
        drop(arrival);
        tell(GatewayEvent::Joined {
            name: name.clone(),
            named,
            peer: peer.clone(),
            others,
        });
        let end = closed.await;
        drop(member);
        tell(GatewayEvent::Left { name, peer, end });
    }
}
