//! The services that tests and real peers call, with the behaviour of their originals: gRPC's
//! interoperability service as grpc-go serves it, and those of the Go module's own test programs.

#[cfg(feature = "net")]
mod batch;
mod compression;
mod extras;
mod grpchan;
mod messages;
mod official;
mod outgoing;
#[cfg(feature = "net")]
mod trigger;

use bytes::Bytes;
use http_body::Body as HttpBody;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

#[cfg(feature = "net")]
pub use batch::send_batches;
pub use compression::{CallCompression, WithCompression};
pub use extras::{ECHO_PAYLOAD, STATUS_DETAILS, status_details};
pub use grpchan::{Grpchan, grpchan};
pub use messages::{Message, Messages};
pub use official::{Official, official};
pub use outgoing::{Outgoing, WithOutgoing};
#[cfg(feature = "net")]
pub use trigger::{Added, KeyedTunnels, Trigger};

/// What generated clients call through: a plain connection or a tunnel.
pub trait Caller:
    GrpcService<
        Body,
        Error: Into<StdError>,
        Future: Send,
        ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<T> Caller for T where
    T: GrpcService<
            Body,
            Error: Into<StdError>,
            Future: Send,
            ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        > + Clone
        + Send
        + 'static
{
}
