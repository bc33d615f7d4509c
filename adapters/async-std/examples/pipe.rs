//! Tunnels in both directions over a transport without HTTP/2: a pair of Unix sockets, on smol.
//!
//! `cargo run -p grpctunnel-async-std --features smol --example pipe`

use std::error::Error;

use grpctunnel_async_std::{Channel, Options, PipeEnd, SmolRuntime, byte_stream};
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

fn main() -> Result<(), Box<dyn Error>> {
    ::smol::block_on(async {
        // Any `AsyncRead + AsyncWrite` would do.
        let (near, far) = ::smol::net::unix::UnixStream::pair()?;
        let near = byte_stream::<SmolRuntime, _>(near, PipeEnd::Opener);
        let far = byte_stream::<SmolRuntime, _>(far, PipeEnd::Acceptor);

        let (_, health) = health_reporter();
        let services = Routes::new(health);
        let options = Options::default();
        let opener = near.connect_and_serve(services.clone(), &options);
        let acceptor = far.connect_and_serve(services, &options);
        let (opener, acceptor) = futures_util::try_join!(opener, acceptor)?;
        check("opener", opener.0.clone()).await?;
        check("acceptor", acceptor.0).await?;

        opener.0.close();
        println!("{}", opener.0.closed().await);
        Ok(())
    })
}
