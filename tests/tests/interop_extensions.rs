//! Our ends, which offer every extension, with peers of the Go module, which knows none: nothing of
//! the extensions is in effect, and what needs them fails one call.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use grpctunnel_tests::interop::{InteropServer, Outcome, Peers, connection, open, options};
use grpctunnel_tests::protos::grpc::testing::Empty;
use grpctunnel_tests::protos::grpc::testing::test_service_client::TestServiceClient;
use grpctunnel_tests::services::{grpchan, official};
use grpctunnel_tokio::{Channel, Counters, ExtensionSet};
use http_body_util::{BodyExt, Full};
use tonic::codegen::Service;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Routes;
use tonic::{Code, Request, Status};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);
const EMPTY_CALL: &str = "/grpc.testing.TestService/EmptyCall";

/// A call of one empty message with this flag, which names an encoding.
async fn flagged(channel: &Channel, flag: u8) -> Outcome<http::Response<Bytes>> {
    let request = http::Request::post(EMPTY_CALL)
        .header("content-type", "application/grpc+proto")
        .header("grpc-encoding", "gzip")
        .body(Full::new(Bytes::from(vec![flag, 0, 0, 0, 0])))?;
    let (parts, body) = channel.clone().call(request).await?.into_parts();
    let collected = body.collect().await?;
    let mut headers = parts.headers;
    headers.extend(collected.trailers().cloned().unwrap_or_default());
    let mut response = http::Response::new(collected.to_bytes());
    *response.headers_mut() = headers;
    Ok(response)
}

/// What a tunnel client of ours does with a tunnel to a Go server.
async fn check_client(channel: Channel) -> Outcome {
    assert_eq!(channel.extensions(), ExtensionSet::EMPTY);
    let mut client = TestServiceClient::new(channel.clone());
    let with = |key: &'static str| {
        let mut request = Request::new(Empty {});
        let value = MetadataValue::from_bytes(&[0xff, 0]);
        request.metadata_mut().insert_bin(key, value);
        request
    };
    let refused = client.empty_call(with("x-some-bin")).await;
    assert_eq!(
        refused.map_err(|error| error.code()).err(),
        Some(Code::InvalidArgument)
    );
    client.empty_call(with("grpc-trace-bin")).await?;
    assert_eq!(channel.counters().dropped, 1);

    let refused = flagged(&channel, 1).await?;
    let status = Status::from_header_map(refused.headers()).ok_or("no status")?;
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(refused.headers()["grpc-accept-encoding"], "identity");
    let passed = flagged(&channel, 0).await?;
    let status = Status::from_header_map(passed.headers()).ok_or("no status")?;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    assert_eq!(passed.body().as_ref(), [0; 5]);
    Ok(())
}

#[tokio::test]
async fn a_go_server_of_a_forward_tunnel_gets_nothing_of_the_extensions() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let mut server = peers.go("interopserver", &["-listen", "127.0.0.1:0"])?;
    let address = server.line("listening ", LIMIT).await?;
    check_client(open(&address, &options(true), MetadataMap::new()).await?).await
}

#[tokio::test]
async fn a_go_server_of_a_reverse_tunnel_gets_nothing_of_the_extensions() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let server = InteropServer::new(options(true)).start().await?;
    let address = server.address().to_string();
    let mut program = peers.go("revserver", &["-gateway", &address, "-name", "gopher"])?;
    program.line("tunnel open", LIMIT).await?;
    check_client(server.tunnel("gopher").await).await
}

/// The test services, with the headers of compression and of instrumentation in each response.
#[derive(Clone)]
struct Adding(Routes);

impl Service<http::Request<tonic::body::Body>> for Adding {
    type Response = http::Response<tonic::body::Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.0, cx).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let call = self.0.call(request);
        async move {
            let mut response = call.await?;
            let headers = response.headers_mut();
            for (name, value) in [
                ("grpc-trace-bin", "/wA"),
                ("grpc-encoding", "gzip"),
                ("grpc-accept-encoding", "gzip"),
            ] {
                headers.insert(name, http::HeaderValue::from_static(value));
            }
            Ok(response)
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_go_client_of_a_reverse_tunnel_gets_nothing_of_the_extensions() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let arguments = ["-name", "crab", "-mixed", "20", "-echo", "-details"];
    let mut program = peers.go("revclient", &arguments)?;
    let address = program.line("listening ", LIMIT).await?;
    let mut metadata = MetadataMap::new();
    metadata.insert("x-tunnel-name", MetadataValue::from_static("crab"));
    let handler = Adding(Routes::new(official()).add_service(grpchan()));
    let carrier = connection(&address).await?;
    let options = options(true);
    let tunnel = grpctunnel_tokio::serve_reverse(carrier, handler, &options, metadata).await?;
    program.success(LIMIT).await?;
    assert_eq!(tunnel.extensions(), ExtensionSet::EMPTY);
    let Counters {
        dropped,
        violations,
        ..
    } = tunnel.counters();
    assert!(dropped >= 20, "{dropped}");
    assert_eq!(violations, 0);
    tunnel.abort();
    Ok(())
}
