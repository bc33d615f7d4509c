//! Outgoing connections: TCP, Unix sockets, and TCP through an HTTP proxy.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use grpctunnel_http2::{Client, Settings};
use http::Uri;
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use tokio_util::either::Either;
use tower_service::Service;

use crate::{
    auth::Credentials,
    listener::Stream,
    origin::{BadOrigin, Origin},
    tls::{Failure, Remembering},
    words,
};

/// How long a connection may take, the name and a proxy included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_PROBES: u32 = 3;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type ClientWire = Either<Stream, Box<Remembering<Stream>>>;

/// Through which HTTP proxy a server is reached, by `CONNECT`.
#[derive(Clone, Debug, Default)]
pub enum Proxy {
    /// None.
    #[default]
    None,
    /// What `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, as for curl.
    Environment,
    /// This one, as `http://[USER:PASSWORD@]HOST:PORT`.
    Url(String),
}

impl std::str::FromStr for Proxy {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let bare = match text.rsplit_once('@') {
            Some((_, server)) => format!("http://{server}"),
            None => text.to_owned(),
        };
        match text.starts_with("http://") {
            true => bare.parse::<Origin>().map(|_| Self::Url(text.to_owned())),
            false => Err(BadOrigin::Malformed),
        }
    }
}

impl Proxy {
    /// The proxy for this server, if there is one.
    pub(crate) fn of(&self, server: &Uri) -> Option<Intercept> {
        let matcher = match self {
            Self::None => return None,
            Self::Environment => Matcher::from_env(),
            Self::Url(url) => Matcher::builder().all(url.as_str()).build(),
        };
        // Tunnels are not HTTP that a proxy could read, so it is asked as for TLS.
        let mut parts = server.clone().into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTPS);
        matcher.intercept(&Uri::from_parts(parts).ok()?)
    }
}

/// How a connection is kept an eye on by TCP itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// Idle time before TCP's own probes.
    pub(crate) probe: Duration,
    /// The pause between them.
    pub(crate) pause: Duration,
    /// How long what was sent may stay without acknowledgement.
    pub(crate) silence: Duration,
}

/// Connects to one server.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    origin: Origin,
    tcp: HttpConnector,
    proxy: Proxy,
    credentials: Credentials,
}

impl Connector {
    pub(crate) fn new(
        origin: Origin,
        proxy: Proxy,
        credentials: Credentials,
        watch: Watch,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(watch.probe));
        tcp.set_keepalive_interval(Some(watch.pause));
        tcp.set_keepalive_retries(Some(TCP_PROBES));
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        tcp.set_tcp_user_timeout(Some(watch.silence));
        Self {
            origin,
            tcp,
            proxy,
            credentials,
        }
    }

    /// An HTTP/2 connection with these settings.
    pub(crate) async fn http2(&self, settings: &Settings) -> Result<Client<Bytes>, BoxError> {
        let (io, failure) = self.clone().connect().await?;
        let runtime = grpctunnel_tokio::runtime();
        let connecting = grpctunnel_http2::connect(io, settings, &runtime);
        let client = connecting.await.map_err(|error| {
            // What TLS 1.3 refuses of ours, it refuses when the handshake is over here.
            let failure = failure.and_then(|failure| failure.get().cloned());
            failure.map_or_else(|| error.into(), BoxError::from)
        })?;
        let client = client.with_authority(self.origin.authority().clone());
        Ok(client.with_scheme(self.origin.scheme()))
    }

    /// Connects, and shakes hands.
    async fn connect(self) -> Result<(TokioIo<ClientWire>, Option<Failure>), BoxError> {
        let connecting = async {
            let host = self.origin.authority().host().to_owned();
            let tls = match self.origin.is_tls() {
                true => Some(self.credentials.tls()?),
                false => None,
            };
            let stream = self.open().await?;
            Ok::<_, BoxError>(match tls {
                None => (ClientWire::Left(stream), None),
                Some(tls) => {
                    let stream = tls.connect(&host, stream).await?;
                    let failure = stream.failure();
                    (ClientWire::Right(Box::new(stream)), Some(failure))
                }
            })
        };
        let (wire, failure) = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok((TokioIo::new(wire), failure))
    }

    async fn open(mut self) -> Result<Stream, BoxError> {
        #[cfg(unix)]
        if let Some(path) = self.origin.unix() {
            let stream = tokio::net::UnixStream::connect(path).await?;
            return Ok(Stream::Right(stream));
        }
        let server = self.origin.uri();
        let stream = match self.proxy.of(&server) {
            None => self.tcp.call(server).await?,
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                let stream = tunnel.call(self.origin.uri_with_port()).await;
                stream.map_err(|error| proxy_failed(proxy.uri(), &error))?
            }
        };
        let stream = stream.into_inner();
        #[cfg(unix)]
        let stream = Stream::Left(stream);
        Ok(stream)
    }
}

/// Why a proxy is of no use, in words that name it.
pub(crate) fn proxy_failed(proxy: &Uri, error: &(dyn Error + 'static)) -> BoxError {
    let why = words::reason(error);
    let why = match why.strip_prefix("tunnel error: ").unwrap_or(&why) {
        "unsuccessful" => "it refused to connect to the gateway",
        why => why,
    };
    format!("the proxy {proxy}: {why}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_url_with_or_without_a_user() {
        for good in ["http://proxy:3128", "http://user:pass@proxy:3128"] {
            assert!(good.parse::<Proxy>().is_ok(), "{good}");
        }
        for bad in ["", "proxy:3128", "https://proxy:1", "http://u:p@"] {
            assert!(bad.parse::<Proxy>().is_err(), "{bad}");
        }
    }
}
