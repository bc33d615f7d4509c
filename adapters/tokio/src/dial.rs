//! Connections to servers of tunnels, by URL.

use grpctunnel_tonic::{Carrier, DialError};

use crate::Endpoint;

/// Makes an HTTP/2 connection to `http://HOST:PORT` (plain HTTP/2 with prior knowledge, "h2c") or
/// `https://HOST:PORT`, to open tunnels on, or to make calls.
///
/// `https` needs the feature `tls-native-roots`, and trusts the authorities that the platform
/// trusts. For authorities of your own, for mutual TLS, and for other settings, timeouts and
/// transports, see [`Endpoint`].
///
/// The connection has the settings of [`http2::Settings::tunnels`](crate::http2::Settings::tunnels).
/// TCP sends without delay, and closes it when the other end does not acknowledge anything for 30 s.
///
/// # Errors
/// [`DialError`].
pub async fn dial(url: &str) -> Result<Carrier, DialError> {
    let endpoint = Endpoint::new(url)?;
    #[cfg(feature = "tls-native-roots")]
    let endpoint = if endpoint.is_https() {
        endpoint.with_native_roots()?
    } else {
        endpoint
    };
    endpoint.connect().await
}
