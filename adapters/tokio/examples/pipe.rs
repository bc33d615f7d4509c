//! Tunnels without HTTP/2, over a pipe in memory: both ends make calls.
//!
//! `cargo run -p grpctunnel-tokio --example pipe`

use std::error::Error;

use grpctunnel_tokio::{Channel, Options, PipeEnd, byte_stream};
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

/// Calls the health service of the other end.
async fn check(caller: &str, channel: Channel) -> Result<(), Box<dyn Error>> {
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel).check(request).await?;
    println!("{caller}: status {}", answer.into_inner().status);
    Ok(())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    // Any `AsyncRead + AsyncWrite` would do: a Unix socket, a serial line, TLS.
    let (near, far) = tokio::io::duplex(64 << 10);
    let near = byte_stream(near, PipeEnd::Opener);
    let far = byte_stream(far, PipeEnd::Acceptor);

    let (_, health) = health_reporter();
    let services = Routes::new(health);
    let options = Options::default();
    let (opener, acceptor) = tokio::try_join!(
        near.connect_and_serve(services.clone(), &options),
        far.connect_and_serve(services, &options),
    )?;
    let (calls_acceptor, handles_acceptor) = opener;
    let (calls_opener, _handles_opener) = acceptor;
    check("opener", calls_acceptor.clone()).await?;
    check("acceptor", calls_opener).await?;

    // The two tunnels of a stream end together.
    calls_acceptor.close();
    println!("calls of the opener: {}", calls_acceptor.closed().await);
    println!("calls of the acceptor: {}", handles_acceptor.closed().await);
    Ok(())
}
