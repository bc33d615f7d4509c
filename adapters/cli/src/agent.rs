//! `grpctunnel agent`: opens tunnels to gateways, and handles their calls by local servers.

use std::{fmt, sync::Arc, time::Duration};

use grpctunnel_driver::{
    Backoff, DialError, Interruption, Options, Status, Supervisor, SupervisorEventKind, TunnelPeer,
};
use http::{HeaderMap, HeaderValue, uri::Authority};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub use crate::local::{Breaking, LocalEvent};
use crate::{
    INSTANCE, MAX_STREAMS, NAME,
    admin::{Supervised, Way},
    audit::CallFailed,
    auth::Credentials,
    carrier::{AUTH_RETRIES, Carrier, Refusals, is_refusal},
    connect::Proxy,
    local::{Local, LocalSettings},
    metrics::{self, Observed, Observer},
    name::Name,
    origin::Origin,
    ready::Need,
    stop::{Ended, Stop},
    words,
};

/// A local server, and the name that callers use for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The name.
    pub name: Name,
    /// The server.
    pub local: Origin,
}

/// The settings of an agent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Agent {
    /// The gateways. Each gets tunnels of its own.
    pub gateways: Vec<Origin>,
    /// What it serves. Each has tunnels of its own.
    pub served: Vec<Served>,
    /// What the local servers see as `:authority`. Default: what the caller sent; their own where
    /// that does not come through the tunnel.
    pub local_authority: Option<Authority>,
    /// The most connections to each local server at once. Default: 8.
    pub local_connections: usize,
    /// Tunnels of each name to each gateway. Default: 1.
    pub connections: usize,
    /// Calls that may be open at once on a tunnel. Default: 1,024.
    pub max_streams: u32,
    /// The way to the gateways. Default: straight.
    pub proxy: Proxy,
    /// What is presented to the gateways, and what they are checked against. Default: nothing, and
    /// the authorities that the system trusts.
    pub credentials: Credentials,
    /// The same towards the local servers.
    pub local_credentials: Credentials,
    /// Where it says what its tunnels do.
    pub supervised: Supervised,
    /// When a local server that fails is left alone. Default: never.
    pub breaking: Option<Breaking>,
    /// How often it tries again after a gateway refused its credentials, one refusal after the
    /// other, before it gives that gateway up. Default: 3.
    pub auth_retries: u32,
    /// The longest pause before it connects again. Default: 10 s.
    pub retry_limit: Duration,
    /// How long open calls may go on once it drains; then they end UNAVAILABLE. Default: 30 s.
    pub drain_limit: Duration,
}

impl Agent {
    /// The defaults, for one gateway and one local server.
    #[must_use]
    pub fn new(gateway: Origin, name: Name, local: Origin) -> Self {
        Self {
            gateways: vec![gateway],
            served: vec![Served { name, local }],
            local_authority: None,
            local_connections: 8,
            connections: 1,
            max_streams: MAX_STREAMS,
            proxy: Proxy::None,
            credentials: Credentials::default(),
            local_credentials: Credentials::default(),
            supervised: Supervised::default(),
            breaking: None,
            auth_retries: AUTH_RETRIES,
            retry_limit: Duration::from_secs(10),
            drain_limit: Duration::from_secs(30),
        }
    }
}

/// What happens at an agent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AgentEvent {
    /// It can be called.
    Connected {
        /// Through which gateway.
        gateway: Origin,
        /// By which name.
        name: Name,
    },
    /// It could not connect.
    Failed {
        /// To which gateway.
        gateway: Origin,
        /// Why.
        why: String,
    },
    /// A tunnel is over.
    Lost {
        /// To which gateway.
        gateway: Origin,
        /// How it ended.
        why: String,
    },
    /// It waits before it connects again.
    Pausing {
        /// To which gateway.
        gateway: Origin,
        /// How long.
        pause: Duration,
    },
    /// A call ended with another code than OK.
    CallFailed(CallFailed),
    /// A gateway refused its credentials again and again, and is left alone.
    GaveUp {
        /// The gateway.
        gateway: Origin,
        /// The name that it wanted to serve there.
        name: Name,
        /// The last refusal.
        why: String,
    },
    /// Something happened between it and a local server.
    Local {
        /// Which one.
        local: Origin,
        /// What.
        event: LocalEvent,
    },
}

