//! Connections to servers of tunnels, by URL.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::BoxError;
use grpctunnel_http2::{Client, Settings};
use http::Uri;
use http::uri::{Authority, Scheme};
use tower_service::Service;

use crate::runtime::runtime;
use crate::tcp;

/// How long a TCP connection may take, the name's look-up included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes an HTTP/2 connection to `http://HOST:PORT` (plain HTTP/2 with prior knowledge, "h2c"), to
/// open tunnels on, or to make calls.
///
/// The connection has the settings of [`Settings::tunnels`]. TCP sends without delay, and closes it
/// when the other end does not acknowledge anything for 30 s. For a connection of other settings,
/// over TLS or anything else, see [`grpctunnel_http2::connect`]: what it makes can be given to
/// [`connect`](crate::connect) and [`serve_reverse`](crate::serve_reverse) as well.
///
/// # Errors
/// [`DialError`].
pub async fn dial(url: &str) -> Result<Client<Bytes>, DialError> {
    let (uri, authority) = parse(url)?;
    let mut tcp = tcp::connector();
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let unreachable = |error: BoxError| DialError::Connect {
        url: url.to_owned(),
        source: error,
    };
    let io = tokio::time::timeout(CONNECT_TIMEOUT, tcp.call(uri)).await;
    let io = io
        .map_err(|elapsed| unreachable(elapsed.into()))?
        .map_err(|error| unreachable(error.into()))?;
    let client = grpctunnel_http2::connect(io, &Settings::tunnels(), &runtime())
        .await
        .map_err(|error| unreachable(error.into()))?;
    Ok(client.with_authority(authority))
}

/// The URI of a server, and what of it goes into `:authority`.
fn parse(url: &str) -> Result<(Uri, Authority), DialError> {
    let malformed = || DialError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| malformed())?;
    if uri.scheme() == Some(&Scheme::HTTPS) {
        return Err(DialError::Tls(url.to_owned()));
    }
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    if uri.scheme() != Some(&Scheme::HTTP) || !is_bare {
        return Err(malformed());
    }
    let authority = uri.authority().cloned().ok_or_else(malformed)?;
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(malformed());
    }
    Ok((uri, authority))
}

/// Why there is no connection to a server.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The text is not `http://HOST:PORT`.
    Url(String),
    /// The URL asks for TLS, which [`dial`] does not speak.
    Tls(String),
    /// Nobody was reached, or somebody who speaks no HTTP/2.
    Connect {
        /// The server's URL.
        url: String,
        /// An `io::Error`, or a [`grpctunnel_http2::Error`], or what has one as its source.
        source: BoxError,
    },
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(
                f,
                "{url:?} is not the URL of a server; expected http://HOST:PORT"
            ),
            Self::Tls(url) => write!(
                f,
                "{url} asks for TLS; expected http://HOST:PORT, or a connection made with \
                 grpctunnel_http2::connect over a TLS stream"
            ),
            Self::Connect { url, .. } => write!(f, "cannot connect to {url}"),
        }
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect { source, .. } => Some(source.as_ref()),
            Self::Url(_) | Self::Tls(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_an_http_url_without_a_path() {
        for good in ["http://localhost", "http://[::1]:50051", "http://a.b:1/"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost:1",
            "ftp://a:1",
            "http://a/b",
            "http://a?b",
            "http://u@a",
        ] {
            assert!(matches!(parse(bad), Err(DialError::Url(_))), "{bad}");
        }
        assert!(matches!(parse("https://a:1"), Err(DialError::Tls(_))));
    }
}
