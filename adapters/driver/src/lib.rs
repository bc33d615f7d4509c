//! gRPC tunnels over any HTTP/2 stack and any async runtime.
//!
//! Its place among the crates of grpctunnel: it stands on `grpctunnel-core`; `grpctunnel-http2` and
//! `grpctunnel-tonic` stand on it.
//!
//! A tunnel is one bidirectional gRPC stream that carries other calls, in the direction in which it
//! was opened (*forward*) or in the opposite one (*reverse*: the side that cannot be reached opens
//! it and is called through it). This crate runs the protocol of `grpctunnel-core` on HTTP bodies.
//! It depends on no runtime and no HTTP stack: what it uses and what it offers are tower services.
//!
//! | | the calls are made | the calls are handled |
//! | --- | --- | --- |
//! | this end opens the tunnel | [`connect`]: a [`Channel`] | [`serve_reverse`]: a [`Handler`] |
//! | this end accepts it | [`TunnelService::reverse`]: a [`Channel`] | [`TunnelService::forward`]: a [`Handler`] |
//!
//! - A [`Channel`] is a `tower::Service<http::Request<B>>` for any HTTP body: a generated tonic
//!   client works on it, and so does a proxy.
//! - A [`Handler`] is any such service: tonic's `Routes`, one generated server, or a proxy.
//! - A [`Supervisor`] keeps tunnels open for the side that opens them: it connects again, to several
//!   peers, for ever. Its forward tunnels are one [`SupervisedChannel`].
//! - A [`Runtime`] runs tasks and has a clock. The crate `grpctunnel-tokio` provides one for tokio,
//!   and the integration with tonic.
//! - Several tunnels to peers that are as good as each other are a [`TunnelGroup`]: one service, which
//!   picks a tunnel for each call, and makes a call again that was never processed.
//! - A [`Registry`] has the reverse tunnels of a server by a key of your own, each key's as a group; a
//!   [`Forwarder`] passes any call to the group that a look-up names.
//!
//! Messages are bytes: nothing is parsed, any codec works, and no message is buffered whole,
//! whatever its size.
//!
//! # What a tunnel carries
//!
//! Between two ends of this implementation the protocol's extensions are in effect, unless
//! [`Options::extensions`] says otherwise. Calls then pass as they are: `-bin` metadata and status
//! details of any bytes, content types, authorities, and compressed messages, which are never
//! decompressed. A peer of another implementation carries less; [`Channel::extensions`] tells:
//!
//! - Without `RAW_METADATA` a `-bin` value must be UTF-8. With another one a request fails with
//!   INVALID_ARGUMENT and a response with INTERNAL, except for the keys of [`Options::drop_bin`].
//! - Without `TRANSPARENT` handlers see `application/grpc` and [`Options::authority`], and
//!   compressed messages are refused with UNIMPLEMENTED. A call that names an encoding waits up to
//!   1 s for the flag of its first message. If that is compressed, the refusal has
//!   `grpc-accept-encoding: identity`; if not, the call is opened without its `grpc-encoding`.
//!
//! # Memory
//!
//! [`Options::memory_bound`] says what a tunnel takes at most, whatever its peer does, and what it is
//! made of. In short, a tunnel holds the frames that wait to be sent ([`Options::batch`],
//! [`Options::tunnel_send_queue`]) and at most one incoming frame (`limits.max_frame`). Each of its
//! up to `limits.max_streams` streams holds
//!
//! - messages that wait to be sent: at most [`Options::send_queue`], and one frame of the sender's
//!   body;
//! - payload that was not read: the receive window, where messages end, and 64 KiB of length
//!   prefixes. Large payload is not copied, so it keeps the buffers in which the HTTP stack received
//!   it: at most 4 MiB a tunnel, beyond which it is copied. A reader is handed at most 64 KiB at once, which the peer may then replace while the
//!   HTTP stack still holds them;
//! - headers and trailers: `limits.decode`.
//!
//! Windows begin with `limits.receive_window.initial`; those of a tunnel together grow by at most
//! its `growth_budget`. What is idle gives its memory back.
//!
//! A [`MemoryBudget`] bounds what waits in the tunnels of a process together: beyond it they refuse
//! new calls, and hold up no open one.
//!
//! # Telemetry
//!
//! With the feature `tracing` there are log lines of tunnels that start and end, and a span for each
//! call at both ends, with the names of OpenTelemetry's conventions: `rpc.system`, `rpc.service`,
//! `rpc.method`, `rpc.grpc.status_code`, and `otel.name` and `otel.kind` for
//! `tracing-opentelemetry`. A handler runs in its call's span. Trace contexts pass as the metadata
//! that they are.
//!
//! With the feature `metrics` there are these, each with `side`, which is `client` where this end
//! makes the calls, and `server` where it handles them:
//!
//! | name | what |
//! | --- | --- |
//! | `grpctunnel_tunnels_open`, `grpctunnel_calls_open` | gauges of what is open |
//! | `grpctunnel_tunnels_total`, `grpctunnel_tunnels_ended_total` | tunnels, the latter by `reason`: a [`TunnelReason`], which names a stall or a limit, or `Finished` |
//! | `grpctunnel_calls_total`, `grpctunnel_calls_refused_total` | calls, and those that no handler saw |
//! | `grpctunnel_calls_broken_total` | calls that a rule or a limit ended |
//! | `grpctunnel_deadlines_total` | deadlines that passed |
//! | `grpctunnel_frames_ignored_total` | frames that mean nothing |
//! | `grpctunnel_sent_bytes_total`, `grpctunnel_received_bytes_total` | bytes of frames |
//! | `grpctunnel_held_back_total` | senders that had to wait for room: credit, or the carrier |
//! | `grpctunnel_round_trip_seconds` | a histogram of answered pings |
//! | `grpctunnel_picks_total`, `grpctunnel_retries_total` | tunnels picked by groups, and picked again for a call that was not processed; without `side` |
//!
//! # Example
//!
//! A forward tunnel in memory, on `smol`: each end reads the body of the other.
//!
//! ```
//! use bytes::Bytes;
//! use grpctunnel_driver::{Executor, Options, Runtime, Sleep, Task, Timer, TunnelService, connect};
//! use http::{HeaderMap, Request, Response};
//! use http_body_util::{BodyExt, Full};
//! # use grpctunnel_driver::RequestBody;
//! # use std::convert::Infallible;
//! # use std::future::{Ready, ready};
//! # use std::task::{Context, Poll};
//! # use tower_service::Service;
//!
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
//! # /// Sends requests back.
//! # #[derive(Clone)]
//! # struct Echo;
//! # impl Service<Request<RequestBody>> for Echo {
//! #     type Response = Response<http_body_util::combinators::WithTrailers<RequestBody, Ready<Option<Result<HeaderMap, grpctunnel_driver::RequestError>>>>>;
//! #     type Error = Infallible;
//! #     type Future = Ready<Result<Self::Response, Infallible>>;
//! #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
//! #         Poll::Ready(Ok(()))
//! #     }
//! #     fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
//! #         let mut ok = HeaderMap::new();
//! #         ok.insert("grpc-status", http::HeaderValue::from_static("0"));
//! #         ready(Ok(Response::new(request.into_body().with_trailers(ready(Some(Ok(ok)))))))
//! #     }
//! # }
//! # smol::block_on(async {
//! let runtime = Runtime::new(Smol, Smol);
//! // `Echo` is a tower service that sends each request back.
//! let service = TunnelService::new(runtime.clone()).forward(Echo);
//!
//! let mut channel = connect(service, &runtime, &Options::default(), HeaderMap::new()).await?;
//! let message = Bytes::from_static(b"\0\0\0\0\x05hello");
//! let request = Request::post("/example.Echo/Say").body(Full::new(message.clone()))?;
//! let response = channel.call(request).await?;
//! let body = response.into_body().collect().await?;
//! assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
//! assert_eq!(body.to_bytes(), message);
//!
//! channel.close();
//! assert!(channel.closed().await.is_clean());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod accept;
mod bare;
mod body;
mod budget;
mod carrier;
mod client;
mod connect;
#[cfg(test)]
mod costs;
mod counters;
mod deferred;
mod error;
mod group;
mod grpc;
mod memory;
mod options;
mod panics;
mod peer;
mod registry;
mod retry;
mod runtime;
mod server;
mod supervisor;
mod telemetry;
mod tunnel;
mod watchers;

