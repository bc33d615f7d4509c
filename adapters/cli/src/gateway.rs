//! `grpctunnel gateway`: agents and callers come to it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use grpctunnel_driver::{Channel, ReverseTunnel, TunnelEnd, TunnelService};
use tokio::net::TcpListener;

use crate::{
    SLACK,
    name::Name,
    proxy::Front,
    registry::{Arrival, Registry},
    serve::serve,
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
        /// Where it comes from.
        peer: SocketAddr,
    },
    /// The tunnel of an agent is over.
    Left {
        /// Its name.
        name: Name,
        /// Where it came from.
        peer: SocketAddr,
        /// How it ended.
        end: TunnelEnd,
    },
}

type Tell = Arc<dyn Fn(GatewayEvent) + Send + Sync>;

/// A gateway that listens and does not serve yet.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    registry: Registry<Channel>,
    tunnels: TunnelService,
}

impl Gateway {
    /// Listens on `listen`, as `HOST:PORT`; port 0 takes a free one. `tell` is called with what
    /// happens, and must not block.
    ///
    /// # Errors
    ///
    /// When the address cannot be resolved or listened on.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    pub async fn bind(
        listen: &str,
        tell: impl Fn(GatewayEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let tell: Tell = Arc::new(tell);
        let accept = move |tunnel| accept(tunnel, Arc::clone(&tell));
        Ok(Self {
            listener,
            address,
            registry: Registry::new(),
            tunnels: TunnelService::new(grpctunnel_tokio::runtime()).reverse(accept),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`. Once it drains, agents and calls are refused; calls that are open
    /// then may go on for `drain_limit`, and end UNAVAILABLE.
    pub async fn run(self, drain_limit: Duration, stop: Stop) -> Ended {
        let Self {
            listener,
            registry,
            tunnels,
            ..
        } = self;
        let front = (registry.clone(), tunnels.clone());
        let make = move |peer| Front::new(front.0.clone(), front.1.clone(), peer);
        let serving = serve(listener, make, stop.clone());
        let draining = async {
            stop.draining().await;
            tunnels.drain(drain_limit.saturating_add(SLACK));
            tokio::time::sleep(drain_limit).await;
            let ended = registry.ended();
            tunnels.drained().await;
            // The callers are told; whoever does not listen is left.
            tokio::time::sleep(SLACK).await;
            ended
        };
        tokio::pin!(serving);
        let ended = tokio::select! {
            // Every connection is closed: no call is open, and no tunnel.
            _ = serving.as_mut() => return Ended::Finished,
            ended = draining => ended,
            () = stop.ending() => registry.ended(),
        };
        stop.now();
        serving.await;
        ended
    }
}

impl Registry<Channel> {
    /// What ending everything now means for the calls that are open.
    fn ended(&self) -> Ended {
        match self.links().iter().any(|link| link.active_calls() > 0) {
            true => Ended::CutOff,
            false => Ended::Finished,
        }
    }
}

/// Keeps an agent's tunnel in the registry until it is over.
fn accept(mut tunnel: ReverseTunnel, tell: Tell) -> impl Future<Output = ()> + Send {
    let arrival = tunnel.extensions.remove::<Arrival<Channel>>();
    let peer = tunnel.extensions.remove::<SocketAddr>();
    async move {
        let (Some(arrival), Some(peer)) = (arrival, peer) else {
            // Every opening passes the front, which adds both.
            return tunnel.channel.close();
        };
        let name = arrival.name().clone();
        let closed = tunnel.channel.closed();
        let member = arrival.register(tunnel.channel);
        drop(arrival);
        tell(GatewayEvent::Joined {
            name: name.clone(),
            peer,
        });
        let end = closed.await;
        drop(member);
        tell(GatewayEvent::Left { name, peer, end });
    }
}
