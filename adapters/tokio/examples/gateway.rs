//! A gateway that passes calls on without knowing their services: plain gRPC clients call it, and
//! name the agent in their metadata.
//!
//! `cargo run -p grpctunnel-tokio --example gateway`

use std::error::Error;
use std::time::{Duration, Instant};

use grpctunnel_tokio::{
    Code, Forwarder, Registry, Server, Status, Supervisor, TonicHandler, TunnelPeer, TunnelServer,
    dial, runtime,
};
use http::request::Parts;
use tokio::net::TcpListener;
use tonic::metadata::MetadataMap;
use tonic::{Request, service::Routes, transport::Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

/// The name with which an agent opened its tunnel. A real gateway looks at a certificate.
fn name_of(peer: &TunnelPeer) -> Result<String, tonic::Status> {
    let metadata = peer.metadata();
    let name = metadata.get("x-name").and_then(|name| name.to_str().ok());
    let name = name.ok_or_else(|| tonic::Status::unauthenticated("x-name is missing"))?;
    Ok(name.to_owned())
}

/// An agent, which keeps a tunnel to the gateway open.
fn agent(url: String) -> Result<Supervisor, Box<dyn Error>> {
    let (_, health) = health_reporter();
    let mut metadata = MetadataMap::new();
    metadata.insert("x-name", "pi".parse()?);
    let dial = move || {
        let url = url.clone();
        async move { Ok(dial(&url).await?) }
    };
    let supervisor = Supervisor::reverse(TonicHandler::new(Routes::new(health)))
        .gateway("gateway", dial)
        .metadata(metadata.into_headers())
        .start(&runtime())?;
    Ok(supervisor)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new(runtime(), name_of);
    let tunnels = TunnelServer::new().register(&registry);
    // Whatever opens no tunnel goes to the agent that its metadata names.
    let agents = registry.raw().clone();
    let forwarder = Forwarder::new(move |call: &mut Parts| {
        let name = call.headers.remove("x-agent");
        let name = name.as_ref().and_then(|name| name.to_str().ok());
        let name = name.ok_or_else(|| Status::new(Code::InvalidArgument, "x-agent is missing"))?;
        let missing = || Status::new(Code::Unavailable, format!("{name} is not connected"));
        agents.get(name).ok_or_else(missing)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Server::new(tunnels).with_service(forwarder);
    tokio::spawn(server.serve(listener, std::future::pending()));

    let _agent = agent(url.clone())?;
    let limit = Instant::now() + Duration::from_secs(10);
    registry.group("pi".to_owned()).wait_for_ready(limit).await;

    let mut client = HealthClient::new(Endpoint::from_shared(url)?.connect().await?);
    for (name, expected) in [("pi", tonic::Code::Ok), ("zero", tonic::Code::Unavailable)] {
        let mut request = Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-agent", name.parse()?);
        let answer = client.check(request).await;
        println!("{name}: {answer:?}");
        assert_eq!(
            answer.err().map_or(tonic::Code::Ok, |error| error.code()),
            expected
        );
    }
    Ok(())
}
