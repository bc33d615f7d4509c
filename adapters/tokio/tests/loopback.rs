//! Generated tonic code over tunnels over TCP on loopback.

use std::error::Error;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_tokio::{
    Carrier, Channel, NeverProcessed, Options, ReverseTunnel, Server, TunnelServer, connect, dial,
    serve_reverse,
};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Code, Request};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::{HealthReporter, health_reporter};
use tower_service::Service;

type Outcome = Result<(), Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(20);

/// A server on loopback, until the sender is dropped.
async fn serve<H>(tunnels: TunnelServer<H>) -> Result<(String, oneshot::Sender<()>), Box<dyn Error>>
where
    H: grpctunnel_driver::Handler,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(Server::new(tunnels).serve(listener, async {
        let _ = stopped.await;
    }));
    Ok((uri, stop))
}

async fn carrier(url: String) -> Result<Carrier, Box<dyn Error>> {
    Ok(dial(&url).await?)
}

fn number(status: ServingStatus) -> i32 {
    match status {
        ServingStatus::Unknown => 0,
        ServingStatus::Serving => 1,
        ServingStatus::NotServing => 2,
    }
}

/// A unary call, a server stream that is left open, an error, and a deadline.
async fn check_health(channel: Channel, reporter: &HealthReporter) -> Outcome {
    let mut client = HealthClient::new(channel.clone());
    let named = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let status = client.check(named("")).await?.into_inner();
    assert_eq!(status.status, number(ServingStatus::Serving));

    let error = client.check(named("nobody")).await.err();
    assert_eq!(error.ok_or("no error")?.code(), Code::NotFound);

    let mut updates = client.watch(named("")).await?.into_inner();
    assert!(updates.message().await?.is_some());
    for serving in [ServingStatus::NotServing, ServingStatus::Serving] {
        reporter.set_service_status("", serving).await;
        let update = updates.message().await?.ok_or("the stream has ended")?;
        assert_eq!(update.status, number(serving));
    }
    assert_eq!(channel.active_calls(), 1);
    drop(updates);

    let mut late = Request::new(named(""));
    late.set_timeout(Duration::from_millis(50));
    // It may be over before the response has begun.
    let error = match client.watch(late).await {
        Err(error) => error,
        Ok(response) => {
            let mut updates = response.into_inner();
            loop {
                match updates.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Err("the stream has ended".into()),
                    Err(error) => break error,
                }
            }
        }
    };
    assert_eq!(error.code(), Code::DeadlineExceeded);
    Ok(())
}

#[tokio::test]
async fn a_forward_tunnel() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        for flow_control in [true, false] {
            let (reporter, health) = health_reporter();
            let mut options = Options::default();
            options.flow_control = flow_control;
            let tunnels = TunnelServer::new()
                .with_options(options)
                .forward(Routes::new(health));
            let (uri, _stop) = serve(tunnels.clone()).await?;
            let options = Options::default();
            let channel = connect(carrier(uri).await?, &options, MetadataMap::new()).await?;
            reporter
                .set_service_status("", ServingStatus::Serving)
                .await;
            check_health(channel.clone(), &reporter).await?;

            channel.drain(LIMIT);
            let mut client = HealthClient::new(channel.clone());
            let refused = client.check(HealthCheckRequest::default()).await;
            let error = refused.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
            let source = error.source().ok_or("no source")?;
            assert!(source.downcast_ref::<NeverProcessed>().is_some());
            assert!(channel.closed().await.is_clean());
            tunnels.drained().await;
        }
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn a_reverse_tunnel() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (sender, mut tunnels) = mpsc::channel::<ReverseTunnel>(1);
        let service = TunnelServer::new().reverse(move |tunnel| {
            let sender = sender.clone();
            async move {
                let _ = sender.send(tunnel).await;
            }
        });
        let (uri, _stop) = serve(service.clone()).await?;
        let (reporter, health) = health_reporter();
        reporter
            .set_service_status("", ServingStatus::Serving)
            .await;
        let mut metadata = MetadataMap::new();
        metadata.insert("x-name", "agent".parse()?);
        let carrier = carrier(uri).await?;
        let options = Options::default();
        // One generated server, without routes.
        let handle = serve_reverse(carrier, health, &options, metadata).await?;
        let tunnel = tunnels.recv().await.ok_or("no tunnel")?;
        assert_eq!(tunnel.metadata.get("x-name").ok_or("no name")?, "agent");
        check_health(tunnel.channel.clone(), &reporter).await?;
        handle.drain(LIMIT);
        handle.closed().await;
        // The peer drained, and no call was lost.
        assert!(tunnel.channel.closed().await.is_clean());
        service.drained().await;
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn conf_177_a_tunnel_through_a_tunnel() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (reporter, health) = health_reporter();
        reporter
            .set_service_status("", ServingStatus::Serving)
            .await;
        let inner = TunnelServer::new().forward(Routes::new(health));
        let outer = TunnelServer::new().forward(Routes::new(inner.clone()));
        let (uri, _stop) = serve(outer).await?;
        let options = Options::default();
        let around = connect(carrier(uri).await?, &options, MetadataMap::new()).await?;
        let within = connect(around, &options, MetadataMap::new()).await?;
        check_health(within, &reporter).await?;
        inner.drained().await;
        Ok(())
    })
    .await?
}

