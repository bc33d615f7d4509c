//! gRPC tunnels for tonic, on any async runtime.
//!
//! Its place among the crates of grpctunnel: it stands on `grpctunnel-driver` and `grpctunnel-
//! http2`; `grpctunnel-tokio` and `grpctunnel-async-std` stand on it.
//!
//! `grpctunnel-driver` speaks HTTP bodies and gRPC headers. This crate gives it what tonic's users
//! work with: statuses, metadata, generated clients and servers, and with `grpctunnel-http2`
//! connections ([`Endpoint`]) and servers ([`Server`]). It uses tonic without its transport, so it
//! depends on no runtime; `grpctunnel-tokio` and `grpctunnel-async-std` bring runtimes and networks
//! ([`Network`]), and are what most users take.
//!
//! | | the calls are made | the calls are handled |
//! | --- | --- | --- |
//! | this end connects | [`connect`]: a [`Channel`] | [`serve_reverse`] |
//! | this end accepts | [`TunnelServer::reverse`]: a [`Channel`] | [`TunnelServer::forward`] |
//!
//! A forward tunnel to a service of this process, on `smol`:
//!
//! ```
//! use grpctunnel_driver::{Executor, Options, Runtime, Sleep, Task, Timer};
//! use grpctunnel_tonic::{TunnelServer, connect};
//! use tonic::{metadata::MetadataMap, service::Routes};
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//! use tonic_health::server::health_reporter;
//!
//! #[derive(Clone, Copy, Default)]
//! struct Smol;
//!
//! impl Executor for Smol {
//!     fn execute(&self, task: Task) {
//!         smol::spawn(task).detach();
//!     }
//! }
//!
//! impl Timer for Smol {
//!     fn sleep_until(&self, deadline: std::time::Instant) -> Sleep {
//!         Box::pin(async move {
//!             smol::Timer::at(deadline).await;
//!         })
//!     }
//! }
//!
//! # smol::block_on(async {
//! let (_, health) = health_reporter();
//! let service = TunnelServer::<Smol>::new().forward(Routes::new(health));
//!
//! let runtime = Runtime::new(Smol, Smol);
//! let channel = connect(service, &runtime, &Options::default(), MetadataMap::new()).await?;
//! let answer = HealthClient::new(channel)
//!     .check(HealthCheckRequest::default())
//!     .await?;
//! assert_eq!(answer.into_inner().status, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod byte_stream;
mod carrier;
mod channel;
mod connect;
mod endpoint;
mod fallback;
mod group;
mod handler;
mod method_kinds;
mod network;
mod peer;
mod registry;
mod serve;
mod server;
mod status;
pub mod tcp;
#[cfg(feature = "tls")]
mod tls;

pub use byte_stream::ByteStream;
pub use carrier::{Carrier, CarrierBody, CarrierFuture};
pub use channel::{Channel, ResponseFuture};
pub use connect::{connect, serve_reverse};
pub use endpoint::{DialError, Endpoint};
pub use fallback::WithFallback;
pub use group::TunnelGroup;
pub use handler::{Handling, TonicHandler};
pub use method_kinds::method_kinds;
pub use network::Network;
pub use peer::TunnelPeer;
pub use registry::Registry;
#[cfg(feature = "tls")]
pub use rustls;
pub use serve::Server;
pub use server::{AcceptResult, ReverseTunnel, TunnelServer};
pub use status::{
    IntoTonicStatus, from_tonic, from_tonic_code, to_tonic_code, with_tonic_statuses,
};
#[cfg(feature = "tls")]
pub use tls::{Handshake, TlsNetwork};