/// Why an agent does not go on: calls would go round in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnGateway {
    /// The gateway.
    pub gateway: Origin,
    /// The local server that is the same one.
    pub local: Origin,
}

impl fmt::Display for OwnGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateway, local } = self;
        write!(
            f,
            "the local server {local} is the gateway {gateway} itself; calls would go round in a \
             circle"
        )
    }
}

impl std::error::Error for OwnGateway {}

type Tell = Arc<dyn Fn(AgentEvent) + Send + Sync>;
type LocalServer = Local<tonic::body::Body>;

impl Agent {
    /// Serves until `stop`, and connects again as often as needed. `tell` is called with what
    /// happens, and must not block.
    ///
    /// # Errors
    ///
    /// When a local server is the gateway that its calls come from.
    pub async fn run(
        self,
        tell: impl Fn(AgentEvent) + Send + Sync + 'static,
        stop: Stop,
    ) -> Result<Ended, OwnGateway> {
        let tell: Tell = Arc::new(tell);
        let (circle, mut circles) = unbounded_channel();
        let mut supervisors = Vec::new();
        for served in &self.served {
            let local = self.local(served, &tell);
            let instance = tokio::select! {
                instance = local.instance(tonic::body::Body::new(question())) => instance,
                () = stop.draining() => return Ok(Ended::Finished),
            };
            let need = stop
                .readiness()
                .needs(format_args!("tunnel for {}", served.name));
            let need = Arc::new(need);
            for gateway in &self.gateways {
                let events = Events {
                    gateway: gateway.clone(),
                    served: served.clone(),
                    tell: Arc::clone(&tell),
                    circle: circle.clone(),
                    need: Arc::clone(&need),
                };
                match self.supervise(local.clone(), instance.clone(), events) {
                    Ok(supervisor) => {
                        let name = Some(served.name.clone());
                        self.supervised.add(name, Way::Agent, supervisor.clone());
                        supervisors.push(supervisor);
                    }
                    Err(status) => {
                        let (gateway, why) = (gateway.clone(), status.to_string());
                        tell(AgentEvent::Failed { gateway, why });
                    }
                }
            }
        }
        drop(circle);
        let ending = end(&supervisors, &self, &stop);
        tokio::select! {
            // With it the last supervisor may have ended, too.
            biased;
            Some(own) = circles.recv() => Err(own),
            ended = ending => Ok(ended),
        }
    }

    /// Keeps the tunnels of one local server to one gateway open: what one gateway refuses says
    /// nothing about another.
    fn supervise(
        &self,
        local: LocalServer,
        instance: Option<HeaderValue>,
        events: Events,
    ) -> Result<Supervisor, Status> {
        let mut metadata = HeaderMap::new();
        if let Ok(name) = HeaderValue::try_from(events.served.name.as_str()) {
            metadata.insert(NAME, name);
        }
        let mut backoff = Backoff::default();
        backoff.max = self.retry_limit;
        let tunnels = self.connections.max(1);
        let refusals = Refusals::new(self.auth_retries, tunnels);
        let accepted = refusals.clone();
        let tell = Arc::clone(&events.tell);
        let name = Some(events.served.name.clone());
        let calls = Observed {
            inner: local.for_tunnels(),
            observer: Observer::new(name, move |failed| tell(AgentEvent::CallFailed(failed))),
        };
        let gateway = events.gateway.clone();
        let (proxy, credentials) = (self.proxy.clone(), self.credentials.clone());
        let carrier = Carrier::new(gateway.clone(), proxy, credentials);
        Supervisor::reverse(calls)
            .gateway(gateway.to_string(), carrier)
            .tunnels(tunnels)
            .options(self.options())
            .metadata(metadata)
            .backoff(backoff)
            .check(move |peer| not_itself(peer, instance.as_ref()))
            .give_up_on(move |why| refusals.are_final(why))
            .on_event(move |event| {
                if matches!(event.kind, SupervisorEventKind::Opened) {
                    accepted.over();
                }
                events.tell(event.kind);
            })
            .start(&grpctunnel_tokio::runtime())
    }

