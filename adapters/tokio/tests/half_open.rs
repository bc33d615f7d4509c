//! Connections that are open and dead: a proxy between the ends stops to forward, and closes
//! nothing. Whoever waits for the other end is told.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_tokio::tonic_transport::{dial, endpoint, incoming, server};
use grpctunnel_tokio::{Channel, Options, TunnelServer, connect};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;
use tower_service::Service;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Time between pings, and for their answers, in place of minutes.
const PING: Duration = Duration::from_millis(100);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

/// Forwards connections, until it freezes them.
struct Proxy {
    uri: String,
    frozen: watch::Sender<bool>,
}

impl Proxy {
    async fn start(to: String) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let uri = format!("http://{}", listener.local_addr()?);
        let (frozen, watched) = watch::channel(false);
        let mut connections = TcpListenerStream::new(listener);
        tokio::spawn(async move {
            while let Some(Ok(near)) = connections.next().await {
                let Ok(far) = TcpStream::connect(&to).await else {
                    return;
                };
                let (near, far) = (near.into_split(), far.into_split());
                tokio::spawn(forward(near.0, far.1, watched.clone()));
                tokio::spawn(forward(far.0, near.1, watched.clone()));
            }
        });
        Ok(Self { uri, frozen })
    }

    fn freeze(&self) {
        self.frozen.send_replace(true);
    }
}

/// Keeps both sockets open for as long as the proxy lives.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, frozen: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 << 10];
    let mut frozen_yet = frozen.clone();
    let freezing = async move { frozen_yet.wait_for(|frozen| *frozen).await.is_ok() };
    let forwarding = async {
        while let Ok(len @ 1..) = from.read(&mut bytes).await {
            if to
                .write_all(bytes.get(..len).unwrap_or_default())
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = forwarding => {}
        true = freezing => {
            let mut frozen = frozen;
            while frozen.changed().await.is_ok() {}
        }
    }
}

/// Serves health over forward tunnels, behind a proxy.
async fn behind_a_proxy(
    server: Server,
    tunnels: TunnelServer,
) -> Outcome<(Proxy, impl Fn() -> usize)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?.to_string()).await?;
    let (_, health) = health_reporter();
    let tunnels = tunnels.forward(Routes::new(health));
    let counted = tunnels.clone();
    let mut server = server;
    tokio::spawn(
        server
            .add_service(tunnels)
            .serve_with_incoming(incoming(listener)),
    );
    Ok((proxy, move || counted.tunnels()))
}

/// A tunnel that has carried a call, and one that waits.
async fn tunnel(
    endpoint: &Endpoint,
    options: &Options,
) -> Outcome<(
    Channel,
    tonic::Streaming<tonic_health::pb::HealthCheckResponse>,
)> {
    let carrier = dial(endpoint).await?;
    let channel = connect(carrier, options, MetadataMap::new()).await?;
    let mut client = HealthClient::new(channel.clone());
    let mut updates = client
        .watch(HealthCheckRequest::default())
        .await?
        .into_inner();
    updates.message().await?.ok_or("no update")?;
    Ok((channel, updates))
}

#[tokio::test]
async fn conf_175_the_pings_of_a_client_find_a_half_open_connection() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let server = server().http2_keepalive_interval(None);
        let (proxy, _) = behind_a_proxy(server, TunnelServer::new()).await?;
        let endpoint = endpoint(proxy.uri.clone())?
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let (channel, mut updates) = tunnel(&endpoint, &Options::default()).await?;
        proxy.freeze();
        let error = updates.message().await.err().ok_or("no error")?;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(!channel.closed().await.is_clean());
        let refused = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await;
        assert_eq!(refused.err().ok_or("no error")?.code(), Code::Unavailable);
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn conf_175_the_pings_of_a_server_find_a_half_open_connection() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let server = server()
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING));
        let service = TunnelServer::new();
        let (proxy, tunnels) = behind_a_proxy(server, service).await?;
        let endpoint = endpoint(proxy.uri.clone())?;
        let (_channel, _updates) = tunnel(&endpoint, &Options::default()).await?;
        assert_eq!(tunnels(), 1);
        proxy.freeze();
        while tunnels() > 0 {
            tokio::time::sleep(PING).await;
        }
        Ok(())
    })
    .await?
}

/// A request of 60,000 bytes in one message, to a method that nobody has.
async fn upload(mut channel: Channel) -> Outcome<Code> {
    let mut message = vec![0, 0, 0, 0xea, 0x60];
    message.resize(5 + 60_000, 0);
    let request = http::Request::post("/a.B/C").body(Full::new(Bytes::from(message)))?;
    let status = match channel.call(request).await {
        Ok(response) => Status::from_header_map(response.headers()).ok_or("no status")?,
        Err(status) => status,
    };
    Ok(status.code())
}

#[tokio::test]
async fn conf_175_without_pings_a_tunnel_that_cannot_send_is_given_up() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        // The server grants little, so that little fills what is between the ends.
        let server = server()
            .http2_keepalive_interval(None)
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535);
        let (proxy, _) = behind_a_proxy(server, TunnelServer::new()).await?;
        let endpoint = endpoint(proxy.uri.clone())?.http2_keep_alive_interval(NEVER);
        let mut options = Options::default();
        options.stall = 2 * PING;
        let (channel, mut updates) = tunnel(&endpoint, &options).await?;
        proxy.freeze();
        let uploads: Vec<_> = (0..8)
            .map(|_| tokio::spawn(code(channel.clone())))
            .collect();
        let error = updates.message().await.err().ok_or("no error")?;
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.message().contains("accepted no byte"), "{error}");
        for upload in uploads {
            assert_eq!(upload.await?, Some(Code::Unavailable));
        }
        assert!(!channel.closed().await.is_clean());
        Ok(())
    })
    .await?
}

async fn code(channel: Channel) -> Option<Code> {
    upload(channel).await.ok()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn conf_175_the_system_watches_every_connection_that_is_accepted() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut connections = incoming(listener);
    let _near = TcpStream::connect(address).await?;
    let accepted = connections.next().await.ok_or("no connection")??;
    let socket = socket2::SockRef::from(&accepted);
    let half_a_minute = Duration::from_secs(30);
    assert!(socket.keepalive()?);
    assert_eq!(socket.tcp_keepalive_time()?, half_a_minute);
    assert_eq!(socket.tcp_user_timeout()?, Some(half_a_minute));
    assert!(socket.tcp_nodelay()?);
    Ok(())
}
