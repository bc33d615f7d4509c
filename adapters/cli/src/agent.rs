//! `grpctunnel agent`: opens tunnels to gateways, and handles their calls by local servers.

use std::{fmt, sync::Arc, time::Duration};

use grpctunnel_driver::ServerHandle;
use grpctunnel_tokio::Options;
use http::{HeaderValue, uri::Authority};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::metadata::{MetadataMap, MetadataValue};

pub use crate::local::LocalEvent;
use crate::{
    INSTANCE, MAX_STREAMS, NAME, SLACK,
    auth::Credentials,
    carrier::{AUTH_RETRIES, Carrier, OpenError, Refusals},
    connect::Proxy,
    local::{Local, LocalSettings},
    name::Name,
    origin::Origin,
    pauses::Pauses,
    stop::{Ended, Stop},
    words,
};

/// The longest that the end of a tunnel may take once nothing is open on it.
const FAREWELL: Duration = Duration::from_secs(6);

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
    /// How often it tries again after the gateway refused its credentials, one refusal after the
    /// other, before it gives up. Default: 3.
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
        let mut lines = JoinSet::new();
        for served in &self.served {
            let local = self.local(served, &tell);
            let instance = tokio::select! {
                instance = local.instance(tonic::body::Body::new(question())) => instance,
                () = stop.draining() => return Ok(Ended::Finished),
            };
            for gateway in &self.gateways {
                for _ in 0..self.connections.max(1) {
                    let line = Line {
                        carrier: Carrier::new(
                            gateway.clone(),
                            self.proxy.clone(),
                            self.credentials.clone(),
                        ),
                        gateway: gateway.clone(),
                        served: served.clone(),
                        local: local.clone(),
                        instance: instance.clone(),
                        options: self.options(),
                        retry_limit: self.retry_limit,
                        drain_limit: self.drain_limit,
                        auth_retries: self.auth_retries,
                        tell: Arc::clone(&tell),
                    };
                    lines.spawn(line.run(stop.clone()));
                }
            }
        }
        let mut all = Ended::Finished;
        while let Some(ended) = lines.join_next().await {
            match ended {
                Ok(Ok(Ended::Finished)) => {}
                Ok(Ok(Ended::Refused)) => all = Ended::Refused,
                // A task that panicked took its calls with it.
                Ok(Ok(Ended::CutOff)) | Err(_) => all = Ended::CutOff,
                Ok(Err(own)) => return Err(own),
            }
        }
        Ok(all)
    }

    fn local(&self, served: &Served, tell: &Tell) -> LocalServer {
        let settings = LocalSettings {
            origin: served.local.clone(),
            authority: self.local_authority.clone(),
            connections: self.local_connections,
            credentials: self.local_credentials.clone(),
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

/// One tunnel, made again as often as it is lost.
struct Line {
    carrier: Carrier,
    gateway: Origin,
    served: Served,
    local: LocalServer,
    /// The gateway that the local server is, if it is one.
    instance: Option<HeaderValue>,
    options: Options,
    retry_limit: Duration,
    drain_limit: Duration,
    auth_retries: u32,
    tell: Tell,
}

impl Line {
    async fn run(self, stop: Stop) -> Result<Ended, OwnGateway> {
        let mut pauses = Pauses::new(self.retry_limit);
        let mut refusals = Refusals::new(self.auth_retries);
        let gateway = || self.gateway.clone();
        loop {
            let opened = tokio::select! {
                biased;
                () = stop.draining() => return Ok(Ended::Finished),
                opened = self.open() => opened,
            };
            match opened {
                Ok(tunnel) => {
                    refusals.over();
                    self.refuse_circle(&tunnel)?;
                    (self.tell)(AgentEvent::Connected {
                        gateway: gateway(),
                        name: self.served.name.clone(),
                    });
                    let begun = Instant::now();
                    let end = tokio::select! {
                        end = tunnel.closed() => end,
                        () = stop.draining() => return Ok(self.drain(tunnel, &stop).await),
                    };
                    (self.tell)(AgentEvent::Lost {
                        gateway: gateway(),
                        why: words::end(&end),
                    });
                    pauses.lasted_since(begun);
                }
                Err(error) => {
                    (self.tell)(AgentEvent::Failed {
                        gateway: gateway(),
                        why: error.to_string(),
                    });
                    if refusals.are_final(&error) {
                        return Ok(Ended::Refused);
                    }
                }
            }
            let pause = pauses.pause();
            (self.tell)(AgentEvent::Pausing {
                gateway: gateway(),
                pause,
            });
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.draining() => return Ok(Ended::Finished),
            }
        }
    }

    async fn open(&self) -> Result<ServerHandle, OpenError> {
        let carrier = self.carrier.dial().await?;
        let mut metadata = MetadataMap::from_headers(self.carrier.metadata());
        if let Ok(name) = MetadataValue::try_from(self.served.name.as_str()) {
            metadata.insert(NAME, name);
        }
        let (local, options) = (self.local.clone(), &self.options);
        Ok(grpctunnel_tokio::serve_reverse(carrier, local, options, metadata).await?)
    }

    /// Whether the gateway at the other end is the local server.
    fn refuse_circle(&self, tunnel: &ServerHandle) -> Result<(), OwnGateway> {
        let gateway = tunnel.peer().and_then(|peer| peer.metadata().get(INSTANCE));
        if gateway.is_none() || gateway != self.instance.as_ref() {
            return Ok(());
        }
        tunnel.abort();
        Err(OwnGateway {
            gateway: self.gateway.clone(),
            local: self.served.local.clone(),
        })
    }

    async fn drain(&self, tunnel: ServerHandle, stop: &Stop) -> Ended {
        tunnel.drain(self.drain_limit.saturating_add(SLACK));
        let closed = tunnel.closed();
        tokio::pin!(closed);
        tokio::select! {
            biased;
            () = stop.ending() => {}
            _ = closed.as_mut() => return Ended::Finished,
            () = sleep(self.drain_limit) => {}
        }
        let ended = match tunnel.active_calls() {
            0 => Ended::Finished,
            _ => Ended::CutOff,
        };
        tokio::select! {
            _ = closed => {}
            () = sleep(FAREWELL) => {}
            () = stop.ending() => {}
        }
        tunnel.abort();
        ended
    }
}