    fn local(&self, served: &Served, tell: &Tell) -> LocalServer {
        let settings = LocalSettings {
            origin: served.local.clone(),
            authority: self.local_authority.clone(),
            connections: self.local_connections,
            credentials: self.local_credentials.clone(),
            breaking: self.breaking,
        };
        let (tell, local) = (Arc::clone(tell), served.local.clone());
        Local::new(settings, move |event| {
            let local = local.clone();
            tell(AgentEvent::Local { local, event });
        })
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.limits.max_streams = self.max_streams;
        options.authority = None;
        options
    }
}

/// A `HealthCheckRequest` for the whole server: an empty message.
fn question() -> http_body_util::Full<bytes::Bytes> {
    http_body_util::Full::from(&[0; 5][..])
}

/// Ends the supervisors as `stop` says.
async fn end(supervisors: &[Supervisor], agent: &Agent, stop: &Stop) -> Ended {
    let all = async {
        let mut all = Ended::Finished;
        for supervisor in supervisors {
            let end = supervisor.closed().await;
            // A task that panicked took its calls with it.
            let lost = matches!(end.gave_up, Some(Interruption::TaskLost));
            if lost || end.cut_off > 0 {
                all = Ended::CutOff;
            } else if end.gave_up.as_ref().is_some_and(is_refusal) && !stop.is_draining() {
                // Nobody asked it to end: no gateway is left.
                all = Ended::Refused;
            }
        }
        all
    };
    let stopping = async {
        stop.draining().await;
        for supervisor in supervisors {
            supervisor.drain(agent.drain_limit);
        }
        stop.ending().await;
        for supervisor in supervisors {
            supervisor.stop();
        }
        std::future::pending::<Ended>().await
    };
    tokio::select! {
        ended = all => ended,
        ended = stopping => ended,
    }
}

/// Refuses a gateway that is the local server at the other end.
fn not_itself(peer: Option<&TunnelPeer>, local: Option<&HeaderValue>) -> Result<(), DialError> {
    let gateway = peer.and_then(|peer| peer.metadata().get(INSTANCE));
    if gateway.is_none() || gateway != local {
        return Ok(());
    }
    Err(DialError::permanent(
        "the local server is the gateway itself",
    ))
}

/// Tells what happens to the tunnels of one local server to one gateway.
struct Events {
    gateway: Origin,
    served: Served,
    tell: Tell,
    /// Where a local server is told that is its own gateway.
    circle: UnboundedSender<OwnGateway>,
    /// What its readiness waits for.
    need: Arc<Need>,
}

impl Events {
    fn tell(&self, event: SupervisorEventKind<'_>) {
        self.need.follow(&event);
        match event {
            SupervisorEventKind::Opened => metrics::connected(true),
            SupervisorEventKind::Failed(_) => metrics::connected(false),
            _ => {}
        }
        let gateway = self.gateway.clone();
        let event = match event {
            SupervisorEventKind::Opened => AgentEvent::Connected {
                gateway,
                name: self.served.name.clone(),
            },
            SupervisorEventKind::GaveUp(Interruption::Rejected(_)) => {
                let local = self.served.local.clone();
                // Nobody hears it when the agent has ended.
                let _ = self.circle.send(OwnGateway { gateway, local });
                return;
            }
            SupervisorEventKind::Failed(Interruption::Rejected(_))
            | SupervisorEventKind::Ended(Interruption::Stopped(_)) => return,
            SupervisorEventKind::Failed(why) => AgentEvent::Failed {
                gateway,
                why: words::interruption(why),
            },
            SupervisorEventKind::Ended(why) => AgentEvent::Lost {
                gateway,
                why: words::interruption(why),
            },
            SupervisorEventKind::Waiting(pause) => AgentEvent::Pausing { gateway, pause },
            SupervisorEventKind::GaveUp(why) if is_refusal(why) => AgentEvent::GaveUp {
                gateway,
                name: self.served.name.clone(),
                why: words::interruption(why),
            },
            _ => return,
        };
        (self.tell)(event);
    }
}
