//! gRPC tunnels without tokio: on async-std, on smol, and on any runtime of futures-io.
//!
//! Its place among the crates of grpctunnel: it stands on `grpctunnel-tonic`; none stands on it.
//!
//! A tunnel is one gRPC stream that carries other calls. With a *reverse* tunnel, a service behind
//! a NAT or a firewall connects out to a server and is called through that connection. Clients and
//! servers that tonic generated work unchanged: a tunnel is a [`Channel`] for clients, and serves
//! tonic's `Routes`. tonic is used without its transport, so no runtime of tokio is in the process.
//!
//! | | the calls are made | the calls are handled |
//! | --- | --- | --- |
//! | this end connects | [`connect`] | [`serve_reverse`] |
//! | this end accepts | [`TunnelServer::reverse`] | [`TunnelServer::forward`] |
//!
//! async-std is no longer developed, in favour of smol. Both share the crates beneath, and so do
//! their adapters: for smol take the feature `smol`, [`SmolRuntime`](crate#runtimes) and `smol()`
//! wherever the examples name async-std.
//!
//! # The end that accepts
//!
//! A server that takes tunnels in both directions, and is called directly as well:
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use grpctunnel_async_std::{AsyncStdRuntime, Server, TunnelServer};
//! use tonic::service::Routes;
//! use tonic_health::server::health_reporter;
//!
//! let (_, health) = health_reporter();
//! let services = Routes::new(health);
//! let tunnels = TunnelServer::<AsyncStdRuntime>::new()
//!     // Forward: who opens the tunnel calls these services through it.
//!     .forward(services.clone())
//!     // Reverse: who opens the tunnel offers services, which are called here.
//!     .reverse(|tunnel| async move {
//!         // Keep `tunnel.channel` where callers find it, until the tunnel ends.
//!         let ended = tunnel.channel.closed().await;
//!         println!("{:?}: {ended}", tunnel.metadata.get("x-name"));
//!     });
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let (stop, stopped) = futures_channel::oneshot::channel::<()>();
//! # let shutdown = async { _ = stopped.await };
//! # drop(stop);
//! // `shutdown` is any future; calls that are open then may go on for 30 s.
//! Server::new(tunnels)
//!     .with_service(services)
//!     .serve(listener, shutdown)
//!     .await?;
//! # Ok(())
//! # }
//! # async_std::task::block_on(example()).unwrap();
//! ```
//!
//! # The end that connects
//!
//! ```
//! # use std::net::TcpListener;
//! # use grpctunnel_async_std::{Server, TunnelServer};
//! # use tonic_health::server::health_reporter;
//! use grpctunnel_async_std::{AsyncStdRuntime, Options, async_std, connect, dial, serve_reverse};
//! use tonic::{metadata::MetadataMap, service::Routes};
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let (_, health) = health_reporter();
//! # let (sender, receiver) = async_std::channel::bounded(1);
//! # let tunnels = TunnelServer::<AsyncStdRuntime>::new()
//! #     .forward(Routes::new(health))
//! #     .reverse(move |tunnel| {
//! #         let sender = sender.clone();
//! #         async move { _ = sender.send(tunnel).await }
//! #     });
//! # let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let url = format!("http://{}", listener.local_addr()?);
//! # async_std::task::spawn(Server::new(tunnels).serve(listener, std::future::pending()));
//! let runtime = async_std();
//! let carrier = dial::<AsyncStdRuntime>(&url).await?;
//!
//! // Forward: call the server's services through a tunnel.
//! let options = Options::default();
//! let channel = connect(carrier.clone(), &runtime, &options, MetadataMap::new()).await?;
//! let answer = HealthClient::new(channel)
//!     .check(HealthCheckRequest::default())
//!     .await?;
//! assert_eq!(answer.into_inner().status, 1);
//!
//! // Reverse: offer services through a tunnel; the server calls them.
//! # let (_, health) = health_reporter();
//! let services = Routes::new(health);
//! let mut metadata = MetadataMap::new();
//! metadata.insert("x-name", "agent".parse()?);
//! let handle = serve_reverse(carrier, services, &runtime, &options, metadata).await?;
//! # let tunnel = receiver.recv().await?;
//! # let answer = HealthClient::new(tunnel.channel)
//! #     .check(HealthCheckRequest::default())
//! #     .await?;
//! # assert_eq!(answer.into_inner().status, 1);
//! handle.closed().await;
//! # Ok(())
//! # }
//! # async_std::task::block_on(example()).unwrap();
//! ```
//!
//! An [`Endpoint`] has more to set: TLS (feature `tls`), timeouts, keepalive, windows.
//!
//! # Other transports
//!
//! [`byte_stream`] carries tunnels over anything that is futures-io's `AsyncRead + AsyncWrite`,
//! without HTTP/2: a Unix socket, a pipe, a WebSocket. See the example `pipe`. For HTTP/2 on it,
//! [`Endpoint::connect_over`] and [`Server::serve_over`] take it in a [`FuturesIo`].
//!
//! # Runtimes
//!
//! [`AsyncStdRuntime`] and `SmolRuntime` run tasks on the global executors of async-std and of
//! smol. The latter has one thread, unless `SMOL_THREADS` says otherwise. For an executor of your
//! own implement [`Executor`] and [`Timer`], with [`sleep_until`], and give it to [`network!`].

mod byte_stream;
mod io;
mod runtime;
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;

pub use byte_stream::byte_stream;
pub use grpctunnel_driver::{
    Backoff, Candidate, Candidates, Dial, Expected, Forwarder, Interruption, LeastLoaded,
    Membership, Pick, RoundRobin, SupervisedPhase, Supervisor, SupervisorEvent, SupervisorState,
    TunnelKey,
};
pub use grpctunnel_driver::{
    BinDialect, BoxError, Bucket, Code, ConnectError, ConnectInfo, Counters, DecodeLimits,
    Direction, Executor, Extension, ExtensionSet, Handler, Limits, Liveness, MemoryBound,
    MemoryBudget, MethodKind, MethodKinds, NeverProcessed, NoHandler, Options, PipeEnd, Reason,
    ReceiveWindowPolicy, RequestBody, RequestError, RevisionZeroLimits, Runtime, ServerHandle,
    Sleep, Status, StreamReason, Task, Timer, TunnelEnd, TunnelError, TunnelId, TunnelReason,
    TunnelState, error_chain, error_sources,
};
pub use grpctunnel_http2 as http2;
pub use grpctunnel_tonic::{AcceptResult, Registry, TunnelGroup};
pub use grpctunnel_tonic::{
    ByteStream, Carrier, CarrierBody, Channel, DialError, Endpoint, IntoTonicStatus, Network,
    ResponseFuture, ReverseTunnel, Server, TonicHandler, TunnelPeer, TunnelServer, connect,
    from_tonic, from_tonic_code, method_kinds, serve_reverse, to_tonic_code,
};
#[cfg(feature = "tls")]
pub use grpctunnel_tonic::{Handshake, TlsNetwork, rustls};
pub use io::FuturesIo;
pub use runtime::sleep_until;
#[cfg(feature = "async-std")]
pub use runtime::{AsyncStdRuntime, async_std};
#[cfg(feature = "smol")]
pub use runtime::{SmolRuntime, smol};

/// Connects to `http://HOST:PORT`, with the settings that an [`Endpoint`] has at first: to open
/// tunnels on it, or to make calls. An [`Endpoint`] has more to set, and TLS.
///
/// # Errors
/// [`DialError`].
pub async fn dial<N: Network>(url: &str) -> Result<Carrier, DialError> {
    Endpoint::<N>::new(url)?.connect().await
}
