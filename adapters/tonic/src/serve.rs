//! A server of tunnels, and of anything else, over HTTP/2 on TCP.

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use grpctunnel_driver::{BoxError, ConnectInfo, Handler, NoHandler};
use grpctunnel_http2::{Connection, Connections, IncomingBody, Settings, accept_pause};
use http::{Request, Response};
use http_body::Body;
use hyper::rt::{Read, Write};
use tonic::service::Routes;
use tower_service::Service;

use crate::fallback::WithFallback;
use crate::network::{Network, runtime};
use crate::server::TunnelServer;

/// How long a tunnel that was drained may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves tunnels, and any other service beside them, over HTTP/2 on TCP.
///
/// It runs on the runtime of its [`TunnelServer`]. Requests carry a [`ConnectInfo`] in their
/// extensions.
pub struct Server<N: Network, H = NoHandler, S = Routes> {
    tunnels: TunnelServer<N, H>,
    service: S,
    settings: Settings,
    grace: Duration,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Acceptor<N>>,
}

impl<N: Network, H> Server<N, H> {
    /// A server of tunnels, which answers UNIMPLEMENTED to anything else.
    #[must_use]
    pub fn new(tunnels: TunnelServer<N, H>) -> Self {
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

impl<N: Network, H, S> Server<N, H, S> {
    /// What answers requests that open no tunnel: tonic's `Routes`, or any other service.
    #[must_use]
    pub fn with_service<T>(self, service: T) -> Server<N, H, T> {
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

    /// What TLS is done with: this end's certificate, and for mutual TLS how clients' are verified.
    /// Without it, connections are plain. The ALPN protocol is `h2`. A handshake may take the
    /// [`handshake_timeout`](Settings::handshake_timeout).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, config: rustls::ServerConfig) -> Self
    where
        N: crate::tls::TlsNetwork,
    {
        let tls = Some(crate::tls::acceptor::<N>(config));
        Self { tls, ..self }
    }
}

impl<N, H, S, B> Server<N, H, S>
where
    N: Network,
    H: Handler,
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
    /// If the listener cannot be used with the runtime.
    pub async fn serve(
        self,
        listener: N::Listener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let acceptor = N::listen(listener)?;
        let connections = CutOnDrop(Connections::new(self.settings.clone(), runtime::<N>()));
        {
            let mut shutdown = pin!(shutdown);
            loop {
                let accepting = pin!(accept::<N>(&acceptor));
                match select(shutdown.as_mut(), accepting).await {
                    Either::Left(_) => break,
                    Either::Right((stream, _)) => self.accepted(stream, &connections.0),
                }
            }
        }
        drop(acceptor);
        self.tunnels.drain(self.grace);
        connections.0.shutdown(self.grace.saturating_add(FAREWELL));
        connections.0.closed().await;
        Ok(())
    }

    /// Serves one connection over a transport of your own, in tasks of its own: a Unix socket, a
    /// pipe, TLS of another library. `info` is what is known of it. What [`Server`] does for all of
    /// its connections is yours to do: see [`Connection::shutdown`].
    pub fn serve_over<T>(&self, io: T, info: ConnectInfo) -> Connection
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let service = self.service(info);
        grpctunnel_http2::serve(io, service, &self.settings, &runtime::<N>())
    }

    fn accepted(&self, stream: N::Stream, connections: &Connections) {
        let info = N::connect_info(&stream);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let handshake = tls(stream);
            let mut service = self.service(info);
            let connections = connections.clone();
            let runtime = runtime::<N>();
            let limit = runtime.now().checked_add(self.settings.handshake_timeout);
            let limit = limit.map(|limit| runtime.sleep_until(limit));
            runtime.spawn(async move {
                let handshake = match limit {
                    Some(limit) => match select(handshake, limit).await {
                        Either::Left((handshake, _)) => handshake,
                        Either::Right(_) => return,
                    },
                    None => handshake.await,
                };
                // A client that fails it is told by TLS.
                if let Ok((stream, certificates)) = handshake {
                    service.info.peer_certificates = certificates;
                    connections.serve(stream, service);
                }
            });
            return;
        }
        connections.serve(stream, self.service(info));
    }

    fn service(&self, info: ConnectInfo) -> WithInfo<N, WithFallback<H, S>> {
        WithInfo {
            service: self.tunnels.with_fallback(self.service.clone()),
            info,
            network: PhantomData,
        }
    }
}

impl<N: Network, H: Clone, S: Clone> Clone for Server<N, H, S> {
    fn clone(&self) -> Self {
        Self {
            tunnels: self.tunnels.clone(),
            service: self.service.clone(),
            settings: self.settings.clone(),
            grace: self.grace,
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        }
    }
}

impl<N: Network, H, S> fmt::Debug for Server<N, H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// The next connection.
async fn accept<N: Network>(acceptor: &N::Acceptor) -> N::Stream {
    loop {
        match N::accept(acceptor).await {
            Ok(stream) => return stream,
            Err(error) => {
                let network = N::default();
                let end = accept_pause(&error).and_then(|pause| network.now().checked_add(pause));
                if let Some(end) = end {
                    network.sleep_until(end).await;
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
struct WithInfo<N, S> {
    service: S,
    info: ConnectInfo,
    network: PhantomData<fn() -> N>,
}

impl<N, S: Clone> Clone for WithInfo<N, S> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            info: self.info.clone(),
            network: PhantomData,
        }
    }
}

impl<N: Network, S: Service<Request<B>>, B> Service<Request<B>> for WithInfo<N, S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let extensions = request.extensions_mut();
        N::attach(&self.info, extensions);
        extensions.insert(self.info.clone());
        self.service.call(request)
    }
}
