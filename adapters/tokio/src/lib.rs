//! gRPC tunnels for tonic on tokio.
//!
//! A tunnel is one gRPC stream that carries other calls. With a *reverse* tunnel, a service behind
//! a NAT or a firewall connects out to a server and is called through that connection. Generated
//! clients and servers work unchanged: a tunnel is a [`Channel`] for clients, and serves tonic's
//! `Routes`.
//!
//! | | the calls are made | the calls are handled |
//! | --- | --- | --- |
//! | this end connects | [`connect`] | [`serve_reverse`] |
//! | this end accepts | [`TunnelServer::reverse`] | [`TunnelServer::forward`] |
//!
//! ```
//! use grpctunnel_tokio::{Options, Server, TunnelServer, connect, dial, serve_reverse};
//! use tokio::{net::TcpListener, sync::mpsc};
//! use tonic::{metadata::MetadataMap, service::Routes};
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//! use tonic_health::server::health_reporter;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A server that takes tunnels in both directions.
//! let (sender, mut tunnels) = mpsc::channel(16);
//! let (_, health) = health_reporter();
//! let tunnel_server = TunnelServer::new()
//!     .forward(Routes::new(health))
//!     .reverse(move |tunnel| {
//!         let sender = sender.clone();
//!         async move {
//!             let _ = sender.send(tunnel).await;
//!         }
//!     });
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let url = format!("http://{}", listener.local_addr()?);
//! let shutdown = std::future::pending();
//! tokio::spawn(Server::new(tunnel_server).serve(listener, shutdown));
//!
//! // Forward: call the server's services through a tunnel.
//! let carrier = dial(&url).await?;
//! let options = Options::default();
//! let channel = connect(carrier.clone(), &options, MetadataMap::new()).await?;
//! let answer = HealthClient::new(channel)
//!     .check(HealthCheckRequest::default())
//!     .await?;
//! assert_eq!(answer.into_inner().status, 1);
//!
//! // Reverse: offer services through a tunnel; the server calls them.
//! let (_, health) = health_reporter();
//! let mut metadata = MetadataMap::new();
//! metadata.insert("x-name", "agent".parse()?);
//! let handle = serve_reverse(carrier, Routes::new(health), &options, metadata).await?;
//!
//! let tunnel = tunnels.recv().await.ok_or("no tunnel")?;
//! assert_eq!(tunnel.metadata.get("x-name").ok_or("no name")?, "agent");
//! let answer = HealthClient::new(tunnel.channel)
//!     .check(HealthCheckRequest::default())
//!     .await?;
//! assert_eq!(answer.into_inner().status, 1);
//!
//! // The server dropped its channel, so the tunnel ends.
//! handle.closed().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Compression
//!
//! Between two ends of this implementation tonic's compression works as on a connection: messages
//! pass as they are. A peer of another implementation carries no compressed messages, so a client
//! with `send_compressed` gets UNIMPLEMENTED there, with `grpc-accept-encoding: identity`, while
//! `accept_compressed` changes nothing. [`Channel::extensions`] tells which it is.
//!
//! # The HTTP/2 connection beneath
//!
//! [`dial`] and [`Server`] use [`http2`], which is made for tunnels: plain HTTP/2 on TCP,
//! with large windows, keepalive, limits, and an end in good order. A server answers other services
//! on the same port: give it tonic's `Routes`. For TLS or another transport, or other settings, make
//! connections with [`http2::connect`] and serve them with [`http2::serve`]:
//! [`connect`], [`serve_reverse`] and [`TunnelServer`] work with both.
//!
//! They work with tonic's transport too, and with whatever is a tower service: see
//! [`tonic_transport`], which also tells what that costs.

mod connect;
mod dial;
mod runtime;
mod serve;
mod tcp;
pub mod tonic_transport;

pub use connect::{connect, serve_reverse};
pub use dial::{DialError, dial};
pub use grpctunnel_driver::{
    BinDialect, BoxError, Bucket, Code, ConnectError, ConnectInfo, Counters, DecodeLimits,
    Direction, Executor, Extension, ExtensionSet, Handler, Limits, Liveness, MemoryBound,
    MethodKind, MethodKinds, NeverProcessed, NoHandler, Options, Reason, ReceiveWindowPolicy,
    RequestBody, RequestError, RevisionZeroLimits, Runtime, ServerHandle, Status, StreamReason,
    Timer, TunnelEnd, TunnelError, TunnelReason, TunnelState, error_chain, error_sources,
};
pub use grpctunnel_http2 as http2;
pub use grpctunnel_tonic::{
    Channel, IntoTonicStatus, ResponseFuture, ReverseTunnel, TonicHandler, TunnelPeer, from_tonic,
    from_tonic_code, method_kinds, to_tonic_code,
};
pub use runtime::{EnteredRuntime, TokioRuntime, runtime};
pub use serve::Server;

/// Accepts tunnels in a server, each on the tokio runtime in which it is accepted.
pub type TunnelServer<H = NoHandler> = grpctunnel_tonic::TunnelServer<EnteredRuntime, H>;
