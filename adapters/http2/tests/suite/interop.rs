//! Against tonic and hyper, both ways, over loopback.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use grpctunnel_http2::{Settings, connect, serve};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::*;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn tcp(address: SocketAddr) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    TokioIo::new(stream)
}

/// A unary call, an error, and a stream that the caller leaves.
async fn check_health<T>(mut client: HealthClient<T>)
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error:
        Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let ask = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    let response = client.check(ask("")).await.unwrap();
    assert_eq!(response.into_inner().status, 1);
    let status = client.check(ask("unknown")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    let mut watch = client.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    drop(watch);
    client.check(ask("")).await.unwrap();
}

#[tokio::test]
async fn tonic_clients_and_servers_run_over_it() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("", ServingStatus::Serving)
        .await;
    let routes = Routes::new(health).prepare();

    // tonic's client, our server.
    let (listener, address) = listen().await;
    let ours = routes.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            serve(
                TokioIo::new(stream),
                ours.clone(),
                &Settings::calls(),
                &runtime(),
            );
        }
    });
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    check_health(HealthClient::new(endpoint.connect().await.unwrap())).await;

    // Our client, our server.
    let client = connect(tcp(address).await, &Settings::calls(), &runtime())
        .await
        .unwrap();
    check_health(HealthClient::with_origin(
        client,
        Uri::from_static("http://localhost"),
    ))
    .await;

    // Our client, tonic's server.
    let (listener, address) = listen().await;
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(incoming));
    let client = connect(tcp(address).await, &Settings::tunnels(), &runtime())
        .await
        .unwrap();
    check_health(HealthClient::with_origin(
        client,
        Uri::from_static("http://localhost"),
    ))
    .await;
}

#[tokio::test]
async fn hyper_on_either_side_gets_what_was_sent() {
    let sent: Bytes = (0..3_000_000_u32).map(|n| n.to_be_bytes()[2]).collect();

    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let echo = service_fn(|request: Request<hyper::body::Incoming>| async {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server
            .serve_connection(TokioIo::new(stream), echo)
            .await
            .unwrap();
    });
    let io = tcp(address).await;
    let mut client = connect(io, &Settings::tunnels(), &runtime()).await.unwrap();
    let response = call(&mut client, post(full(sent.clone()))).await.unwrap();
    assert_eq!(bytes(response).await.unwrap(), sent);

    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(
            TokioIo::new(stream),
            Handler(echo),
            &Settings::tunnels(),
            &runtime(),
        );
    });
    let io = tcp(address).await;
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
    let response = client
        .send_request(post(Full::new(sent.clone())))
        .await
        .unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        sent
    );
}
