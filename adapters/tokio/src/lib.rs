//! gRPC tunnels for tonic on tokio.
//!
//! Its place among the crates of grpctunnel: it stands on `grpctunnel-tonic`; the program
//! `grpctunnel` stands on it.
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
//! The examples in `adapters/tokio/examples` are whole programs: `forward`, `reverse`, `gateway`,
//! `tls`, `pipe` and `websocket`. In one piece, both directions:
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
//! # Reverse tunnels
//!
//! The end that cannot be reached connects, by [`serve_reverse`], and handles calls; the end that
//! accepted has a [`Channel`] for each tunnel, from the hook that [`TunnelServer::reverse`] takes.
//! The [`ReverseTunnel`] tells who opened it: the metadata of the opening, and the extensions that
//! the HTTP stack and interceptors attached, such as addresses and certificates.
//!
//! Most gateways want more than one tunnel: a [`Registry`] keeps them by a key, such as the name or
//! the certificate of the agent that opened them, refuses those that have none, and gives generated
//! clients a [`TunnelGroup`] for each key, which picks a tunnel for each call and makes a call again
//! that nobody processed. Agents want their tunnels back when they are lost: a [`Supervisor`] keeps
//! so many of them open to each of several gateways, with pauses that grow. The example `reverse`
//! has both.
//!
//! A tunnel ends in good order when either end drains it: [`Channel::drain`],
//! [`ServerHandle::drain`], a [`Server`] that shuts down, or the last handle that is
//! dropped. Calls that are open go on; new ones fail with the mark [`NeverProcessed`].
//! [`Channel::draining`] tells when to open another.
//!
//! # What handlers see
//!
//! A handler finds the [`TunnelPeer`] in the extensions of a request: which tunnel the call came
//! through, which way, and how that was opened. Nothing of the opening, its credentials least of
//! all, is among the metadata of calls; and nothing of a call can change who opened its tunnel.
//! Interceptors and layers work on both sides of a tunnel, on calls and on the opening.
//!
//! A handler that fails with the [`Status`](tonic::Status) of a call on another tunnel passes on
//! whether that was processed; [`IntoTonicStatus`] makes statuses of tunnels' errors.
//!
//! # TLS
//!
//! With the feature `tls`, an [`Endpoint`] takes `https://HOST:PORT` and a `ClientConfig` of rustls
//! (`Endpoint::with_tls`), and a [`Server`] a `ServerConfig` (`Server::with_tls`). Mutual TLS is a
//! client certificate in the one and a verifier in the other; handlers and hooks find what was shown
//! in [`ConnectInfo::peer_certificates`]. The example `tls` does all of it. With the feature
//! `tls-native-roots`, [`dial`] takes `https` too, and trusts what the platform trusts.
//!
//! With tonic's transport, TLS is tonic's: `ClientTlsConfig` on a [`tonic_transport::endpoint`],
//! `ServerTlsConfig` on a [`tonic_transport::server`], and a feature of tonic, such as `tls-ring`.
//!
//! # Other transports
//!
//! [`byte_stream`] carries tunnels over anything that is `AsyncRead + AsyncWrite`, without HTTP/2:
//! a pipe, a Unix socket, a serial line, a WebSocket. Both ends may make calls on it. The examples
//! `pipe` and `websocket` show it. For HTTP/2 over such a transport, there are
//! [`Endpoint::connect_over`] and [`Server::serve_over`].
//!
//! # Settings and limits
//!
//! [`Options`] are the settings of one end of a tunnel, each with a method that sets it:
//!
//! ```
//! use grpctunnel_tokio::{Options, ReceiveWindowPolicy};
//! use std::time::Duration;
//!
//! let options = Options::default()
//!     .with_limits(|limits| {
//!         limits.max_streams = 100;
//!         limits.receive_window = ReceiveWindowPolicy::GROWING;
//!     })
//!     .with_max_wait(Duration::from_secs(1));
//! // What such a tunnel takes at most, whatever its peer does.
//! assert!(options.memory_bound().total_flow_controlled() < 512 << 20);
//! ```
//!
//! # What a tunnel cannot do, and its limits
//!
//! - It carries gRPC calls, and no other HTTP.
//! - All of its calls share one HTTP/2 stream, on one TCP connection: a lost packet delays them all.
//!   They do not delay each other otherwise: each has a window of its own, and large messages are
//!   sent in turns. For more than one connection carries, open several tunnels.
//! - Calls that are open are lost with the connection, and end UNAVAILABLE. What was certainly not
//!   processed has the mark [`NeverProcessed`]; nothing else is known of the others.
//! - A handler learns who opened the tunnel, not who called at its other end: where that matters,
//!   callers say it in metadata, and handlers trust the end that makes the calls.
//! - Towards other implementations it carries no compressed messages, no `-bin` values that are not
//!   UTF-8, no content types and authorities; see [`Channel::extensions`].
//!
//! | limit | default | beyond it |
//! | --- | --- | --- |
//! | open calls of a tunnel (`limits.max_streams`) | 1,024 | calls wait in order |
//! | calls that wait (`max_waiting`), and how long (`max_wait`) | 1,024, 5 s | RESOURCE_EXHAUSTED, never processed |
//! | metadata of a call, each way (`limits.decode`) | 64 KiB, 256 entries | the call fails RESOURCE_EXHAUSTED |
//! | a message | none; tonic's own is 4 MiB | |
//! | unread payload of a call (`limits.receive_window`) | 64 KiB, up to 16 MiB while it is read | the sender waits |
//! | tunnels that are being opened (`max_unsettled`) | 1,024 | RESOURCE_EXHAUSTED |
//! | time to open a tunnel (`limits.open_timeout`) | 10 s | DEADLINE_EXCEEDED |
//! | a peer that takes no byte (`stall`) | 60 s | the tunnel ends |
//! | a peer that answers nothing (`limits.liveness`) | two pings | the tunnel ends |
//!
//! # Telemetry
//!
//! The feature `tracing` gives log lines of tunnels and a span for each call, with the names of
//! OpenTelemetry's conventions; the feature `metrics` counts tunnels, calls, bytes, waits and round
//! trips. Their names are listed at the front page of `grpctunnel-driver`.
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
//! [`dial`], [`Endpoint`] and [`Server`] use [`http2`], which is made for tunnels, with large
//! windows, keepalive, limits, and an end in good order. A server answers other services on the same
//! port: give it tonic's `Routes`.
//!
//! Tunnels work over tonic's transport too, and over whatever is a tower service: see
//! [`tonic_transport`], which also tells what that costs.

