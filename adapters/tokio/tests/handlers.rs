//! What tonic's handlers see of the tunnel beneath, and what their callers see of them.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grpctunnel_tokio::{
    Channel, Code, Direction, Extension, IntoTonicStatus, NeverProcessed, Options, ReverseTunnel,
    Server, ServerHandle, TunnelPeer, TunnelReason, TunnelServer, connect, dial, error_sources,
    serve_reverse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What a call looked like to its handler.
#[derive(Debug)]
struct Seen {
    peer: Option<TunnelPeer>,
    metadata: MetadataMap,
}

/// Tells what it sees, and fails.
#[derive(Clone)]
struct Failing {
    status: Status,
    seen: mpsc::UnboundedSender<Seen>,
}

#[tonic::async_trait]
impl Health for Failing {
    type WatchStream = tokio_stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let _ = self.seen.send(Seen {
            peer: request.extensions().get().cloned(),
            metadata: request.metadata().clone(),
        });
        Err(self.status.clone())
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

fn failing(status: Status) -> (HealthServer<Failing>, mpsc::UnboundedReceiver<Seen>) {
    let (seen, receiver) = mpsc::unbounded_channel();
    (HealthServer::new(Failing { status, seen }), receiver)
}

/// A server that hands out its reverse tunnels, and serves forward ones by `service`.
async fn serve(
    service: HealthServer<Failing>,
) -> Outcome<(String, mpsc::UnboundedReceiver<ReverseTunnel>)> {
    let (sender, accepted) = mpsc::unbounded_channel();
    let tunnels = TunnelServer::new().forward(service).reverse(move |tunnel| {
        let _ = sender.send(tunnel);
        std::future::ready(())
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(Server::new(tunnels).serve(listener, std::future::pending()));
    Ok((url, accepted))
}

/// An identity, and a secret.
fn opening() -> Outcome<MetadataMap> {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-name", "agent".parse()?);
    metadata.insert("authorization", "Bearer secret".parse()?);
    Ok(metadata)
}

async fn in_time(test: impl Future<Output = Outcome>) -> Outcome {
    let limit = Duration::from_secs(20);
    match tokio::time::timeout(limit, test).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("the test's calls and tunnels did not end within {limit:?}").into()),
    }
}

async fn check(channel: Channel) -> Status {
    let checked = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    checked.err().unwrap_or_else(|| Status::ok("no error"))
}

#[tokio::test]
async fn a_handler_sees_the_tunnel_and_no_call_carries_its_credentials() -> Outcome {
    in_time(async {
        let (service, mut seen) = failing(Status::not_found("nobody"));
        let (url, _accepted) = serve(service).await?;
        let options = Options::default();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let channel = connect(dial(&url).await?, &options, opening()?).await?;
            check(channel).await;
            let Seen { peer, metadata } = seen.recv().await.ok_or("not called")?;
            assert!(metadata.get("authorization").is_none(), "{metadata:?}");
            assert!(metadata.get("x-name").is_none(), "{metadata:?}");
            let peer = peer.ok_or("no peer")?;
            assert_eq!(peer.direction(), Direction::Forward);
            let opened_with = peer.metadata();
            assert_eq!(opened_with.get("x-name").ok_or("no name")?, "agent");
            assert!(opened_with.get("te").is_none());
            assert!(opened_with.get("grpctunnel-negotiate").is_none());
            assert!(opened_with.get("content-type").is_none());
            let connection = peer.connect_info().ok_or("no connection")?;
            let remote = connection.remote_addr.ok_or("no address")?;
            assert!(remote.ip().is_loopback());
            assert!(!format!("{peer:?}").contains("secret"));
            ids.push(peer.id());
        }
        assert_ne!(ids.first(), ids.last());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_accepted_tunnel_tells_who_opened_it_and_prints_no_credentials() -> Outcome {
    in_time(async {
        let (url, mut accepted) = serve(failing(Status::not_found("nobody")).0).await?;
        let (service, mut seen) = failing(Status::not_found("nobody"));
        let carrier = dial(&url).await?;
        let options = Options::default();
        let _handle = serve_reverse(carrier, service, &options, opening()?).await?;
        let tunnel = accepted.recv().await.ok_or("no tunnel")?;
        assert_eq!(tunnel.metadata.len(), 2, "{:?}", tunnel.metadata);
        assert_eq!(tunnel.metadata.get("x-name").ok_or("no name")?, "agent");
        assert!(!format!("{tunnel:?}").contains("secret"));
        check(tunnel.channel.clone()).await;
        let Seen { peer, metadata } = seen.recv().await.ok_or("not called")?;
        assert!(metadata.get("authorization").is_none(), "{metadata:?}");
        assert_eq!(peer.ok_or("no peer")?.direction(), Direction::Reverse);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_handler_that_passes_on_a_call_that_nobody_processed_says_so() -> Outcome {
    in_time(async {
        for marked in [true, false] {
            let mut status = Status::unavailable("the next hop is gone");
            if marked {
                status.set_source(Arc::new(NeverProcessed::new()));
            }
            let (url, _accepted) = serve(failing(status).0).await?;
            let options = Options::default();
            let channel = connect(dial(&url).await?, &options, MetadataMap::new()).await?;
            assert!(channel.extensions().contains(Extension::Unprocessed));
            let error = check(channel).await;
            assert_eq!(error.message(), "the next hop is gone");
            let found = error_sources(&error).any(|source| source.is::<NeverProcessed>());
            assert_eq!(found, marked);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_tunnel_that_either_end_finishes_idle_ends_cleanly_at_both() -> Outcome {
    /// How the handling end finishes.
    type Finish = fn(&ServerHandle);
    let finishes: [Finish; 2] = [ServerHandle::close, |handle| {
        handle.drain(Duration::from_secs(20))
    }];
    in_time(async {
        for finish in finishes {
            let (url, mut accepted) = serve(failing(Status::ok("")).0).await?;
            let (service, _) = failing(Status::not_found("nobody"));
            let carrier = dial(&url).await?;
            let options = Options::default();
            let handle = serve_reverse(carrier, service, &options, MetadataMap::new()).await?;
            let tunnel = accepted.recv().await.ok_or("no tunnel")?;
            check(tunnel.channel.clone()).await;
            finish(&handle);
            let (ours, theirs) = (handle.closed().await, tunnel.channel.closed().await);
            assert!(ours.is_clean(), "{ours}");
            assert!(theirs.is_clean(), "{theirs}");
            let reason = theirs.error().map(grpctunnel_tokio::TunnelError::reason);
            assert_eq!(reason, Some(TunnelReason::CarrierFinished));
            assert_eq!(theirs.status().code(), Code::Ok);
            assert_eq!(theirs.into_tonic_status().code(), tonic::Code::Ok);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn closing_the_handling_end_ends_its_open_calls() -> Outcome {
    in_time(async {
        let (url, mut accepted) = serve(failing(Status::ok("")).0).await?;
        let (service, _) = failing(Status::not_found("nobody"));
        let carrier = dial(&url).await?;
        let options = Options::default();
        let handle = serve_reverse(carrier, service, &options, MetadataMap::new()).await?;
        let tunnel = accepted.recv().await.ok_or("no tunnel")?;
        let mut client = HealthClient::new(tunnel.channel.clone());
        let mut updates = client
            .watch(HealthCheckRequest::default())
            .await?
            .into_inner();
        handle.close();
        let error = updates.message().await.err().ok_or("no error")?;
        assert_eq!(error.code(), tonic::Code::Unavailable);
        handle.closed().await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_error_of_an_opening_becomes_a_status_of_one_line_with_its_cause() -> Outcome {
    in_time(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(Server::new(TunnelServer::new()).serve(listener, std::future::pending()));
        let carrier = dial(&url).await?;
        let options = Options::default();
        let refused = connect(carrier.clone(), &options, MetadataMap::new()).await;
        let status = refused
            .map_err(IntoTonicStatus::into_tonic_status)
            .unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        assert_eq!(status.message(), "this server accepts no forward tunnels");

        carrier.connection().shutdown(Duration::ZERO);
        let _ = carrier.connection().closed().await;
        let lost = connect(carrier, &options, MetadataMap::new()).await;
        let status = lost
            .map_err(IntoTonicStatus::into_tonic_status)
            .unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status.message(), "the tunnel's transport failed");
        let transport =
            |source: &&(dyn Error + 'static)| source.is::<grpctunnel_tokio::http2::Error>();
        assert!(error_sources(&status).any(|source| transport(&source)));
        Ok(())
    })
    .await
}