/// Answers with messages that are no health responses, for ever.
#[derive(Clone)]
struct Garbage;

impl Service<http::Request<tonic::body::Body>> for Garbage {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<tonic::body::Body>) -> Self::Future {
        let first = Bytes::from_static(&[0, 0, 0, 0, 1, 0xff]);
        let frames = tokio_stream::once(Ok::<_, tonic::Status>(Frame::data(first)));
        let frames = frames.chain(tokio_stream::pending());
        let body = tonic::body::Body::new(StreamBody::new(frames));
        std::future::ready(Ok(http::Response::new(body)))
    }
}

#[tokio::test]
async fn conf_085_a_message_that_is_not_of_its_type_ends_the_call_at_both_ends() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        // At the client: it fails, and cancels.
        let (uri, _stop) = serve(TunnelServer::new().forward(Garbage)).await?;
        let options = Options::default();
        let channel = connect(carrier(uri).await?, &options, MetadataMap::new()).await?;
        let mut client = HealthClient::new(channel.clone());
        let mut updates = client
            .watch(HealthCheckRequest::default())
            .await?
            .into_inner();
        let error = updates.message().await.err().ok_or("no error")?;
        assert_eq!(error.code(), Code::Internal);
        drop(updates);
        assert_eq!(channel.active_calls(), 0);

        // At the server: it answers so.
        let (_, health) = health_reporter();
        let (uri, _stop) = serve(TunnelServer::new().forward(Routes::new(health))).await?;
        let channel = connect(carrier(uri).await?, &options, MetadataMap::new()).await?;
        let garbage = Full::new(Bytes::from_static(&[0, 0, 0, 0, 1, 0xff]));
        let request = http::Request::post("/grpc.health.v1.Health/Check").body(garbage)?;
        let response = channel.clone().call(request).await?;
        let status = tonic::Status::from_header_map(response.headers()).ok_or("no status")?;
        assert_eq!(status.code(), Code::Internal);
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn the_status_of_a_request_that_cannot_be_sent_is_that_of_the_call() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (_, health) = health_reporter();
        let (uri, _stop) = serve(TunnelServer::new().forward(Routes::new(health))).await?;
        let options = Options::default();
        let channel = connect(carrier(uri).await?, &options, MetadataMap::new()).await?;
        let mut client = HealthClient::new(channel.clone()).max_encoding_message_size(8);
        let request = HealthCheckRequest {
            service: "longer than that".to_owned(),
        };
        let error = client.check(request).await.err().ok_or("no error")?;
        assert_eq!(error.code(), Code::OutOfRange);
        assert_eq!(channel.active_calls(), 0);
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn a_server_that_takes_no_tunnels_says_so() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (uri, _stop) = serve(TunnelServer::new()).await?;
        let options = Options::default();
        let carrier = carrier(uri).await?;
        let unimplemented = grpctunnel_tokio::Code::Unimplemented;
        let refused = connect(carrier.clone(), &options, MetadataMap::new()).await;
        assert_eq!(refused.unwrap_err().code(), unimplemented);
        let (_, health) = health_reporter();
        let refused = serve_reverse(carrier, health, &options, MetadataMap::new()).await;
        assert_eq!(refused.unwrap_err().code(), unimplemented);
        Ok(())
    })
    .await?
}
