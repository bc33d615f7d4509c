//! A server of tunnels, and of anything else, over our own HTTP/2.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::{BoxError, ConnectInfo, Handler, NoHandler};
use grpctunnel_http2::{Connections, IncomingBody, Settings, accept_pause};
use http::{Request, Response};
use http_body::Body;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower_service::Service;

use crate::TunnelServer;
use crate::runtime::runtime;
use crate::tcp::{prepare_accepted, watch_accepted};

/// How long a tunnel that was drained may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves tunnels over HTTP/2 on TCP, and any other service beside them.
///
/// It is what to use unless a tonic server is there already; see the
/// [front page](crate#the-http2-connection-beneath) for the difference. Requests carry a
/// [`ConnectInfo`] and tonic's [`TcpConnectInfo`] in their extensions.
#[derive(Clone, Debug)]
pub struct Server<H = NoHandler, S = Routes> {
    tunnels: TunnelServer<H>,
    service: S,
    settings: Settings,
    grace: Duration,
}

impl<H> Server<H> {
    /// A server of tunnels, which answers UNIMPLEMENTED to anything else.
    #[must_use]
    pub fn new(tunnels: TunnelServer<H>) -> Self {
        Self {
            tunnels,
            service: Routes::default(),
            settings: Settings::tunnels(),
            grace: Duration::from_secs(30),
        }
    }
}

impl<H, S> Server<H, S> {
    /// What answers requests that open no tunnel: tonic's `Routes`, or any other service.
    #[must_use]
    pub fn with_service<T>(self, service: T) -> Server<H, T> {
        Server {
            tunnels: self.tunnels,
            service,
            settings: self.settings,
            grace: self.grace,
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

    /// Serves until `shutdown` is ready. Then it accepts no more connections, tunnels and calls,
    /// and returns when those that are open have ended, at the latest when the grace is over: then
    /// they are cut. Dropping the future cuts them at once.
    pub async fn serve<B>(self, listener: TcpListener, shutdown: impl Future<Output = ()>)
    where
        H: Handler,
        S: Service<Request<IncomingBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = self.tunnels.with_fallback(self.service);
        let connections = CutOnDrop(Connections::new(self.settings.clone(), runtime()));
        watch_accepted(&listener);
        {
            let mut shutdown = pin!(shutdown);
            loop {
                let stream = tokio::select! {
                    biased;
                    () = shutdown.as_mut() => break,
                    stream = accept(&listener) => stream,
                };
                // What cannot be set makes a connection slower, or noticed later when it is dead.
                let _ = prepare_accepted(&stream);
                let mut info = ConnectInfo::default();
                info.local_addr = stream.local_addr().ok();
                info.remote_addr = stream.peer_addr().ok();
                let service = WithConnectInfo {
                    service: service.clone(),
                    info,
                };
                connections.0.serve(TokioIo::new(stream), service);
            }
        }
        drop(listener);
        self.tunnels.drain(self.grace);
        connections.0.shutdown(self.grace.saturating_add(FAREWELL));
        connections.0.closed().await;
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                if let Some(pause) = accept_pause(&error) {
                    tokio::time::sleep(pause).await;
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

/// What one connection sees: requests carry its addresses.
#[derive(Clone)]
struct WithConnectInfo<S> {
    service: S,
    info: ConnectInfo,
}

impl<S: Service<Request<IncomingBody>>> Service<Request<IncomingBody>> for WithConnectInfo<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<IncomingBody>) -> S::Future {
        let extensions = request.extensions_mut();
        // What tonic's `Request::remote_addr` looks for.
        extensions.insert(TcpConnectInfo {
            local_addr: self.info.local_addr,
            remote_addr: self.info.remote_addr,
        });
        extensions.insert(self.info.clone());
        self.service.call(request)
    }
}
