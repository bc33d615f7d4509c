//! tonic's own crates, interceptors and tower's layers, on both sides of a tunnel, as they are.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grpctunnel_tokio::{
    Channel, Options, ReverseTunnel, Server, TunnelPeer, TunnelServer, connect, dial,
    serve_reverse, tonic_transport,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{self, HealthCheckRequest};
use tonic_health::server::health_reporter;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tower::ServiceExt as _;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

async fn in_time(test: impl Future<Output = Outcome>) -> Outcome {
    let limit = Duration::from_secs(20);
    match tokio::time::timeout(limit, test).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("the calls through the tunnel did not end within {limit:?}").into()),
    }
}

async fn listen() -> Outcome<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// A reverse tunnel to `services`, to call them.
async fn reverse(services: Routes) -> Outcome<Channel> {
    let (sender, mut accepted) = mpsc::unbounded_channel::<ReverseTunnel>();
    let tunnels = TunnelServer::new().reverse(move |tunnel| {
        let _ = sender.send(tunnel);
        std::future::ready(())
    });
    let (listener, url) = listen().await?;
    tokio::spawn(Server::new(tunnels).serve(listener, std::future::pending()));
    let carrier = dial(&url).await?;
    let options = Options::default();
    let handle = serve_reverse(carrier, services, &options, MetadataMap::new()).await?;
    tokio::spawn(async move { handle.closed().await });
    let tunnel = accepted.recv().await.ok_or("no tunnel")?;
    Ok(tunnel.channel)
}

/// A forward tunnel to what `tunnels` serve.
async fn forward<H: grpctunnel_tokio::Handler>(tunnels: TunnelServer<H>) -> Outcome<Channel> {
    let (listener, url) = listen().await?;
    tokio::spawn(Server::new(tunnels).serve(listener, std::future::pending()));
    Ok(connect(dial(&url).await?, &Options::default(), MetadataMap::new()).await?)
}

async fn ask(
    client: &mut ServerReflectionClient<Channel>,
    question: MessageRequest,
) -> Outcome<MessageResponse> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let responses = client
        .server_reflection_info(tokio_stream::once(request))
        .await?;
    let responses: Vec<ServerReflectionResponse> = responses
        .into_inner()
        .collect::<Result<_, Status>>()
        .await?;
    let response = responses.into_iter().next().ok_or("no response")?;
    Ok(response.message_response.ok_or("an empty response")?)
}

#[tokio::test]
async fn health_and_reflection_are_served_and_called_through_a_tunnel() -> Outcome {
    in_time(async {
        let (reporter, health) = health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let channel = reverse(Routes::new(health).add_service(reflection)).await?;

        let mut client = ServerReflectionClient::new(channel.clone());
        let listed = ask(&mut client, MessageRequest::ListServices(String::new())).await?;
        let MessageResponse::ListServicesResponse(list) = listed else {
            return Err(format!("another response: {listed:?}").into());
        };
        let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
        assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
        let symbol = "grpc.health.v1.Health.Check".to_owned();
        let found = ask(&mut client, MessageRequest::FileContainingSymbol(symbol)).await?;
        let described = matches!(found, MessageResponse::FileDescriptorResponse(_));
        assert!(described, "{found:?}");

        let mut client = HealthClient::new(channel);
        let mut updates = client
            .watch(HealthCheckRequest::default())
            .await?
            .into_inner();
        let first = updates.message().await?.ok_or("no update")?;
        assert_eq!(first.status, 1);
        reporter
            .set_service_status("", tonic_health::ServingStatus::NotServing)
            .await;
        let next = updates.message().await?.ok_or("no update")?;
        assert_eq!(next.status, 2);
        Ok(())
    })
    .await
}

const TOKEN: &str = "x-token";

fn sign(mut request: Request<()>) -> Result<Request<()>, Status> {
    let metadata = request.metadata_mut();
    metadata.insert(
        TOKEN,
        "signed".parse().map_err(|_| Status::internal("no value"))?,
    );
    Ok(request)
}

fn verify(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get(TOKEN) {
        Some(token) if token == "signed" => Ok(request),
        _ => Err(Status::unauthenticated("not signed")),
    }
}

#[tokio::test]
async fn interceptors_of_calls_work_on_both_sides() -> Outcome {
    in_time(async {
        let (_, health) = health_reporter();
        let verified = InterceptedService::new(health, verify);
        let channel = forward(TunnelServer::new().forward(verified)).await?;

        let unsigned = HealthClient::new(channel.clone());
        let error = unsigned
            .clone()
            .check(HealthCheckRequest::default())
            .await
            .err();
        let error = error.ok_or("a call that is not signed passed")?;
        assert_eq!(error.code(), Code::Unauthenticated);
        assert_eq!(error.message(), "not signed");
        let mut signed = HealthClient::with_interceptor(channel, sign);
        let answer = signed.check(HealthCheckRequest::default()).await?;
        assert_eq!(answer.into_inner().status, 1);
        Ok(())
    })
    .await
}

/// What an interceptor found out about whoever opens a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity(&'static str);

#[tokio::test]
async fn an_interceptor_of_openings_refuses_tunnels_and_names_those_that_it_lets_pass() -> Outcome {
    in_time(async {
        let (sender, mut seen) = mpsc::unbounded_channel();
        let (_, health) = health_reporter();
        let named = InterceptedService::new(health, move |request: Request<()>| {
            let peer = request.extensions().get::<TunnelPeer>();
            let name = peer.and_then(|peer| peer.extensions().get::<Identity>().cloned());
            let _ = sender.send(name);
            Ok(request)
        });
        let tunnels = TunnelServer::new().forward(named);
        let checked = InterceptedService::new(tunnels, |request: Request<()>| {
            let mut request = verify(request)?;
            request.extensions_mut().insert(Identity("a friend"));
            Ok(request)
        });
        let (listener, url) = listen().await?;
        let server = tonic_transport::server().add_service(checked);
        tokio::spawn(server.serve_with_incoming(tonic_transport::incoming(listener)));

        let (carrier, options) = (dial(&url).await?, Options::default());
        let refused = connect(carrier.clone(), &options, MetadataMap::new()).await;
        let error = refused
            .err()
            .ok_or("a tunnel that is not signed was opened")?;
        assert_eq!(error.code(), grpctunnel_tokio::Code::Unauthenticated);
        let signed = InterceptedService::new(carrier, sign);
        let channel = connect(signed, &options, MetadataMap::new()).await?;
        HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await?;
        assert_eq!(seen.recv().await, Some(Some(Identity("a friend"))));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn layers_of_tower_work_on_both_sides() -> Outcome {
    in_time(async {
        let (_, health) = health_reporter();
        let handled = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&handled);
        let counted = health.map_request(move |request: http::Request<tonic::body::Body>| {
            counts.fetch_add(1, Ordering::SeqCst);
            request
        });
        let channel = forward(TunnelServer::new().forward(counted)).await?;

        let layered = channel
            .map_request(|mut request: http::Request<tonic::body::Body>| {
                request
                    .headers_mut()
                    .insert("x-layer", http::HeaderValue::from_static("1"));
                request
            })
            .map_response(|mut response: http::Response<_>| {
                response
                    .headers_mut()
                    .insert("x-seen", http::HeaderValue::from_static("1"));
                response
            });
        let mut client = HealthClient::new(layered);
        for _ in 0..3 {
            let answer = client.check(HealthCheckRequest::default()).await?;
            assert!(answer.metadata().get("x-seen").is_some());
        }
        assert_eq!(handled.load(Ordering::SeqCst), 3);
        Ok(())
    })
    .await
}
