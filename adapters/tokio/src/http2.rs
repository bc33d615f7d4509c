//! HTTP/2 settings that suit tunnels.
//!
//! HTTP/2 under a tunnel is one stream, so its windows cap the whole tunnel; and an HTTP/2 stack
//! counts small frames against its connection window before it gives a connection up. Both ends
//! are better off with large windows and large frames; the tunnel's own flow control bounds memory.

use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

/// Bytes of the HTTP/2 window of a stream, and of a connection.
const WINDOW: u32 = 16 << 20;
/// Bytes of the largest HTTP/2 frame that is taken.
const FRAME: u32 = 256 << 10;
/// Time between keepalive pings of a client. Stock grpc-go servers count one in less than 5
/// minutes as abuse.
const CLIENT_KEEPALIVE: Duration = Duration::from_secs(360);
/// Time between keepalive pings of a server, which no known peer minds.
const SERVER_KEEPALIVE: Duration = Duration::from_secs(60);
/// Time for the answer to a keepalive ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Idle time before TCP's own keepalive probes, which no HTTP/2 peer sees.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// HTTP/2 streams that a client may have open at once on a connection. tonic's default is no limit.
const STREAMS: u32 = 1_024;

/// An endpoint whose HTTP/2 settings suit tunnels.
///
/// # Errors
/// If the URI is none.
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
        .tcp_nodelay(true);
    Ok(endpoint)
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
        .tcp_nodelay(true)
}

/// The connections of a listener, for `serve_with_incoming`, without Nagle's algorithm and with
/// TCP keepalive.
///
/// tonic's own settings for TCP hold only where tonic itself listens. With the algorithm on, small
/// frames such as window updates wait for the peer's delayed acknowledgement: 40 ms each.
#[must_use]
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE))
}
