//! TCP sockets that suit tunnels.

use grpctunnel_tonic::tcp::{KEEPALIVE, KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES};
use hyper_util::client::legacy::connect::HttpConnector;

/// Makes connections to the host and port of a URI.
pub(crate) fn connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    tcp.set_tcp_user_timeout(Some(grpctunnel_tonic::tcp::USER_TIMEOUT));
    tcp
}
