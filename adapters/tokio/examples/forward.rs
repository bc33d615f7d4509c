//! A forward tunnel: the end that connects makes the calls, all on one stream of one connection.
//!
//! `cargo run -p grpctunnel-tokio --example forward`

use std::error::Error;

use grpctunnel_tokio::{Options, Server, TunnelServer, connect, dial};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    // A server whose services are called through tunnels, and directly as well.
    let (_, health) = health_reporter();
    let services = Routes::new(health);
    let tunnels = TunnelServer::new().forward(services.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(tunnels).with_service(services);
    let serving = tokio::spawn(server.serve(listener, async {
        let _ = stopped.await;
    }));

    let options = Options::default().with_limits(|limits| limits.max_streams = 100);
    let channel = connect(dial(&url).await?, &options, MetadataMap::new()).await?;
    let mut client = HealthClient::new(channel.clone());
    for _ in 0..3 {
        let answer = client.check(HealthCheckRequest::default()).await?;
        println!("through the tunnel: status {}", answer.into_inner().status);
    }
    println!("{} calls were opened", channel.counters().opened);

    // Graceful: open calls of the server would go on.
    drop(stop);
    println!("the tunnel: {}", channel.closed().await);
    serving.await??;
    Ok(())
}
