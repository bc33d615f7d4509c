//! A tunnel over it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_driver::{Options, RequestBody, RequestError, TunnelService};
use grpctunnel_http2::{Settings, connect, serve};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt, Full};
use tower_service::Service;

use crate::support::*;

pub(crate) type Trailers = Ready<Option<Result<HeaderMap, RequestError>>>;

/// Sends calls of the tunnel back.
#[derive(Clone)]
pub(crate) struct Echo;

impl Service<Request<RequestBody>> for Echo {
    type Response = Response<WithTrailers<RequestBody, Trailers>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let ok = ready(Some(Ok(one("grpc-status", "0"))));
        ready(Ok(Response::new(request.into_body().with_trailers(ok))))
    }
}

#[tokio::test]
async fn a_tunnel_carries_calls_and_ends_cleanly() {
    let (settings, runtime) = (Settings::tunnels(), runtime());
    let (near, far) = pipe(1 << 20);
    let service = TunnelService::new(runtime.clone()).forward(Echo);
    let server = serve(far, service, &settings, &runtime);
    let client = connect(near, &settings, &runtime).await.unwrap();

    let mut options = Options::default();
    options.origin = Some(Uri::from_static("http://localhost"));
    let mut tunnel =
        grpctunnel_driver::connect(client.clone(), &runtime, &options, HeaderMap::new())
            .await
            .unwrap();

    let mut message = vec![0, 0, 0x10, 0, 0];
    message.resize(5 + (1 << 20), 7);
    for _ in 0..20 {
        let request = Request::post("/example.Echo/Say");
        let request = request
            .body(Full::new(Bytes::from(message.clone())))
            .unwrap();
        let response = tunnel.call(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), message);
    }
    assert_eq!(server.open_streams(), 1, "the tunnel");
    tunnel.close();
    assert!(tunnel.closed().await.is_clean());
    settled(|| server.open_streams() + client.connection().open_streams() == 0).await;
}
