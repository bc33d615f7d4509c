//! TCP sockets that suit tunnels.

use std::io;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

/// Idle time before TCP's own keepalive probes, which no HTTP/2 peer sees.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time between those probes, and how many may stay unanswered before the connection is closed.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_RETRIES: u32 = 3;
/// How long bytes may go without TCP's acknowledgement before the connection is closed.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes connections to the host and port of a URI.
pub(crate) fn connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    tcp.set_tcp_user_timeout(Some(USER_TIMEOUT));
    tcp
}

/// Sets what connections inherit from their listener. Where the system has no such option, a dead
/// connection is closed later.
pub(crate) fn watch_accepted(listener: &TcpListener) {
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let _ = SockRef::from(listener).set_tcp_user_timeout(Some(USER_TIMEOUT));
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = listener;
}

/// Sets what an accepted connection does not inherit.
pub(crate) fn prepare_accepted(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL);
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
