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
use hyper_util::rt::TokioIo;
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

/// A client that opens a reverse tunnel by hand, and takes nothing of it once a window is full.
#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_aborted_is_reset_though_its_peer_takes_nothing() {
    let runtime = runtime();
    let (near, far) = tokio::io::duplex(1 << 20);
    let (channels, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    let service = TunnelService::new(runtime.clone()).reverse(move |tunnel| {
        channels.send(tunnel.channel).expect("the test waits");
        async {}
    });
    let server = serve(TokioIo::new(far), service, &Settings::tunnels(), &runtime);

    let (mut client, connection) = h2::client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://localhost/grpctunnel.v1.TunnelService/OpenReverseTunnel")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (response, mut outgoing) = client.send_request(request, false).unwrap();
    let mut incoming = response.await.unwrap().into_body();

    // More than the window of 64 KiB.
    let mut channel = accepted.recv().await.expect("a tunnel");
    let mut message = vec![0, 0, 2, 0, 0];
    message.resize(5 + (2 << 16), 7);
    let call = channel.call(post(full(message)));
    let call = tokio::spawn(call);
    let full_window = (1 << 16) - 1;
    let mut received = 0;
    while received < full_window {
        received += incoming.data().await.expect("more").unwrap().len();
    }

    // A frame with a flag that no peer of this protocol sets.
    outgoing
        .send_data(Bytes::from_static(&[7, 0, 0, 0, 0]), false)
        .unwrap();
    let limit = std::time::Duration::from_secs(30);
    let end = tokio::time::timeout(limit, incoming.data()).await;
    let end = end.expect("the stream is reset").expect("an error");
    let end = end.unwrap_err();
    assert_eq!(end.reason(), Some(h2::Reason::INTERNAL_ERROR));
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    drop(outgoing);
    settled(|| server.open_streams() == 0).await;
}
