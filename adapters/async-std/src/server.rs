//! The end that accepts connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Async;
use bytes::Bytes;
#[cfg(feature = "tls")]
use futures_rustls::{pki_types::CertificateDer, rustls::ServerConfig};
use futures_util::future::{Either, select};
use grpctunnel_driver::{BoxError, Executor, Handler, NoHandler, Runtime, Timer};
use grpctunnel_http2::{Connection, Connections, IncomingBody, Settings, accept_pause};
use grpctunnel_tonic::TunnelServer;
use http::{Request, Response};
use http_body::Body;
use tonic::service::Routes;
use tower_service::Service;

use crate::io::FuturesIo;
use crate::tcp;

/// How long a tunnel that was drained may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves tunnels, and any other service beside them, over HTTP/2 on TCP.
///
/// It runs on the runtime of its [`TunnelServer`]. Requests carry a [`ConnectInfo`] in their
/// extensions.
pub struct Server<R, H = NoHandler, S = Routes> {
    tunnels: TunnelServer<R, H>,
    service: S,
    settings: Settings,
    grace: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Arc<ServerConfig>>,
}

/// Where a connection comes from: an extension of its requests, and so of the
/// [`ReverseTunnel`](crate::ReverseTunnel) and the [`TunnelPeer`](crate::TunnelPeer) that it
/// opens.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectInfo {
    /// This end's address.
    pub local_addr: Option<SocketAddr>,
    /// The client's address.
    pub remote_addr: Option<SocketAddr>,
    /// The client's certificates, its own first; none without TLS, or if it sent none.
    #[cfg(feature = "tls")]
    pub peer_certs: Option<Arc<[CertificateDer<'static>]>>,
}

impl ConnectInfo {
    fn of(stream: &TcpStream) -> Self {
        Self {
            local_addr: stream.local_addr().ok(),
            remote_addr: stream.peer_addr().ok(),
            ..Self::default()
        }
    }
}

impl<R, H> Server<R, H> {
    /// A server of tunnels, which answers UNIMPLEMENTED to anything else.
    #[must_use]
    pub fn new(tunnels: TunnelServer<R, H>) -> Self {
        Self {
            tunnels,
            service: Routes::default(),
            settings: Settings::tunnels(),
            grace: Duration::from_secs(30),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl<R, H, S> Server<R, H, S> {
    /// What answers requests that open no tunnel: tonic's `Routes`, or any other service.
    #[must_use]
    pub fn with_service<T>(self, service: T) -> Server<R, H, T> {
        Server {
            tunnels: self.tunnels,
            service,
            settings: self.settings,
            grace: self.grace,
            #[cfg(feature = "tls")]
            tls: self.tls,
        }
    }

    /// The settings of its connections. [`Settings::tunnels`] by default.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// How long calls, in tunnels and beside them, may go on when it shuts down. 30 s by default.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// What TLS is done with: without it, connections are plain. The ALPN protocol is `h2`. A
    /// handshake may take the [`handshake_timeout`](Settings::handshake_timeout).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, config: ServerConfig) -> Self {
        let tls = Some(crate::tls::server_config(config));
        Self { tls, ..self }
    }
}

impl<R, H, S, B> Server<R, H, S>
where
    R: Executor + Timer + Default,
    H: Handler + Sync,
    S: Service<Request<IncomingBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    /// Serves until `shutdown` is ready. Then it accepts no more connections, tunnels and calls,
    /// and returns when those that are open have ended, at the latest when the grace is over: then
    /// they are cut. Dropping the future cuts them at once.
    ///
    /// # Errors
    /// If the listener cannot be used with async IO.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let runtime = Runtime::new(R::default(), R::default());
        let listener = Async::new(listener)?;
        let connections = CutOnDrop(Connections::new(self.settings.clone(), runtime.clone()));
        let mut shutdown = pin!(shutdown);
        loop {
            let accepting = pin!(accept(&listener, &runtime));
            let stream = match select(shutdown.as_mut(), accepting).await {
                Either::Left(_) => break,
                Either::Right((stream, _)) => stream,
            };
            // What cannot be set makes a connection slower, or noticed later when it is dead.
            let _ = tcp::tune(stream.get_ref());
            self.accepted(stream, &connections.0, &runtime);
        }
        drop(listener);
        self.tunnels.drain(self.grace);
        connections.0.shutdown(self.grace.saturating_add(FAREWELL));
        connections.0.closed().await;
        Ok(())
    }

    /// Serves one connection over a transport of your own, in tasks of its own: a Unix socket, a
    /// pipe, TLS of another library. What [`Server`] does for all of its connections is yours to
    /// do: see [`Connection::shutdown`].
    pub fn serve_over<T>(&self, io: T) -> Connection
    where
        T: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = Runtime::new(R::default(), R::default());
        let service = self.service(ConnectInfo::default());
        grpctunnel_http2::serve(FuturesIo::new(io), service, &self.settings, &runtime)
    }

    fn accepted(&self, tcp: Async<TcpStream>, connections: &Connections, runtime: &Runtime) {
        let info = ConnectInfo::of(tcp.get_ref());
        #[cfg(feature = "tls")]
        if let Some(config) = self.tls.clone() {
            let mut service = self.service(info);
            let limit = runtime.now().checked_add(self.settings.handshake_timeout);
            let limit = limit.map(|limit| runtime.sleep_until(limit));
            let connections = connections.clone();
            runtime.spawn(async move {
                let handshake = pin!(crate::tls::accept(config, tcp));
                let stream = match limit {
                    Some(limit) => match select(handshake, limit).await {
                        Either::Left((stream, _)) => stream,
                        Either::Right(_) => return,
                    },
                    None => handshake.await,
                };
                // A client that fails it is told by TLS.
                let Ok(stream) = stream else { return };
                let certs = stream.get_ref().1.peer_certificates();
                service.info.peer_certs = certs.map(Arc::from);
                connections.serve(FuturesIo::new(stream), service);
            });
            return;
        }
        let _ = runtime;
        connections.serve(FuturesIo::new(tcp), self.service(info));
    }

    fn service(&self, info: ConnectInfo) -> WithInfo<grpctunnel_tonic::WithFallback<H, S>> {
        WithInfo {
            service: self.tunnels.with_fallback(self.service.clone()),
            info,
        }
    }
}

impl<R, H, S> fmt::Debug for Server<R, H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// The next connection.
async fn accept(listener: &Async<TcpListener>, runtime: &Runtime) -> Async<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                let pause = accept_pause(&error).and_then(|pause| runtime.now().checked_add(pause));
                if let Some(end) = pause {
                    runtime.sleep_until(end).await;
                }
            }
        }
    }
}

struct CutOnDrop(Connections);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.shutdown(Duration::ZERO);
    }
}

/// Tells a service where requests come from.
#[derive(Clone)]
struct WithInfo<S> {
    service: S,
    info: ConnectInfo,
}

impl<S, B> Service<Request<B>> for WithInfo<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.info.clone());
        self.service.call(request)
    }
}