mod byte_stream;
mod connect;
mod dial;
mod network;
mod runtime;
mod tcp;
pub mod tonic_transport;

use tonic::service::Routes;

pub use byte_stream::byte_stream;
pub use connect::{connect, serve_reverse};
pub use dial::dial;
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
    Status, StreamReason, Timer, TunnelEnd, TunnelError, TunnelId, TunnelReason, TunnelState,
    error_chain, error_sources,
};
pub use grpctunnel_http2 as http2;
#[cfg(feature = "tls")]
pub use grpctunnel_tonic::rustls;
pub use grpctunnel_tonic::{AcceptResult, Registry, TunnelGroup};
pub use grpctunnel_tonic::{
    ByteStream, Carrier, CarrierBody, Channel, DialError, IntoTonicStatus, ResponseFuture,
    ReverseTunnel, TonicHandler, TunnelPeer, from_tonic, from_tonic_code, method_kinds,
    to_tonic_code,
};
pub use runtime::{EnteredRuntime, TokioRuntime, runtime};

/// Accepts tunnels in a server, each on the tokio runtime in which it is accepted.
pub type TunnelServer<H = NoHandler> = grpctunnel_tonic::TunnelServer<EnteredRuntime, H>;

/// A gRPC server to connect to: its URL, TLS, timeouts, and the settings of the HTTP/2 connection.
pub type Endpoint = grpctunnel_tonic::Endpoint<EnteredRuntime>;

/// Serves tunnels, and any other service beside them, over HTTP/2 on TCP.
///
/// It is what to use unless a tonic server is there already; see the
/// [front page](crate#the-http2-connection-beneath) for the difference. Requests carry a
/// [`ConnectInfo`] and tonic's `TcpConnectInfo` in their extensions.
pub type Server<H = NoHandler, S = Routes> = grpctunnel_tonic::Server<EnteredRuntime, H, S>;

/// The code in the README is compiled and run as a test of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
