//! Tunnels and another service on one port.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_driver::{BoxError, Handler, TransmitBody, TunnelService};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Either;
use tower_service::Service;

/// Accepts tunnels, and gives any other request to another service: see
/// [`TunnelServer::with_fallback`](crate::TunnelServer::with_fallback).
#[derive(Clone)]
pub struct WithFallback<H, S> {
    tunnels: TunnelService<H>,
    service: S,
}

impl<H, S> WithFallback<H, S> {
    pub(crate) const fn new(tunnels: TunnelService<H>, service: S) -> Self {
        Self { tunnels, service }
    }
}

impl<H, S> fmt::Debug for WithFallback<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithFallback").finish_non_exhaustive()
    }
}

impl<H, S, I, B> Service<Request<I>> for WithFallback<H, S>
where
    H: Handler,
    I: Body<Data: bytes::Buf, Error: Into<BoxError>> + Send + 'static,
    S: Service<Request<I>, Response = Response<B>, Error: Into<BoxError>>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Response = Response<Either<TransmitBody, B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        if opens_tunnel(request.uri().path()) {
            let response = self.tunnels.call(request).into_inner();
            let response = response.unwrap_or_else(|never| match never {});
            return Box::pin(ready(Ok(response.map(Either::Left))));
        }
        let mut service = self.service.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let calling = service.call(request);
            let response = calling.await.map_err(Into::into)?;
            Ok(response.map(Either::Right))
        })
    }
}

/// Whether a path is one of the tunnel service.
fn opens_tunnel(path: &str) -> bool {
    let method = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(TunnelService::NAME));
    method.is_some_and(|method| method.starts_with('/'))
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
