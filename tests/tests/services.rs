//! The test services on a plain connection: what is wrong there is not the tunnel's fault.

use std::io;
use std::time::Duration;

use grpctunnel_tests::interop::calls::Calls;
use grpctunnel_tests::protos::grpc::testing::test_service_client::TestServiceClient;
use grpctunnel_tests::protos::grpc::testing::{Empty, Payload, SimpleRequest};
use grpctunnel_tests::protos::grpchantesting;
use grpctunnel_tests::protos::tunneltest::TriggerTestRpCsRequest;
use grpctunnel_tests::protos::tunneltest::tunnel_test_service_client::TunnelTestServiceClient;
use grpctunnel_tests::services::{KeyedTunnels, Trigger, grpchan, official};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server};

type GrpchanClient = grpchantesting::test_service_client::TestServiceClient<Channel>;

async fn serve() -> io::Result<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(io::Error::other)?;
    let channel = endpoint.connect_lazy();
    let tunnels = KeyedTunnels::default();
    let added = tunnels.add("the key", channel.clone());
    let server = Server::builder()
        .add_service(official())
        .add_service(grpchan())
        .add_service(Trigger::service(tunnels, Duration::from_millis(1)));
    tokio::spawn(async move {
        let _added = added;
        server
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
    });
    Ok(channel)
}

#[tokio::test]
async fn official_service_answers_calls_of_all_kinds() {
    let channel = serve().await.unwrap();
    let extended = Calls::extended(channel.clone());
    extended.large().await.unwrap();
    extended.mixed(50).await.unwrap();
    Calls::official(channel).mixed(14).await.unwrap();
}

#[tokio::test]
async fn official_service_refuses_what_it_cannot_give() {
    let mut client = TestServiceClient::new(serve().await.unwrap());
    let negative = SimpleRequest {
        response_size: -1,
        payload: Some(Payload::default()),
        ..SimpleRequest::default()
    };
    let status = client.unary_call(negative).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(
        status.message(),
        "requested a response with invalid length -1"
    );
    let status = client.unimplemented_call(Empty {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn grpchan_service_sends_the_headers_and_trailers_of_a_failure() {
    let mut client = GrpchanClient::new(serve().await.unwrap());
    let request = grpchantesting::Message {
        code: 9,
        headers: [("x-early".to_owned(), "one".into())].into(),
        trailers: [("x-late-bin".to_owned(), vec![0, 0xff].into())].into(),
        ..grpchantesting::Message::default()
    };
    let status = client.unary(request).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::FailedPrecondition, "error")
    );
    let metadata = status.metadata();
    assert_eq!(metadata.get("x-early").unwrap(), "one");
    let late = metadata.get_bin("x-late-bin").unwrap();
    assert_eq!(late.to_bytes().unwrap(), [0, 0xff].as_slice());
}

#[tokio::test]
async fn trigger_calls_back_through_the_tunnel_that_the_key_names() {
    let mut client = TunnelTestServiceClient::new(serve().await.unwrap());
    let client_key = "the key".to_owned();
    client
        .trigger_test_rp_cs(TriggerTestRpCsRequest { client_key })
        .await
        .unwrap();
}
