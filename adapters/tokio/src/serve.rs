//! A server of tunnels, and of anything else, over our own HTTP/2.

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::{BoxError, Handler, NoHandler, TransmitBody, TunnelService};
use grpctunnel_http2::{Connections, IncomingBody, Settings, accept_pause};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Either;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower_service::Service;

use crate::runtime::runtime;
use crate::server::TunnelServer;
use crate::tcp::{prepare_accepted, watch_accepted};

/// How long a tunnel that was drained may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves tunnels over HTTP/2 on TCP, and any other service beside them.
///
/// It is what to use unless a tonic server is there already; see the
/// [front page](crate#the-http2-connection-beneath) for the difference. Requests carry tonic's
/// [`TcpConnectInfo`] in their extensions.
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
                let dispatch = Dispatch {
                    tunnels: self.tunnels.service().clone(),
                    service: self.service.clone(),
                    info: TcpConnectInfo {
                        local_addr: stream.local_addr().ok(),
                        remote_addr: stream.peer_addr().ok(),
                    },
                };
                connections.0.serve(TokioIo::new(stream), dispatch);
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

/// What one connection sees.
#[derive(Clone)]
struct Dispatch<H, S> {
    tunnels: TunnelService<H>,
    service: S,
    info: TcpConnectInfo,
}

type DispatchBody<B> = Either<TransmitBody, B>;
type Answer<B> = Result<Response<DispatchBody<B>>, BoxError>;

/// Whether a path is one of the tunnel service.
fn opens_tunnel(path: &str) -> bool {
    let method = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(TunnelService::NAME));
    method.is_some_and(|method| method.starts_with('/'))
}

impl<H, S, B> Service<Request<IncomingBody>> for Dispatch<H, S>
where
    H: Handler,
    S: Service<Request<IncomingBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<DispatchBody<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answer<B>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<IncomingBody>) -> Self::Future {
        request.extensions_mut().insert(self.info.clone());
        if opens_tunnel(request.uri().path()) {
            let response = self.tunnels.call(request).into_inner();
            let response = response.unwrap_or_else(|never| match never {});
            return Box::pin(std::future::ready(Ok(response.map(Either::Left))));
        }
        let mut service = self.service.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(response.map(Either::Right))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::opens_tunnel;

    #[test]
    fn a_tunnel_is_opened_at_the_service_itself() {
        assert!(opens_tunnel("/grpctunnel.v1.TunnelService/OpenTunnel"));
        for other in [
            "/grpctunnel.v1.TunnelServiceX/OpenTunnel",
            "/x/grpctunnel.v1.TunnelService/OpenTunnel",
            "grpctunnel.v1.TunnelService/OpenTunnel",
            "/",
        ] {
            assert!(!opens_tunnel(other), "{other}");
        }
    }
}
