//! gRPC tunnels over any HTTP/2 stack and any async runtime.

mod client;
mod error;
mod metadata;
mod options;
mod runtime;
mod server;
mod status;
mod transmit;

pub use client::{Channel, ResponseBody, ResponseFuture, connect};
pub use error::{BoxError, CallError, ConnectError, NeverProcessed, RequestError, TunnelEnd};
pub use grpctunnel_core::wire::BinDialect;
pub use grpctunnel_core::{Code, Counters, Limits, MethodKind, Reason, TunnelError};
pub use options::{MethodKinds, Options};
pub use runtime::{Executor, Runtime, Sleep, Task, Timer};
pub use server::{
    Handler, NoHandler, RequestBody, ReverseTunnel, ServerHandle, TunnelPeer, TunnelService,
    serve_reverse,
};
pub use status::Status;
pub use transmit::{TransmitBody, TransmitError};
