//! gRPC tunnels over any HTTP/2 stack and any async runtime.

mod after;
mod client;
mod counters;
mod driver;
mod ending;
mod error;
mod heads;
mod inbox;
mod input;
mod metadata;
mod opening;
mod options;
mod outbox;
mod peer;
mod pump;
mod runtime;
mod server;
mod shared;
mod state;
mod status;
mod stream;
mod transmit;
mod tunnels;
mod watch;

pub use client::{Channel, ResponseBody, ResponseFuture, connect};
pub use counters::Counters;
pub use error::{BoxError, CallError, ConnectError, NeverProcessed, RequestError, TunnelEnd};
pub use grpctunnel_core::wire::BinDialect;
pub use grpctunnel_core::{Bucket, Code, Limits, MethodKind, Reason, TunnelError};
pub use options::{MethodKinds, Options};
pub use peer::TunnelPeer;
pub use runtime::{Executor, Runtime, Sleep, Task, Timer};
pub use server::{
    Handler, NoHandler, RequestBody, ReverseTunnel, ServerHandle, TunnelService, serve_reverse,
};
pub use status::Status;
pub use transmit::{TransmitBody, TransmitError};
