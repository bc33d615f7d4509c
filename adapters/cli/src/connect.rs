//! Outgoing connections: TCP, Unix sockets, and TCP through an HTTP proxy.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use crate::{
    listener::Stream,
    origin::{BadOrigin, Origin},
    words,
};

/// How long a connection may take, the name and a proxy included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_PROBES: u32 = 3;

type BoxError = Box<dyn Error + Send + Sync>;

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
    fn of(&self, server: &Uri) -> Option<Intercept> {
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

/// Connects to one server. Clones share what they learned of it.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    origin: Origin,
    tcp: HttpConnector,
    proxy: Proxy,
    spoken: Arc<OnceLock<Spoken>>,
}

impl Connector {
    pub(crate) fn new(origin: Origin, proxy: Proxy, watch: Watch) -> Self {
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
            spoken: Arc::default(),
        }
    }

    /// What the server spoke instead of HTTP/2, if it ever did.
    pub(crate) fn spoken(&self) -> Option<Spoken> {
        self.spoken.get().copied()
    }

    /// Connects.
    pub(crate) async fn connect(mut self) -> Result<TokioIo<Connection>, BoxError> {
        let connecting = async {
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
            Ok::<_, BoxError>(stream)
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(TokioIo::new(Connection {
            stream,
            begun: Begun::default(),
            spoken: Some(self.spoken),
            failed: None,
        }))
    }
}

/// Why a proxy is of no use, in words that name it.
fn proxy_failed(proxy: &Uri, error: &(dyn Error + 'static)) -> BoxError {
    let why = words::reason(error);
    let why = match why.strip_prefix("tunnel error: ").unwrap_or(&why) {
        "unsuccessful" => "it refused to connect to the gateway",
        why => why,
    };
    format!("the proxy {proxy}: {why}").into()
}

/// For clients that want to connect by themselves. What they ask for is ignored.
impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// What a server speaks that was taken for one of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Tls,
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "it speaks HTTP/1, not HTTP/2 without TLS (h2c)",
            Self::Tls => "it speaks TLS, and only HTTP/2 without TLS (h2c) is offered",
        })
    }
}

impl Error for Spoken {}

/// The first bytes of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    bytes: [u8; 7],
    len: usize,
}

impl Begun {
    fn add(&mut self, bytes: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *place = *byte;
            self.len += 1;
        }
    }

    const fn is_full(&self) -> bool {
        self.len == self.bytes.len()
    }

    fn spoken(&self) -> Option<Spoken> {
        match (&self.bytes, self.is_full()) {
            (b"HTTP/1.", true) => Some(Spoken::Http1),
            // An alert of any version: what a TLS server has to say about HTTP/2's preface.
            ([0x15, 0x03, ..], true) => Some(Spoken::Tls),
            _ => None,
        }
    }
}

/// A connection whose first bytes are looked at.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    begun: Begun,
    /// None: they are those of HTTP/2.
    spoken: Option<Arc<OnceLock<Spoken>>>,
    /// A write that failed, until it is known why.
    failed: Option<io::Error>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or(&[]);
        Poll::Ready(self.look(read))
    }
}

impl Connection {
    /// Looks at what came, as long as it is the beginning.
    fn look(&mut self, read: &[u8]) -> io::Result<()> {
        let Some(told) = &self.spoken else {
            return Ok(());
        };
        self.begun.add(read);
        if let Some(spoken) = self.begun.spoken() {
            // The first connection that found out is enough.
            let _ = told.set(spoken);
            return Err(io::Error::other(spoken));
        }
        if self.begun.is_full() {
            self.spoken = None;
        }
        Ok(())
    }

    /// What ended a write: a server that has answered in another protocol closes before it has
    /// read all, and what it said is still to come or still there.
    fn poll_why(&mut self, cx: &mut Context<'_>, error: io::Error) -> Poll<io::Error> {
        if self.spoken.is_none() {
            return Poll::Ready(error);
        }
        let mut bytes = [0; 7];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let spoken = self.look(buffer.filled()).err();
                Poll::Ready(spoken.unwrap_or(error))
            }
            Poll::Ready(Err(_)) => Poll::Ready(error),
            Poll::Pending => {
                self.failed = Some(error);
                Poll::Pending
            }
        }
    }

    /// Writes, and explains a failure.
    fn poll_written<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let error = match self.failed.take() {
            Some(error) => error,
            None => match ready!(write(Pin::new(&mut self.stream), cx)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) => error,
            },
        };
        self.poll_why(cx, error).map(Err)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |stream, cx| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        for (pieces, spoken) in [
            (&[&b"HTTP/1.1 400 Bad Request"[..]][..], Some(Spoken::Http1)),
            (&[b"HTT", b"P/1", b".0 "], Some(Spoken::Http1)),
            (&[b"\x15\x03\x01\x00\x02\x02\x28"], Some(Spoken::Tls)),
            (&[b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"], None),
            (&[b"HTTP/1"], None),
        ] {
            let mut begun = Begun::default();
            pieces.iter().for_each(|piece| begun.add(piece));
            assert_eq!(begun.spoken(), spoken, "{pieces:?}");
        }
    }

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
