//! `grpctunnel agent`: opens a tunnel to a gateway, and handles its calls by a local server.

use std::{error::Error, fmt, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use grpctunnel_driver::{ConnectError, ServerHandle};
use grpctunnel_tokio::Options;
use tokio::time::{Instant, sleep};
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::{
    NAME, SLACK,
    local::Local,
    name::Name,
    origin::Origin,
    stop::{Ended, Stop},
};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long the pauses begin anew: the gateway was there.
const STEADY: Duration = Duration::from_secs(10);
/// The first of TCP's own probes, and the pause between them: a gateway that vanished without
/// a word is noticed, whatever HTTP/2 does.
const TCP_PROBE: Duration = Duration::from_secs(20);
const TCP_PROBE_PAUSE: Duration = Duration::from_secs(5);
const TCP_PROBES: u32 = 3;
/// The longest that the end of a tunnel may take once nothing is open on it.
const FAREWELL: Duration = Duration::from_secs(6);

/// The settings of an agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The gateway.
    pub gateway: Origin,
    /// The name that callers use.
    pub name: Name,
    /// The local server.
    pub local: Origin,
    /// The longest pause before it connects anew.
    pub retry_limit: Duration,
    /// How long open calls may go on once it drains; then they end UNAVAILABLE.
    pub drain_limit: Duration,
}

/// What happens at an agent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AgentEvent {
    /// It can be called.
    Connected,
    /// It could not connect.
    Failed {
        /// Why.
        why: String,
    },
    /// Its tunnel is over.
    Lost {
        /// How it ended.
        why: String,
    },
    /// It waits before it connects anew.
    Pausing {
        /// How long.
        pause: Duration,
    },
}

impl Agent {
    /// Serves until `stop`, and connects anew as often as needed. `tell` is called with what
    /// happens, and must not block.
    pub async fn run(self, tell: impl Fn(AgentEvent) + Send + Sync, stop: Stop) -> Ended {
        let local = Local::new(self.local.clone());
        let mut pauses = self.pauses();
        loop {
            let opened = tokio::select! {
                biased;
                () = stop.draining() => return Ended::Finished,
                opened = self.open(local.clone()) => opened,
            };
            match opened {
                Ok(tunnel) => {
                    tell(AgentEvent::Connected);
                    let begun = Instant::now();
                    let end = tokio::select! {
                        end = tunnel.closed() => end,
                        () = stop.draining() => return self.drain(tunnel, &stop).await,
                    };
                    let why = end.to_string();
                    tell(AgentEvent::Lost { why });
                    if begun.elapsed() >= STEADY {
                        pauses = self.pauses();
                    }
                }
                Err(error) => {
                    let why = chain(&error);
                    tell(AgentEvent::Failed { why });
                }
            }
            let pause = pauses.next().unwrap_or(self.retry_limit);
            tell(AgentEvent::Pausing { pause });
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.draining() => return Ended::Finished,
            }
        }
    }

    async fn open(&self, local: Local<tonic::body::Body>) -> Result<ServerHandle, OpenError> {
        let endpoint = grpctunnel_tokio::endpoint(self.gateway.to_string())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Some(TCP_PROBE))
            .tcp_keepalive_interval(Some(TCP_PROBE_PAUSE))
            .tcp_keepalive_retries(Some(TCP_PROBES));
        let carrier = grpctunnel_tokio::dial(&endpoint).await?;
        let mut metadata = MetadataMap::new();
        if let Ok(name) = MetadataValue::try_from(self.name.as_str()) {
            metadata.insert(NAME, name);
        }
        let options = Options::default();
        let tunnel = grpctunnel_tokio::serve_reverse(carrier, local, &options, metadata).await?;
        Ok(tunnel)
    }

    async fn drain(&self, tunnel: ServerHandle, stop: &Stop) -> Ended {
        tunnel.drain(self.drain_limit.saturating_add(SLACK));
        let closed = tunnel.closed();
        tokio::pin!(closed);
        tokio::select! {
            _ = closed.as_mut() => return Ended::Finished,
            () = sleep(self.drain_limit) => {}
            () = stop.ending() => {}
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

    /// Pauses that double, from a quarter of a second to the limit, each longer by chance.
    fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let half = self.retry_limit / 2;
        ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE.min(half))
            .with_max_delay(half)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

/// Why there is no tunnel.
#[derive(Debug)]
enum OpenError {
    Transport(tonic::transport::Error),
    Tunnel(ConnectError),
}

impl From<tonic::transport::Error> for OpenError {
    fn from(error: tonic::transport::Error) -> Self {
        Self::Transport(error)
    }
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        Self::Tunnel(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(_) => f.write_str("the gateway is not there"),
            Self::Tunnel(error) => error.fmt(f),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Transport(error) => error.source(),
            Self::Tunnel(error) => error.source(),
        }
    }
}

/// An error and what is behind it, in one line, repetitions left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(retry_limit: u64) -> Agent {
        let origin: Origin = "http://127.0.0.1:1".parse().unwrap();
        Agent {
            gateway: origin.clone(),
            name: "a".parse().unwrap(),
            local: origin,
            retry_limit: Duration::from_secs(retry_limit),
            drain_limit: Duration::ZERO,
        }
    }

    #[test]
    fn pauses_grow_to_the_limit_and_never_end() {
        for limit in [1, 10] {
            let agent = agent(limit);
            let pauses: Vec<_> = agent.pauses().take(50).collect();
            assert_eq!(pauses.len(), 50);
            assert!(
                pauses.iter().all(|pause| *pause <= agent.retry_limit),
                "{pauses:?}"
            );
            assert!(
                pauses.iter().all(|pause| *pause >= FIRST_PAUSE),
                "{pauses:?}"
            );
            assert!(pauses[49] >= agent.retry_limit / 2, "{pauses:?}");
        }
    }
}
