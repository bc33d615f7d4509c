//! Connections to gRPC servers, by URL.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use grpctunnel_http2::Settings;
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::rt::{Read, Write};

use crate::carrier::Carrier;
use crate::network::{Network, runtime};

/// A gRPC server to connect to: its URL, and how.
///
/// `N` is the runtime. The crates of runtimes name theirs.
pub struct Endpoint<N: Network> {
    scheme: Scheme,
    authority: Authority,
    settings: Settings,
    connect_timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Connector<N>>,
    network: PhantomData<fn() -> N>,
}

impl<N: Network> Endpoint<N> {
    /// The server of a URL: `http://HOST:PORT` for plain HTTP/2 with prior knowledge ("h2c"),
    /// `https://HOST:PORT` for TLS, which needs a configuration. The ports are 80 and 443 if none is
    /// named.
    ///
    /// # Errors
    /// [`DialError::Url`], if it is none of these.
    pub fn new(url: &str) -> Result<Self, DialError> {
        let wrong = |what: &str| DialError::Url {
            url: url.to_owned(),
            what: format!("{what}; expected http://HOST:PORT or https://HOST:PORT"),
        };
        let uri: Result<Uri, _> = url.parse();
        let uri = uri.map_err(|error| wrong(&error.to_string()))?;
        let has_path = !matches!(uri.path(), "" | "/") || uri.query().is_some();
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or_else(|| wrong("it has no scheme"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong("the scheme is neither http nor https"));
        }
        let authority = parts.authority.ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user name, which is not sent"));
        }
        if authority.host().is_empty() {
            return Err(wrong("it has no host"));
        }
        if has_path {
            return Err(wrong("it has a path"));
        }
        Ok(Self {
            scheme,
            authority,
            settings: Settings::tunnels(),
            connect_timeout: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            tls: None,
            network: PhantomData,
        })
    }

    /// The settings of the HTTP/2 connection: keepalive, the handshake's time limit, windows.
    /// [`Settings::tunnels`] by default.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How long looking the host up, TCP's connection and TLS's handshake may take together; 10 s by
    /// default. HTTP/2's handshake has [a limit of its own](Settings::handshake_timeout).
    #[must_use]
    pub const fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// What TLS is done with, for `https`: which authorities are trusted, and for mutual TLS this
    /// end's own certificate. The ALPN protocol `h2` is added.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, config: rustls::ClientConfig) -> Self
    where
        N: crate::tls::TlsNetwork,
    {
        self.tls = Some(crate::tls::connector::<N>(config));
        self
    }

    /// TLS that trusts the authorities that the platform trusts, for `https`.
    ///
    /// # Errors
    /// [`DialError::Tls`], if the platform has none.
    #[cfg(feature = "tls-native-roots")]
    pub fn with_native_roots(self) -> Result<Self, DialError>
    where
        N: crate::tls::TlsNetwork,
    {
        match crate::tls::native_roots() {
            Ok(config) => Ok(self.with_tls(config)),
            Err(source) => Err(DialError::Tls {
                url: self.url(),
                source,
            }),
        }
    }

    /// Whether the URL asks for TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Connects over TCP, and TLS for `https`.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn connect(&self) -> Result<Carrier, DialError> {
        let host = self.authority.host();
        let host = host.strip_prefix('[').unwrap_or(host);
        let host = host.strip_suffix(']').unwrap_or(host);
        let default = if self.is_https() { 443 } else { 80 };
        let port = self.authority.port_u16().unwrap_or(default);
        let connecting = async {
            let connected = N::connect(host, port).await;
            connected.map_err(|source| DialError::Tcp {
                url: self.url(),
                source,
            })
        };
        if !self.is_https() {
            let stream = self.in_time(connecting).await?;
            return self.connect_over(stream).await;
        }
        #[cfg(feature = "tls")]
        {
            let tls = self.tls.as_ref().ok_or_else(|| DialError::Url {
                url: self.url(),
                what: "TLS needs a configuration: see Endpoint::with_tls".to_owned(),
            })?;
            let connecting = async {
                let stream = connecting.await?;
                let connected = tls(host, stream).await;
                connected.map_err(|source| DialError::Tls {
                    url: self.url(),
                    source,
                })
            };
            let stream = self.in_time(connecting).await?;
            self.connect_over(stream).await
        }
        #[cfg(not(feature = "tls"))]
        Err(DialError::Url {
            url: self.url(),
            what: "TLS needs the feature `tls`".to_owned(),
        })
    }

    /// Makes the HTTP/2 connection over a transport of your own, which is taken to reach the server:
    /// a Unix socket, a pipe, TLS of another library.
    ///
    /// # Errors
    /// [`DialError::Http2`], if the peer does not speak HTTP/2.
    pub async fn connect_over<T>(&self, io: T) -> Result<Carrier, DialError>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let client = grpctunnel_http2::connect(io, &self.settings, &runtime::<N>())
            .await
            .map_err(|source| DialError::Http2 {
                url: self.url(),
                source,
            })?;
        Ok(Carrier::new(
            client,
            self.scheme.clone(),
            self.authority.clone(),
        ))
    }

    fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        let network = N::default();
        let Some(deadline) = network.now().checked_add(self.connect_timeout) else {
            return connecting.await;
        };
        match select(pin!(connecting), network.sleep_until(deadline)).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(DialError::Timeout {
                url: self.url(),
                limit: self.connect_timeout,
            }),
        }
    }
}

impl<N: Network> Clone for Endpoint<N> {
    fn clone(&self) -> Self {
        Self {
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            settings: self.settings.clone(),
            connect_timeout: self.connect_timeout,
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
            network: PhantomData,
        }
    }
}

impl<N: Network> fmt::Debug for Endpoint<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.url()).finish()
    }
}

/// Why there is no connection to a server.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The URL is none of a server, or asks for what is not configured. Nothing was tried.
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// There was no connection in time.
    Timeout {
        /// The server's URL.
        url: String,
        /// The limit: [`with_connect_timeout`](Endpoint::with_connect_timeout).
        limit: Duration,
    },
    /// The host was not found, or takes no connections.
    Tcp {
        /// The server's URL.
        url: String,
        /// What the system says.
        source: io::Error,
    },
    /// The TLS handshake failed.
    Tls {
        /// The server's URL.
        url: String,
        /// What TLS says.
        source: io::Error,
    },
    /// The server does not speak HTTP/2, or not in time.
    Http2 {
        /// The server's URL.
        url: String,
        /// What HTTP/2 says.
        source: grpctunnel_http2::Error,
    },
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, what } => write!(f, "cannot connect to {url:?}: {what}"),
            Self::Timeout { url, limit } => {
                write!(f, "cannot connect to {url}: no connection within {limit:?}")
            }
            Self::Tcp { url, .. } => write!(f, "cannot connect to {url}: no TCP connection"),
            Self::Tls { url, .. } => write!(f, "cannot connect to {url}: the TLS handshake failed"),
            Self::Http2 { url, .. } => write!(f, "cannot connect to {url}: no HTTP/2 connection"),
        }
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Url { .. } | Self::Timeout { .. } => None,
            Self::Tcp { source, .. } | Self::Tls { source, .. } => Some(source),
            Self::Http2 { source, .. } => Some(source),
        }
    }
}
