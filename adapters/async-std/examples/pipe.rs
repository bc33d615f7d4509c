//! A tunnel over a transport that is no TCP connection: a pair of Unix sockets, on smol.
//!
//! `cargo run -p grpctunnel-async-std --features smol --example pipe`

use std::error::Error;

use grpctunnel_async_std::{Endpoint, Options, Server, SmolRuntime, TunnelServer, connect, smol};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

fn main() -> Result<(), Box<dyn Error>> {
    ::smol::block_on(async {
        // Any `AsyncRead + AsyncWrite` would do.
        let (near, far) = ::smol::net::unix::UnixStream::pair()?;

        let (_, health) = health_reporter();
        let tunnels = TunnelServer::<SmolRuntime>::new().forward(Routes::new(health));
        let server = Server::new(tunnels).serve_over(far);

        let runtime = smol();
        // Nobody is looked up: it is what the server sees as its own name.
        let endpoint = Endpoint::new("http://pipe")?;
        let carrier = endpoint.connect_over(near, &runtime).await?;
        let channel = connect(carrier, &runtime, &Options::default(), MetadataMap::new()).await?;
        let request = HealthCheckRequest::default();
        let answer = HealthClient::new(channel.clone()).check(request).await?;
        println!("status {}", answer.into_inner().status);

        channel.close();
        println!("{}", channel.closed().await);
        server.closed().await?;
        Ok(())
    })
}
