//! Opening tunnels.

use bytes::Bytes;
use grpctunnel_driver::{BoxError, ConnectError, Options, ServerHandle};
use grpctunnel_tonic::Channel;
use http::{Request, Response};
use tonic::metadata::MetadataMap;
use tower_service::Service;

use crate::runtime::runtime;

/// Opens a forward tunnel over an HTTP/2 connection: this end makes the calls.
///
/// It returns when the tunnel may carry calls. `metadata` goes with the request that opens the
/// tunnel. `carrier` is best what [`dial`](crate::dial) makes. It may be anything else that
/// generated clients take: a `tonic::transport::Channel`, with interceptors and layers or without,
/// or the [`Channel`] of another tunnel.
///
/// # Errors
/// See [`ConnectError`]: UNIMPLEMENTED where the server takes no forward tunnels,
/// DEADLINE_EXCEEDED where it does not answer.
pub async fn connect<C, B>(
    carrier: C,
    options: &Options,
    metadata: MetadataMap,
) -> Result<Channel, ConnectError>
where
    C: Service<Request<tonic::body::Body>, Response = Response<B>, Error: Into<BoxError>>,
    C: Send + 'static,
    C::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    grpctunnel_tonic::connect(carrier, &runtime(), options, metadata).await
}

/// Opens a reverse tunnel over an HTTP/2 connection: this end handles the calls, with `handler`, which
/// is tonic's `Routes` or one generated server.
///
/// It returns when the server has accepted the tunnel. For `carrier` and `metadata` see
/// [`connect`]. The tunnel is drained when the handle is dropped.
///
/// # Errors
/// See [`ConnectError`]. A tunnel that is refused is not started.
pub async fn serve_reverse<C, B, H, R>(
    carrier: C,
    handler: H,
    options: &Options,
    metadata: MetadataMap,
) -> Result<ServerHandle, ConnectError>
where
    C: Service<Request<tonic::body::Body>, Response = Response<B>, Error: Into<BoxError>>,
    C: Send + 'static,
    C::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    H: Service<Request<tonic::body::Body>, Response = Response<R>, Error: Into<BoxError>>,
    H: Clone + Send + 'static,
    H::Future: Send,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    grpctunnel_tonic::serve_reverse(carrier, handler, &runtime(), options, metadata).await
}
