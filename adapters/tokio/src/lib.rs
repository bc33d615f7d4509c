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
//! use grpctunnel_tokio::{Options, TunnelServer, connect, dial, endpoint, incoming, serve_reverse};
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
//! let uri = format!("http://{}", listener.local_addr()?);
//! tokio::spawn(
//!     grpctunnel_tokio::server()
//!         .add_service(tunnel_server)
//!         .serve_with_incoming(incoming(listener)),
//! );
//!
//! // Forward: call the server's services through a tunnel.
//! let carrier = dial(&endpoint(uri)?).await?;
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
//! # The HTTP/2 connection beneath
//!
//! [`endpoint`], [`dial`], [`server`] and [`incoming`] make tonic's with settings that suit
//! tunnels. Others work too; a server that is built otherwise should set `max_concurrent_streams`,
//! for which tonic has no limit of its own, and `TCP_NODELAY` on what it accepts.

mod connect;
mod http2;
mod runtime;

pub use connect::{connect, serve_reverse};
pub use grpctunnel_driver::{
    BinDialect, Code, ConnectError, Counters, Limits, MethodKind, MethodKinds, NeverProcessed,
    NoHandler, Options, Runtime, ServerHandle, TunnelEnd, TunnelPeer,
};
pub use grpctunnel_tonic::{Channel, ResponseFuture, ReverseTunnel, TonicHandler, method_kinds};
pub use http2::{dial, endpoint, incoming, server};
pub use runtime::{TokioRuntime, runtime};

/// Accepts tunnels in a tonic server, on the tokio runtime that serves it.
pub type TunnelServer<H = NoHandler> = grpctunnel_tonic::TunnelServer<TokioRuntime, H>;
