//! gRPC tunnels for tonic on tokio.

mod channel;
mod connect;
mod http2;
mod runtime;
mod server;
mod status;

pub use channel::{Channel, ResponseFuture};
pub use connect::{connect, serve_reverse};
pub use grpctunnel_driver::{
    BinDialect, Code, ConnectError, Counters, Limits, MethodKind, MethodKinds, NeverProcessed,
    Options, Runtime, ServerHandle, TunnelEnd, TunnelPeer,
};
pub use http2::{endpoint, server};
pub use runtime::{TokioRuntime, runtime};
pub use server::{ReverseTunnel, TonicHandler, TunnelServer};
