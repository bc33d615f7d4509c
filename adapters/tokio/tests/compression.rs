//! tonic's compression through tunnels, over TCP on loopback.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::BoxError;
use grpctunnel_tokio::{
    Channel, Extension, Options, ReverseTunnel, TunnelServer, connect, serve_reverse,
    tonic_transport,
};
use http_body::Body;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::health_reporter;
use tower_service::Service;

type Outcome = Result<(), Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(20);
const GZIP: CompressionEncoding = CompressionEncoding::Gzip;

/// What a handler finds in the metadata of calls.
type Seen = mpsc::UnboundedReceiver<MetadataMap>;

/// A health service that takes and sends gzip, and knows a service with a long name.
async fn health() -> (
    impl Service<
        http::Request<tonic::body::Body>,
        Response = http::Response<impl Body<Data = Bytes, Error: Into<BoxError>> + Send>,
        Error = std::convert::Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static,
    Seen,
) {
    let (reporter, service) = health_reporter();
    reporter
        .set_service_status(long_name(), ServingStatus::Serving)
        .await;
    let service = service.accept_compressed(GZIP).send_compressed(GZIP);
    let (sender, seen) = mpsc::unbounded_channel();
    let service = InterceptedService::new(service, move |request: Request<()>| {
        let _ = sender.send(request.metadata().clone());
        Ok(request)
    });
    (service, seen)
}

/// Larger than a chunk, and smaller when it is compressed.
fn long_name() -> String {
    "name".repeat(10_000)
}

fn request() -> HealthCheckRequest {
    HealthCheckRequest {
        service: long_name(),
    }
}

/// An address that accepts tunnels for as long as the runtime lives.
async fn serve<H>(tunnels: TunnelServer<H>) -> Result<tonic::transport::Channel, Box<dyn Error>>
where
    H: grpctunnel_driver::Handler + Sync,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?);
    let server = tonic_transport::server().add_service(tunnels);
    tokio::spawn(server.serve_with_incoming(tonic_transport::incoming(listener)));
    Ok(tonic_transport::endpoint(uri)?.connect().await?)
}

fn encoding(response: &Response<HealthCheckResponse>) -> Option<&str> {
    response.metadata().get("grpc-encoding")?.to_str().ok()
}

/// Calls that compress their requests, accept compressed responses, both, and neither.
async fn check(channel: Channel, seen: &mut Seen, carried: bool) -> Outcome {
    let client = HealthClient::new(channel);
    for sends in [true, false] {
        for accepts in [true, false] {
            let mut client = client.clone();
            if sends {
                client = client.send_compressed(GZIP);
            }
            if accepts {
                client = client.accept_compressed(GZIP);
            }
            let done: Result<_, Status> = client.check(request()).await;
            if sends && !carried {
                let refused = done.err().ok_or("no error")?;
                assert_eq!(refused.code(), Code::Unimplemented);
                let accepted = refused.metadata().get("grpc-accept-encoding");
                assert_eq!(accepted.ok_or("no encoding")?, "identity");
                assert!(seen.try_recv().is_err());
                continue;
            }
            let response = done?;
            let both = carried && accepts;
            assert_eq!(encoding(&response), both.then_some("gzip"));
            assert_eq!(response.into_inner().status, 1);
            let metadata = seen.recv().await.ok_or("the handler was not called")?;
            let named = metadata.get("grpc-encoding").is_some();
            assert_eq!(named, sends && carried);
            assert_eq!(metadata.get("grpc-accept-encoding").is_some(), both);
        }
    }
    Ok(())
}

/// The options of both ends, and whether compressed messages are carried between them.
fn options() -> [(Options, Options, bool); 3] {
    let with = Options::default;
    let less = || {
        let mut options = Options::default();
        options.extensions = options.extensions.without(Extension::Transparent);
        options
    };
    [
        (with(), with(), true),
        (with(), less(), false),
        (less(), with(), false),
    ]
}

#[tokio::test]
async fn compressed_calls_pass_a_forward_tunnel_whose_ends_both_carry_them() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        for (client, server, carried) in options() {
            let (service, mut seen) = health().await;
            let tunnels = TunnelServer::new().with_options(server).forward(service);
            let carrier = serve(tunnels).await?;
            let channel = connect(carrier, &client, MetadataMap::new()).await?;
            let transparent = channel.extensions().contains(Extension::Transparent);
            assert_eq!(transparent, carried);
            check(channel, &mut seen, carried).await?;
        }
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn compressed_calls_pass_a_reverse_tunnel_whose_ends_both_carry_them() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        for (client, server, carried) in options() {
            let (sender, mut tunnels) = mpsc::channel::<ReverseTunnel>(1);
            let service = TunnelServer::new().with_options(client);
            let carrier = serve(service.reverse(move |tunnel| {
                let sender = sender.clone();
                async move {
                    let _ = sender.send(tunnel).await;
                }
            }))
            .await?;
            let (service, mut seen) = health().await;
            let _handle = serve_reverse(carrier, service, &server, MetadataMap::new()).await?;
            let tunnel = tunnels.recv().await.ok_or("no tunnel")?;
            check(tunnel.channel, &mut seen, carried).await?;
        }
        Ok(())
    })
    .await?
}
