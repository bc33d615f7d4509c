//! Opening tunnels.

use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_driver::{BoxError, ConnectError, Options, Runtime, ServerHandle, TransmitBody};
use http::{Request, Response};
use tonic::metadata::MetadataMap;
use tower_service::Service;

use crate::channel::Channel;
use crate::handler::TonicHandler;
use crate::status::with_tonic_statuses;

/// Opens a forward tunnel over anything that tonic's clients take: this end makes the calls.
///
/// It returns when the tunnel may carry calls. `metadata` goes with the request that opens the
/// tunnel. `carrier` is anything that generated clients take: a connection, one with interceptors
/// or layers, or the [`Channel`] of another tunnel.
///
/// # Errors
/// See [`ConnectError`]: UNIMPLEMENTED where the server takes no forward tunnels,
/// DEADLINE_EXCEEDED where it does not answer.
pub async fn connect<C, B>(
    carrier: C,
    runtime: &Runtime,
    options: &Options,
    metadata: MetadataMap,
) -> Result<Channel, ConnectError>
where
    C: Service<Request<tonic::body::Body>, Response = Response<B>, Error: Into<BoxError>>,
    C: Send + 'static,
    C::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let carrier = TonicCarrier(carrier);
    grpctunnel_driver::connect(carrier, runtime, options, metadata.into_headers())
        .await
        .map(Channel::from)
}

/// Opens a reverse tunnel over anything that tonic's clients take: this end handles the calls, with `handler`, which
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
    runtime: &Runtime,
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
    let carrier = TonicCarrier(carrier);
    let handler = TonicHandler::new(handler);
    let options = with_tonic_statuses(options.clone());
    let metadata = metadata.into_headers();
    grpctunnel_driver::serve_reverse(carrier, handler, runtime, &options, metadata).await
}

/// Gives a tunnel's body to a service that takes tonic's.
struct TonicCarrier<C>(C);

impl<C: Service<Request<tonic::body::Body>>> Service<Request<TransmitBody>> for TonicCarrier<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<TransmitBody>) -> C::Future {
        self.0.call(request.map(tonic::body::Body::new))
    }
}
