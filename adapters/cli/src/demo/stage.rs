//! The scene of the demo: service, agent, gateway and caller in one process.

use std::{fmt, net::SocketAddr, time::Duration};

use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{metadata::MetadataValue, service::Routes};

use super::{
    Failure,
    generated::{depot_client::DepotClient, depot_server::DepotServer},
    service::SampleDepot,
    steps::Caller,
    tally::Tally,
};
use crate::{
    origin::Origin,
    serve::serve,
    stop::{Ended, Stop},
};

const NAME: &str = "demo";
/// How long the scene may take to be cleared away.
const CLEAR_LIMIT: Duration = Duration::from_secs(2);

/// Everything that runs during the demo.
#[derive(Debug)]
pub(super) struct Stage {
    /// Who makes the calls.
    pub(super) caller: Caller,
    gateway: SocketAddr,
    service: SocketAddr,
    stop: Stop,
    running: Vec<JoinHandle<Ended>>,
}

impl Stage {
    /// Starts everything, each listener on a free loopback port.
    pub(super) async fn set() -> Result<Self, Failure> {
        let stop = Stop::new();
        let (depot, seen) = SampleDepot::new();
        let (listener, service) = listen().await?;
        let routes = Routes::new(DepotServer::new(depot)).prepare();
        let serving = serve(listener, move |_| routes.clone(), stop.clone());
        let running = vec![tokio::spawn(serving)];
        let gateway = service;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let connection = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build(connector);
        let caller = Caller {
            client: DepotClient::with_origin(connection, Origin::from(gateway).uri()),
            target: MetadataValue::from_static(NAME),
            seen,
            tally: Tally::new(),
        };
        Ok(Self {
            caller,
            gateway,
            service,
            stop,
            running,
        })
    }

    /// Who talks to whom.
    pub(super) const fn picture(&self, lines: bool) -> Picture {
        Picture {
            gateway: self.gateway,
            service: self.service,
            lines,
        }
    }

    /// Ends everything.
    pub(super) async fn clear(self) {
        self.stop.now();
        for task in self.running {
            // A task that hangs or panicked changes nothing of what was shown.
            let _ = tokio::time::timeout(CLEAR_LIMIT, task).await;
        }
    }
}

async fn listen() -> Result<(TcpListener, SocketAddr), Failure> {
    let listening = async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let result: std::io::Result<_> = listening.await;
    result.map_err(|error| Failure::Stage(format!("cannot listen on 127.0.0.1: {error}")))
}

/// The addresses of the scene, drawn: with lines on a terminal, in ASCII elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture {
    gateway: SocketAddr,
    service: SocketAddr,
    lines: bool,
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, tunnel) = match self.lines {
            true => ("──▶", "◀══ tunnel ══"),
            false => ("-->", "<== tunnel =="),
        };
        let Self {
            gateway, service, ..
        } = self;
        writeln!(
            f,
            "  caller {call} gateway {gateway} {tunnel} agent \"{NAME}\" {call} service {service}"
        )?;
        write!(
            f,
            "  The agent opened the tunnel; the caller knows the gateway only."
        )
    }
}
