//! A gateway, agents, local servers and callers, in one process on loopback.

pub(crate) mod depot;
pub(crate) mod pki;
pub(crate) mod stubs {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::too_many_lines,
        reason = "written by the code generator"
    )]
    include!("../../../src/demo/generated/grpctunnel.demo.v1.rs");
}

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use grpctunnel_cli::{
    agent::{Agent, AgentEvent, OwnGateway},
    gateway::{Gateway, GatewayControl, GatewayEvent, GatewaySettings},
    stop::{Ended, Stop},
};
use http::Uri;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint, Server},
};

use self::{
    depot::{Depot, Seen},
    stubs::{depot_client::DepotClient, depot_server::DepotServer},
};

/// What a test and its helpers return.
pub(crate) type Tested<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The longest that a test may take.
const LIMIT: Duration = Duration::from_secs(180);
const ANY_PORT: &str = "127.0.0.1:0";

/// Runs a test, but not for ever.
pub(crate) async fn bounded(test: impl Future<Output = Tested>) -> Tested {
    tokio::time::timeout(LIMIT, test).await?
}

/// A gateway that runs.
pub(crate) struct RunningGateway {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    pub(crate) running: JoinHandle<Ended>,
    pub(crate) events: UnboundedReceiver<GatewayEvent>,
    pub(crate) control: GatewayControl,
}

pub(crate) async fn gateway() -> Tested<RunningGateway> {
    gateway_at(ANY_PORT, Duration::ZERO).await
}

pub(crate) async fn gateway_at(listen: &str, drain_limit: Duration) -> Tested<RunningGateway> {
    gateway_with(listen, |settings| settings.drain_limit = drain_limit).await
}

/// A gateway with settings of its own.
pub(crate) async fn gateway_with(
    listen: &str,
    set: impl FnOnce(&mut GatewaySettings),
) -> Tested<RunningGateway> {
    let (said, events) = unbounded_channel();
    let mut settings = GatewaySettings::new(listen.parse()?);
    settings.drain_limit = Duration::ZERO;
    set(&mut settings);
    let gateway = Gateway::bind(settings, move |event| drop(said.send(event))).await?;
    let address = gateway.endpoint().tcp().ok_or("not TCP")?;
    let control = gateway.control();
    let stop = Stop::new();
    let running = tokio::spawn(gateway.run(stop.clone()));
    Ok(RunningGateway {
        control,
        address,
        stop,
        running,
        events,
    })
}

impl RunningGateway {
    /// What it refuses next.
    pub(crate) async fn refused(&mut self) -> Tested<String> {
        loop {
            if let GatewayEvent::Refused(refused) =
                self.events.recv().await.ok_or("the gateway is gone")?
            {
                return Ok(refused.to_string());
            }
        }
    }

    /// Waits until an agent joins.
    pub(crate) async fn joined(&mut self) -> Tested<String> {
        loop {
            if let GatewayEvent::Joined { name, .. } =
                self.events.recv().await.ok_or("the gateway is gone")?
            {
                return Ok(name.to_string());
            }
        }
    }

    /// Waits until the tunnel of an agent is over.
    pub(crate) async fn left(&mut self) -> Tested<String> {
        loop {
            if let GatewayEvent::Left { name, .. } =
                self.events.recv().await.ok_or("the gateway is gone")?
            {
                return Ok(name.to_string());
            }
        }
    }
}

/// An agent that runs.
pub(crate) struct RunningAgent {
    pub(crate) stop: Stop,
    pub(crate) running: JoinHandle<Result<Ended, OwnGateway>>,
    pub(crate) events: UnboundedReceiver<AgentEvent>,
}

/// An agent that is connected.
pub(crate) async fn agent(
    gateway: SocketAddr,
    name: &str,
    local: SocketAddr,
) -> Tested<RunningAgent> {
    agent_that_drains(gateway, name, local, Duration::ZERO).await
}

