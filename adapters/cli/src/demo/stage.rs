//! The scene of the demo: service, agent, gateway and caller in one process.

use std::{fmt, net::SocketAddr, time::Duration};

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{metadata::MetadataValue, service::Routes};

use super::{
    Failure,
    agents::{RunningAgent, agent},
    generated::{depot_client::DepotClient, depot_server::DepotServer},
    service::SampleDepot,
    steps::{Caller, Connection},
    tally::Tally,
};
use crate::{
    admin::{Admin, AdminSettings},
    gateway::{Gateway, GatewaySettings},
    listener::Listener,
    metrics::Recorder,
    origin::Origin,
    serve::{Limits, serve},
    stop::Stop,
};

pub(super) const NAME: &str = "demo";
const ANY_PORT: &str = "127.0.0.1:0";
/// How long the scene may take to be cleared away.
const CLEAR_LIMIT: Duration = Duration::from_secs(2);

/// Everything that runs during the demo.
#[derive(Debug)]
pub(super) struct Stage {
    /// Who makes the calls.
    pub(super) caller: Caller,
    /// The agent, but while it restarts.
    pub(super) agent: Option<RunningAgent>,
    pub(super) gateway: SocketAddr,
    pub(super) service: SocketAddr,
    /// The page of the gateway's admin port, where it has one.
    admin_page: Option<String>,
    stop: Stop,
    running: Vec<JoinHandle<()>>,
}

impl Stage {
    /// Starts everything, each listener on a free loopback port. With `observed`, the gateway has an
    /// admin port, and the process counts.
    pub(super) async fn set(observed: bool) -> Result<Self, Failure> {
        let stop = Stop::new();
        let (depot, seen) = SampleDepot::new();
        let (listener, service) = listen().await?;
        let routes = Routes::new(DepotServer::new(depot)).prepare();
        let (limits, make) = (Limits::without_tunnels(), move |_| routes.clone());
        let serving = serve(listener, limits, make, |_| {}, stop.clone(), stop.clone());
        let mut running = vec![spawn(serving)];
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut settings = GatewaySettings::new(any.into());
        settings.drain_limit = Duration::ZERO;
        let gateway = Gateway::bind(settings, |_| {}).await.map_err(no_listener)?;
        let address = gateway.endpoint().tcp().unwrap_or(any);
        let mut admin_page = None;
        if observed {
            let settings = AdminSettings::new(any.into());
            let admin = Admin::bind(&settings).await.map_err(no_listener)?;
            let recorder =
                Recorder::install().map_err(|error| Failure::Stage(error.to_string()))?;
            let panel = gateway.control().panel(recorder, &stop);
            admin_page = admin.url();
            running.push(spawn(admin.run(panel, stop.clone())));
        }
        running.push(spawn(gateway.run(stop.clone())));
        let agent = agent(address, service).map_err(Failure::Stage)?;
        let agent = RunningAgent::start(agent).await.map_err(Failure::Stage)?;
        let caller = Caller {
            client: client(address),
            target: MetadataValue::from_static(NAME),
            seen,
            tally: Tally::new(),
        };
        Ok(Self {
            caller,
            agent: Some(agent),
            gateway: address,
            service,
            admin_page,
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

    /// What can be done with it while it stays.
    pub(super) fn invitation(&self) -> String {
        let gateway = self.gateway;
        let mut text = format!(
            "  Everything keeps running, with a call a second; Ctrl-C ends it.\n    gateway   \
             http://{gateway}\n    try       grpctunnel dial --gateway http://{gateway} --name \
             {NAME} --listen 127.0.0.1:0"
        );
        if let Some(page) = &self.admin_page {
            text += "\n    admin     ";
            text += page;
        }
        text
    }

    /// Ends everything.
    pub(super) async fn clear(self) {
        self.stop.now();
        if let Some(agent) = self.agent {
            let _ = tokio::time::timeout(CLEAR_LIMIT, agent.kill()).await;
        }
        for task in self.running {
            // A task that hangs or panicked changes nothing of what was shown.
            let _ = tokio::time::timeout(CLEAR_LIMIT, task).await;
        }
    }
}

/// A client of the sample service that knows this address only.
pub(super) fn client(address: SocketAddr) -> DepotClient<Connection> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let connection = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build(connector);
    DepotClient::with_origin(connection, Origin::from(address).uri())
}

fn spawn<T: Send>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        task.await;
    })
}

async fn listen() -> Result<(Listener, SocketAddr), Failure> {
    let listener = TcpListener::bind(ANY_PORT).await.map_err(no_listener)?;
    let address = listener.local_addr().map_err(no_listener)?;
    Ok((Listener::Tcp(listener), address))
}

fn no_listener(error: impl fmt::Display) -> Failure {
    Failure::Stage(format!("cannot listen on {ANY_PORT}: {error}"))
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
