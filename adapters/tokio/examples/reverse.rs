//! Reverse tunnels: an agent that cannot be reached connects out to a gateway, stays connected, and
//! is called there by its name.
//!
//! `cargo run -p grpctunnel-tokio --example reverse`

use std::error::Error;
use std::time::{Duration, Instant};

use grpctunnel_tokio::{
    Registry, Server, Supervisor, TonicHandler, TunnelPeer, TunnelServer, dial, runtime,
};
use tokio::net::TcpListener;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

/// The name with which an agent opened its tunnel. A real gateway looks at a token or at the
/// certificate that the agent has shown.
fn name_of(peer: &TunnelPeer) -> Result<String, Status> {
    let metadata = peer.metadata();
    let name = metadata.get("x-name").and_then(|name| name.to_str().ok());
    let name = name.ok_or_else(|| Status::unauthenticated("x-name is missing"))?;
    Ok(name.to_owned())
}

/// Two tunnels to a gateway, which are opened again whenever they are lost.
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
        .tunnels(2)
        .metadata(metadata.into_headers())
        .start(&runtime())?;
    Ok(supervisor)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new(runtime(), name_of);
    let tunnels = TunnelServer::new().register(&registry);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(Server::new(tunnels).serve(listener, std::future::pending()));

    let agent = agent(url)?;

    // Generated clients work on all tunnels of a name: each call goes through one that takes it.
    let group = registry.group("pi".to_owned());
    group
        .wait_for_ready(Instant::now() + Duration::from_secs(10))
        .await;
    let mut client = HealthClient::new(group);
    for _ in 0..3 {
        let answer = client.check(HealthCheckRequest::default()).await?;
        println!("pi: status {}", answer.into_inner().status);
    }

    // Open calls would go on. Then nobody has that name any more.
    agent.drain(Duration::from_secs(5));
    println!(
        "the agent stopped: {} calls were cut off",
        agent.closed().await.cut_off
    );
    let error = client.check(HealthCheckRequest::default()).await.err();
    let error = error.ok_or("the agent still answers")?;
    assert_eq!(error.code(), Code::Unavailable);
    println!("pi: {}", error.message());
    Ok(())
}
