//! HTTP/2 settings that suit tunnels.
//!
//! A tunnel is one HTTP/2 stream, so the stream's window limits all of its calls together. HTTP/2
//! stacks also close connections with too many small frames for the size of their window. Large
//! windows and frames avoid both; the tunnel's own flow control bounds memory.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
use socket2::SockRef;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

/// Bytes of the HTTP/2 window of a stream, and of a connection.
const WINDOW: u32 = 16 << 20;
/// Bytes of the largest HTTP/2 frame that is taken.
const FRAME: u32 = 256 << 10;
/// Time between keepalive pings of a client. Stock grpc-go servers count one in less than 5
/// minutes as abuse.
const CLIENT_KEEPALIVE: Duration = Duration::from_secs(360);
/// Time between keepalive pings of a server. Known clients accept any rate.
const SERVER_KEEPALIVE: Duration = Duration::from_secs(60);
/// Time for the answer to a keepalive ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Idle time before TCP's own keepalive probes, which no HTTP/2 peer sees.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Time between those probes, and how many may stay unanswered before the connection is closed.
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_RETRIES: u32 = 3;
/// How long bytes may go without TCP's acknowledgement before the connection is closed.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/2 streams that a client may have open at once on a connection. tonic's default is no limit.
const STREAMS: u32 = 1_024;

/// An endpoint whose HTTP/2 settings suit tunnels.
///
/// # Errors
/// If `uri` is not a URI.
pub fn endpoint(uri: impl Into<String>) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(uri.into())?
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .http2_adaptive_window(false)
        .http2_keep_alive_interval(CLIENT_KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .tcp_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL))
        .tcp_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES))
        .tcp_nodelay(true);
    Ok(endpoint)
}

/// Connects an endpoint, as its own `connect` does. Where the system has the socket option
/// `TCP_USER_TIMEOUT`, for which tonic has no setting, a connection is also closed when sent bytes
/// are not acknowledged for 30 s.
///
/// # Errors
/// If no connection can be made.
pub async fn dial(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(endpoint.get_tcp_nodelay());
    tcp.set_keepalive(endpoint.get_tcp_keepalive());
    tcp.set_keepalive_interval(endpoint.get_tcp_keepalive_interval());
    tcp.set_keepalive_retries(endpoint.get_tcp_keepalive_retries());
    tcp.set_connect_timeout(endpoint.get_connect_timeout());
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    endpoint.connect_with_connector(tcp).await
}

/// A server whose HTTP/2 settings suit tunnels.
#[must_use]
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .http2_adaptive_window(Some(false))
        .http2_keepalive_interval(Some(SERVER_KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .tcp_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL))
        .tcp_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES))
        .tcp_nodelay(true)
}

/// The connections of a listener, for `serve_with_incoming`: without Nagle's algorithm, with TCP
/// keepalive, and, where the system can, closed when sent bytes are not acknowledged for 30 s.
///
/// tonic's own settings for TCP hold only where tonic itself listens. With the algorithm on, small
/// frames such as window updates wait for the peer's delayed acknowledgement: 40 ms each.
#[must_use]
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    // Connections inherit it from their listener. Without it a dead one is closed later.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let _ = SockRef::from(&listener).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE))
        .with_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL))
        .with_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES))
}