pub(crate) async fn agent_that_drains(
    gateway: SocketAddr,
    name: &str,
    local: SocketAddr,
    drain_limit: Duration,
) -> Tested<RunningAgent> {
    agent_with(gateway, name, local, |agent| {
        agent.drain_limit = drain_limit
    })
    .await
}

/// An agent with settings of its own.
pub(crate) async fn agent_with(
    gateway: SocketAddr,
    name: &str,
    local: SocketAddr,
    set: impl FnOnce(&mut Agent),
) -> Tested<RunningAgent> {
    let mut agent = Agent::new(gateway.into(), name.parse()?, local.into());
    agent.retry_limit = Duration::from_secs(1);
    agent.drain_limit = Duration::ZERO;
    set(&mut agent);
    let mut agent = RunningAgent::start(agent);
    agent.connected().await?;
    Ok(agent)
}

impl RunningAgent {
    /// One that may never connect.
    pub(crate) fn start(agent: Agent) -> Self {
        let (said, events) = unbounded_channel();
        let stop = Stop::new();
        let tell = move |event| drop(said.send(event));
        let running = tokio::spawn(agent.run(tell, stop.clone()));
        Self {
            stop,
            running,
            events,
        }
    }

    /// How it ended.
    pub(crate) async fn ended(self) -> Tested<Ended> {
        Ok(self.running.await??)
    }

    /// The next reason for which it has no tunnel.
    pub(crate) async fn failed(&mut self) -> Tested<String> {
        loop {
            if let AgentEvent::Failed { why, .. } =
                self.events.recv().await.ok_or("the agent is gone")?
            {
                return Ok(why);
            }
        }
    }

    /// Waits until it is connected.
    pub(crate) async fn connected(&mut self) -> Tested {
        loop {
            if let AgentEvent::Connected { .. } =
                self.events.recv().await.ok_or("the agent is gone")?
            {
                return Ok(());
            }
        }
    }

    /// Waits until its tunnel is over.
    pub(crate) async fn lost(&mut self) -> Tested<String> {
        loop {
            if let AgentEvent::Lost { why, .. } =
                self.events.recv().await.ok_or("the agent is gone")?
            {
                return Ok(why);
            }
        }
    }
}

/// A local tonic server, on a runtime of its own so that it can die at once.
pub(crate) struct RunningDepot {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    runtime: Option<Runtime>,
}

impl Drop for RunningDepot {
    /// Ends the server and every connection to it.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) async fn depot(label: &'static str) -> Tested<RunningDepot> {
    depot_at(ANY_PORT, label).await
}

pub(crate) async fn depot_at(listen: &str, label: &'static str) -> Tested<RunningDepot> {
    let depot = Depot::new(label);
    let seen = Arc::clone(&depot.seen);
    let server = Server::builder().add_service(DepotServer::new(depot));
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let listener = listen.to_owned();
    let listening = runtime.spawn(TcpListener::bind(listener));
    let listener = listening.await??;
    let address = listener.local_addr()?;
    runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(RunningDepot {
        address,
        seen,
        runtime: Some(runtime),
    })
}

/// A plain tonic client of the gateway.
pub(crate) fn caller(gateway: SocketAddr) -> Tested<DepotClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{gateway}"))?;
    Ok(DepotClient::new(endpoint.connect_lazy()))
}

/// A client without any deadline of its own, as tonic's channel has.
pub(crate) fn bare_caller(
    gateway: SocketAddr,
) -> Tested<DepotClient<Client<HttpConnector, tonic::body::Body>>> {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let origin: Uri = format!("http://{gateway}").parse()?;
    Ok(DepotClient::with_origin(client, origin))
}

/// A request for the agent `target`.
pub(crate) fn to<T>(target: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let target: MetadataValue<Ascii> = MetadataValue::from_static(target);
    request
        .metadata_mut()
        .insert(grpctunnel_cli::TARGET, target);
    request
}
