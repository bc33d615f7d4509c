//! The end that connects.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::{Either, select};
use grpctunnel_driver::{BoxError, Runtime};
use grpctunnel_http2::{Client, Connection, IncomingBody, Settings};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tower_service::Service;

use crate::error::{DialError, status};
use crate::io::FuturesIo;
use crate::tcp;

/// Connects to `http://HOST:PORT`, with the settings that an [`Endpoint`] has at first: to open
/// tunnels on it, or to make calls.
///
/// # Errors
/// If no connection can be made.
pub async fn dial(url: &str, runtime: &Runtime) -> Result<Carrier, DialError> {
    Endpoint::new(url)?.connect(runtime).await
}

/// A gRPC server to connect to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    settings: Settings,
    connect_timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Arc<futures_rustls::rustls::ClientConfig>>,
}

impl Endpoint {
    /// The server of a URI: `http://host:port` for HTTP/2 without TLS, `https://host:port` with
    /// it. The ports are 80 and 443 if none is named; a path is ignored.
    ///
    /// # Errors
    /// If it is no such URI.
    pub fn new(uri: &str) -> Result<Self, DialError> {
        let wrong = |what: &str| {
            let uri = uri.escape_debug();
            DialError::Uri(format!("{uri}: {what}; write http://HOST:PORT"))
        };
        let parts = uri
            .parse::<Uri>()
            .map_err(|error| wrong(&error.to_string()));
        let parts = parts?.into_parts();
        let scheme = parts.scheme.ok_or_else(|| wrong("no scheme"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong("the scheme is neither http nor https"));
        }
        let authority = parts.authority.ok_or_else(|| wrong("no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("user names are not sent"));
        }
        Ok(Self {
            scheme,
            authority,
            settings: Settings::tunnels(),
            connect_timeout: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// The settings of the HTTP/2 connection: keepalive, the handshake's time, windows.
    /// [`Settings::tunnels`] by default.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How long finding the host, TCP's connection and TLS's handshake may take together; 10 s by
    /// default. HTTP/2's handshake has [a limit of its own](Settings::handshake_timeout).
    #[must_use]
    pub const fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// What TLS is done with, for `https`. The ALPN protocol `h2` is added.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, config: futures_rustls::rustls::ClientConfig) -> Self {
        self.tls = Some(crate::tls::client_config(config));
        self
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// If no connection can be made.
    pub async fn connect(&self, runtime: &Runtime) -> Result<Carrier, DialError> {
        let secure = self.scheme == Scheme::HTTPS;
        let default = if secure { 443 } else { 80 };
        let port = self.authority.port_u16().unwrap_or(default);
        if !secure {
            let tcp = async {
                let tcp = tcp::connect(self.authority.host(), port).await;
                tcp.map_err(DialError::Tcp)
            };
            let tcp = self.in_time(runtime, tcp).await?;
            return self.connect_over(tcp, runtime).await;
        }
        #[cfg(feature = "tls")]
        {
            let config = self.tls.clone().ok_or_else(|| {
                DialError::Uri("https needs a configuration: Endpoint::with_tls".to_owned())
            })?;
            let tls = async {
                let tcp = tcp::connect(self.authority.host(), port).await;
                let tcp = tcp.map_err(DialError::Tcp)?;
                crate::tls::connect(config, self.authority.host(), tcp).await
            };
            let tls = self.in_time(runtime, tls).await?;
            self.connect_over(tls, runtime).await
        }
        #[cfg(not(feature = "tls"))]
        {
            let what = "https needs the feature `tls` of grpctunnel-async-std";
            Err(DialError::Uri(what.to_owned()))
        }
    }

    /// Makes the HTTP/2 connection over a transport of your own, which is taken to reach the
    /// server: a Unix socket, a pipe, TLS of another library.
    ///
    /// # Errors
    /// If the peer does not speak HTTP/2.
    pub async fn connect_over<T>(&self, io: T, runtime: &Runtime) -> Result<Carrier, DialError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = grpctunnel_http2::connect(FuturesIo::new(io), &self.settings, runtime)
            .await
            .map_err(DialError::Http2)?;
        Ok(Carrier {
            client,
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
        })
    }

    async fn in_time<T>(
        &self,
        runtime: &Runtime,
        connecting: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        let Some(deadline) = runtime.now().checked_add(self.connect_timeout) else {
            return connecting.await;
        };
        match select(pin!(connecting), runtime.sleep_until(deadline)).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(DialError::Timeout(self.connect_timeout)),
        }
    }
}

/// A connection to a gRPC server: opens tunnels, and carries the calls of generated clients.
///
/// Clones share it. It ends when all of them and their calls are gone. It is not made again once
/// it is lost: calls then fail UNAVAILABLE.
#[derive(Clone)]
pub struct Carrier {
    client: Client<Bytes>,
    scheme: Scheme,
    authority: Authority,
}

impl Carrier {
    /// How the connection fares: its streams, pings, its end.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        self.client.connection()
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Carrier").field(self.connection()).finish()
    }
}

impl<B> Service<Request<B>> for Carrier
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<CarrierBody>;
    type Error = Status;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A call says why it cannot be made: what fails here is UNKNOWN to generated clients.
        Service::<Request<B>>::poll_ready(&mut self.client, cx).map(|_| Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture {
        let path = request.uri().path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        if let Ok(uri) = uri.build() {
            *request.uri_mut() = uri;
        }
        ResponseFuture(self.client.call(request))
    }
}

/// A call on a [`Carrier`] that waits for its response. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
#[derive(Debug)]
pub struct ResponseFuture(grpctunnel_http2::ResponseFuture);

impl Future for ResponseFuture {
    type Output = Result<Response<CarrierBody>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.0).poll(cx)).map_err(status)?;
        Poll::Ready(Ok(response.map(CarrierBody)))
    }
}

/// The body of a response, whose errors are gRPC's.
#[derive(Debug)]
pub struct CarrierBody(IncomingBody);

impl Body for CarrierBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn a_uri_that_cannot_be_connected_to_is_told_from_one_that_can() {
        for good in [
            "http://localhost:50051",
            "https://[::1]/",
            "http://10.0.0.1",
        ] {
            assert!(Endpoint::new(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "empty string"),
            ("localhost:50051", "no scheme"),
            ("/path", "no scheme"),
            ("ftp://host:1", "neither http nor https"),
            ("http://u:p@host", "user names"),
            ("http://\n", "\\n"),
        ] {
            let error = Endpoint::new(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
