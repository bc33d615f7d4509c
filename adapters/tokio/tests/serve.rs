//! Servers and connections over our own HTTP/2, and beside tonic's.

use std::error::Error;
use std::time::Duration;

use grpctunnel_driver::error_chain;
use grpctunnel_tokio::{
    Channel, ConnectInfo, DialError, Endpoint, Options, Server, TunnelServer, connect, dial,
    tonic_transport,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

type Outcome = Result<(), Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);

/// Is healthy where a caller's address is known, and never answers `Watch`.
#[derive(Clone, Copy, Debug)]
struct Seen;

#[tonic::async_trait]
impl Health for Seen {
    type WatchStream = tokio_stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = i32::from(request.remote_addr().is_some());
        Ok(Response::new(HealthCheckResponse { status }))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

fn tunnels() -> TunnelServer<impl grpctunnel_driver::Handler> {
    TunnelServer::new().forward(Routes::new(HealthServer::new(Seen)))
}

async fn listen() -> Result<(TcpListener, String), std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

async fn check(channel: Channel) -> Result<i32, Status> {
    let response = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await?;
    Ok(response.into_inner().status)
}

#[tokio::test]
async fn ends_over_our_http2_and_over_tonics_work_together() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let options = Options::default();
        for of_tonic in [false, true] {
            let (listener, url) = listen().await?;
            if of_tonic {
                let server = tonic_transport::server().add_service(tunnels());
                let incoming = tonic_transport::incoming(listener);
                tokio::spawn(server.serve_with_incoming(incoming));
            } else {
                tokio::spawn(Server::new(tunnels()).serve(listener, std::future::pending()));
            }
            let ours = connect(dial(&url).await?, &options, MetadataMap::new()).await?;
            let carrier = tonic_transport::dial(&tonic_transport::endpoint(url)?).await?;
            let tonics = connect(carrier, &options, MetadataMap::new()).await?;
            for channel in [ours, tonics] {
                assert_eq!(check(channel).await?, 0);
            }
        }
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn other_services_are_served_beside_tunnels_and_see_who_calls() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (listener, url) = listen().await?;
        let server = Server::new(tunnels()).with_service(Routes::new(HealthServer::new(Seen)));
        tokio::spawn(server.serve(listener, std::future::pending()));
        let client = dial(&url).await?;
        let mut health = HealthClient::with_origin(client.clone(), url.parse()?);
        let direct = health.check(HealthCheckRequest::default()).await?;
        assert_eq!(direct.into_inner().status, 1);
        let tunnel = connect(client, &Options::default(), MetadataMap::new()).await?;
        assert_eq!(check(tunnel).await?, 0);
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn what_nobody_serves_is_unimplemented() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (listener, url) = listen().await?;
        tokio::spawn(Server::new(tunnels()).serve(listener, std::future::pending()));
        let mut health = HealthClient::with_origin(dial(&url).await?, url.parse()?);
        let error = health.check(HealthCheckRequest::default()).await.err();
        assert_eq!(error.ok_or("no error")?.code(), Code::Unimplemented);
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn a_shutdown_ends_idle_tunnels_at_once_and_calls_after_the_grace() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        // One whose tunnels are idle does not wait for its grace; one with a call does.
        for (grace, busy) in [(MINUTE, false), (Duration::from_millis(50), true)] {
            let (listener, url) = listen().await?;
            let (stop, stopped) = oneshot::channel::<()>();
            let server = Server::new(tunnels()).with_grace(grace);
            let serving = tokio::spawn(server.serve(listener, async {
                let _ = stopped.await;
            }));
            let options = Options::default();
            let tunnel = connect(dial(&url).await?, &options, MetadataMap::new()).await?;
            let mut watch = HealthClient::new(tunnel.clone());
            let watched = busy.then(|| {
                tokio::spawn(async move {
                    let mut updates = watch.watch(HealthCheckRequest::default()).await?;
                    updates.get_mut().message().await
                })
            });
            check(tunnel.clone()).await?;
            drop(stop);
            serving.await??;
            assert!(!tunnel.is_open());
            if let Some(watched) = watched {
                let error = watched.await?.err().ok_or("no error")?;
                assert_eq!(error.code(), Code::Unavailable, "{error}");
            }
            let late = dial(&url).await.unwrap_err();
            assert!(matches!(late, DialError::Tcp { .. }), "{late}");
        }
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn a_server_whose_future_is_dropped_cuts_its_connections() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (listener, url) = listen().await?;
        let serving = tokio::spawn(Server::new(tunnels()).serve(listener, std::future::pending()));
        let client = dial(&url).await?;
        let tunnel = connect(client.clone(), &Options::default(), MetadataMap::new()).await?;
        serving.abort();
        tunnel.closed().await;
        // In good order or not: it has ended.
        let _ = client.connection().closed().await;
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn an_error_names_the_server_and_the_cause() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (listener, url) = listen().await?;
        tokio::spawn(async move {
            let (mut stream, _): (TcpStream, _) = listener.accept().await?;
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await?;
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await?;
            Ok::<_, std::io::Error>(())
        });
        let text = error_chain(&dial(&url).await.unwrap_err());
        assert!(text.contains(&url) && text.contains("HTTP/1"), "{text}");
        let text = error_chain(&dial(&url).await.unwrap_err());
        assert!(text.contains("refused"), "{text}");
        // No text is said twice.
        assert_eq!(text.matches("refused").count(), 1, "{text}");
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn what_is_no_url_of_a_server_is_refused_with_what_to_write() -> Outcome {
    for good in [
        "http://localhost",
        "http://[::1]:50051",
        "https://[::1]/",
        "http://a.b:1/",
        "http://10.0.0.1",
    ] {
        assert!(Endpoint::new(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("", "empty string"),
        ("localhost:1", "no scheme"),
        ("/path", "no scheme"),
        ("ftp://a:1", "neither http nor https"),
        ("http://a/b", "a path"),
        ("http://a?b", "a path"),
        ("http://u:p@a", "user name"),
        ("http://\n", "\\n"),
    ] {
        let error = Endpoint::new(bad).err().ok_or("no error")?.to_string();
        assert!(error.contains(why), "{bad}: {error}");
        assert!(error.contains("http://HOST:PORT"), "{bad}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn https_that_is_not_configured_says_what_to_do() -> Outcome {
    let error = Endpoint::new("https://localhost:1")?.connect().await;
    let error = error.err().ok_or("no error")?;
    assert!(matches!(error, DialError::Url { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("with_tls") || text.contains("feature `tls`"),
        "{text}"
    );
    assert!(error.source().is_none());
    Ok(())
}

#[tokio::test]
async fn http2_over_a_transport_of_ones_own() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (near, far) = tokio::io::duplex(64 << 10);
        let server = Server::new(tunnels());
        let served = server.serve_over(TokioIo::new(far), ConnectInfo::default());
        // Nobody is looked up: it is what the server sees as its own name.
        let carrier = Endpoint::new("http://pipe")?
            .connect_over(TokioIo::new(near))
            .await?;
        let channel = connect(carrier, &Options::default(), MetadataMap::new()).await?;
        assert_eq!(check(channel.clone()).await?, 0);
        channel.close();
        assert!(channel.closed().await.is_clean());
        drop(channel);
        served.closed().await?;
        Ok(())
    })
    .await?
}
