//! tonic's own HTTP/2 as the carrier of tunnels, with settings that suit them.
//!
//! It works wherever a `tonic::transport::Channel` or a tonic server is there already, with its
//! layers and TLS, and costs what tonic's HTTP/2 does not offer:
//!
//! - the budget for small frames is h2's default, so an honest peer that streams tiny messages
//!   while this process is paused for some hundred milliseconds loses its connection, all tunnels
//!   on it with it;
//! - bodies wait in a send buffer of up to 400 KiB for each stream that the tunnel's scheduler no
//!   longer orders, which delays small calls behind large ones;
//! - a reset with `NO_ERROR` or `CANCEL` in the middle of a body looks like its end in some places;
//! - a head or trailers above tonic's limit end the connection, or answer with HTTP 431;
//! - there is no time limit for the preface, and none for a shutdown.
//!
//! [`dial`](crate::dial) and [`Server`](crate::Server) have none of these.

use grpctunnel_http2::{Role, Settings};
use grpctunnel_tonic::tcp::{KEEPALIVE, KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES, watch};
use socket2::SockRef;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use crate::tcp;

/// An endpoint whose HTTP/2 settings suit tunnels.
///
/// For TLS, give it a `ClientTlsConfig` by its `tls_config`, with a feature of tonic such as
/// `tls-ring`.
///
/// # Errors
/// If `uri` is not a URI.
pub fn endpoint(uri: impl Into<String>) -> Result<Endpoint, tonic::transport::Error> {
    let settings = Settings::tunnels();
    let mut endpoint = Endpoint::from_shared(uri.into())?
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.max_frame_size)
        .http2_adaptive_window(false)
        .keep_alive_timeout(settings.keepalive_timeout)
        .keep_alive_while_idle(settings.keepalive_while_idle)
        .tcp_keepalive(Some(KEEPALIVE))
        .tcp_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .tcp_keepalive_retries(Some(KEEPALIVE_RETRIES))
        .tcp_nodelay(true);
    if let Some(interval) = settings.keepalive.after(Role::Client) {
        endpoint = endpoint.http2_keep_alive_interval(interval);
    }
    Ok(endpoint)
}

/// Connects an endpoint, as its own `connect` does. Where the system has the socket option
/// `TCP_USER_TIMEOUT`, for which tonic has no setting, a connection is also closed when sent bytes
/// are not acknowledged for 30 s.
///
/// # Errors
/// If no connection can be made.
pub async fn dial(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    let mut tcp = tcp::connector();
    tcp.set_nodelay(endpoint.get_tcp_nodelay());
    tcp.set_keepalive(endpoint.get_tcp_keepalive());
    tcp.set_keepalive_interval(endpoint.get_tcp_keepalive_interval());
    tcp.set_keepalive_retries(endpoint.get_tcp_keepalive_retries());
    tcp.set_connect_timeout(endpoint.get_connect_timeout());
    endpoint.connect_with_connector(tcp).await
}

/// A server whose HTTP/2 settings suit tunnels.
///
/// For TLS, give it a `ServerTlsConfig` by its `tls_config`, with a feature of tonic such as
/// `tls-ring`. What a client shows is in the opening's extensions, as tonic's `TlsConnectInfo`.
#[must_use]
pub fn server() -> Server {
    let settings = Settings::tunnels();
    Server::builder()
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.max_frame_size)
        .http2_adaptive_window(Some(false))
        .http2_keepalive_interval(settings.keepalive.after(Role::Server))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout))
        .max_concurrent_streams(settings.max_streams)
        .tcp_keepalive(Some(KEEPALIVE))
        .tcp_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .tcp_keepalive_retries(Some(KEEPALIVE_RETRIES))
        .tcp_nodelay(true)
}

/// The connections of a listener, for `serve_with_incoming`: without Nagle's algorithm, with TCP
/// keepalive, and, where the system can, closed when sent bytes are not acknowledged for 30 s.
///
/// tonic's own settings for TCP hold only where tonic itself listens. With the algorithm on, small
/// frames such as window updates wait for the peer's delayed acknowledgement: 40 ms each.
#[must_use]
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    watch(&SockRef::from(&listener));
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(KEEPALIVE))
        .with_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .with_keepalive_retries(Some(KEEPALIVE_RETRIES))
}