pub use accept::{AcceptResult, ForwardTunnel, ReverseTunnel, TunnelService};
pub use bare::{BareTunnels, PipeEnd};
pub use budget::MemoryBudget;
pub use carrier::abort::CarrierAbort;
pub use carrier::transmit::{SegmentedCarrier, TransmitBody, TransmitError};
pub use client::{Channel, ResponseBody, ResponseFuture};
pub use connect::{connect, serve_reverse};
pub use counters::Counters;
pub use error::{
    BoxError, CallError, ConnectError, NeverProcessed, RequestError, TunnelEnd, error_chain,
    error_sources,
};
pub use group::{
    Candidate, Candidates, Expected, GroupResponseFuture, LeastLoaded, Membership, Pick,
    RoundRobin, TunnelGroup,
};
pub use grpc::headers::{GRPC_CONTENT_TYPE, is_grpc};
pub use grpc::status::Status;
pub use grpctunnel_core::MemoryBound as CoreMemoryBound;
pub use grpctunnel_core::wire::DecodeLimits;
pub use grpctunnel_core::wire::{BinDialect, Extension, ExtensionSet};
pub use grpctunnel_core::{
    Bucket, Code, Limits, Liveness, MethodKind, Reason, ReceiveWindowPolicy, RevisionZeroLimits,
    StreamReason, TunnelError, TunnelReason,
};
pub use memory::MemoryBound;
pub use options::{MethodKinds, Options};
pub use peer::{ConnectInfo, Direction, TunnelPeer};
pub use registry::{ForwardFuture, Forwarder, Registry, RegistryKey, TunnelKey};
pub use retry::{Attempt, RetryBody};
pub use runtime::{Executor, Runtime, Sleep, Task, Timer};
pub use server::{Handler, NoHandler, RequestBody, ServerHandle};
pub use supervisor::{
    Backoff, Dial, DialError, ForwardRole, Interruption, ReverseRole, SupervisedChannel,
    SupervisedPhase, SupervisedResponseFuture, SupervisedTunnel, Supervisor, SupervisorBuilder,
    SupervisorEnd, SupervisorEvent, SupervisorEventKind, SupervisorState, SupervisorStates,
};
pub use tunnel::id::TunnelId;
pub use tunnel::published::TunnelState;
