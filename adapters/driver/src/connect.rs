//! Opening tunnels.

use std::future::poll_fn;
use std::sync::Arc;

use grpctunnel_core::{ConfigError, Opening};
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::carrier::driver::Driver;
use crate::carrier::opening;
use crate::carrier::receive::CarrierReader;
use crate::carrier::transmit::{NetworkRole, TransmitBody};
use crate::client::{Channel, NoAcceptor};
use crate::error::{BoxError, ConnectError};
use crate::options::Options;
use crate::runtime::Runtime;
use crate::server::{Handler, HandlerAcceptor, ServerHandle};
use crate::tunnel::input::CallAcceptor;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::TunnelRole;

/// Opens a forward tunnel: this end makes the calls.
///
/// It returns when the tunnel may carry calls. `carrier` is any HTTP client that speaks HTTP/2.
/// `metadata` goes with the request that opens the tunnel. Dropping the future gives the tunnel up.
///
/// # Errors
/// See [`ConnectError`]: UNIMPLEMENTED where the peer takes no forward tunnels, DEADLINE_EXCEEDED
/// where it does not answer in time.
pub async fn connect<C, B>(
    carrier: C,
    runtime: &Runtime,
    options: &Options,
    metadata: HeaderMap,
) -> Result<Channel, ConnectError>
where
    C: Service<Request<TransmitBody>, Response = Response<B>, Error: Into<BoxError>>,
    C: Send + 'static,
    C::Future: Send,
    B: Body<Error: Into<BoxError>> + Send + 'static,
{
    let runtime = runtime.capture().map_err(ConnectError::not_tried)?;
    let shared = open(
        carrier,
        opening::OPEN_TUNNEL,
        &runtime,
        options,
        metadata,
        NoAcceptor,
    )
    .map_err(ConnectError::config)?;
    let channel = Channel::new(shared.clone());
    shared.started().await.map_err(ConnectError::new)?;
    Ok(channel)
}

/// Opens a reverse tunnel: this end handles the calls.
///
/// It returns when the peer has accepted the tunnel. `carrier` is any HTTP client that speaks
/// HTTP/2. `metadata` goes with the request that opens the tunnel. Dropping the future gives the
/// tunnel up; dropping the handle drains it.
///
/// # Errors
/// See [`ConnectError`]: UNIMPLEMENTED where the peer takes no reverse tunnels. A tunnel that is
/// refused is not retried.
pub async fn serve_reverse<C, B, H>(
    carrier: C,
    handler: H,
    runtime: &Runtime,
    options: &Options,
    metadata: HeaderMap,
) -> Result<ServerHandle, ConnectError>
where
    C: Service<Request<TransmitBody>, Response = Response<B>, Error: Into<BoxError>>,
    C: Send + 'static,
    C::Future: Send,
    B: Body<Error: Into<BoxError>> + Send + 'static,
    H: Handler,
{
    let runtime = runtime.capture().map_err(ConnectError::not_tried)?;
    let path = opening::OPEN_REVERSE_TUNNEL;
    let acceptor = HandlerAcceptor::new(handler);
    let shared =
        open(carrier, path, &runtime, options, metadata, acceptor).map_err(ConnectError::config)?;
    let handle = ServerHandle::new(shared.clone());
    shared.started().await.map_err(ConnectError::new)?;
    Ok(handle)
}

/// Sends the request that opens a tunnel, and starts the tunnel's task.
fn open<R, C, B, A>(
    mut carrier: C,
    path: &'static str,
    runtime: &Runtime,
    options: &Options,
    metadata: HeaderMap,
    acceptor: A,
) -> Result<Arc<Shared<R>>, ConfigError>
where
    R: TunnelRole,
    C: Service<Request<TransmitBody>, Response = Response<B>, Error: Into<BoxError>>,
    C: Send + 'static,
    C::Future: Send,
    B: Body<Error: Into<BoxError>> + Send + 'static,
    A: CallAcceptor<R>,
{
    let opening = if options.old_peer {
        Opening::RequestedFromOld
    } else {
        Opening::Requested
    };
    let shared = Shared::<R>::new(runtime.clone(), Arc::new(options.clone()), opening)?;
    let body = TransmitBody::new(shared.clone(), NetworkRole::Client);
    let request = opening::request(path, options, metadata, body);
    let response = async move {
        poll_fn(|cx| carrier.poll_ready(cx))
            .await
            .map_err(Into::into)?;
        let response = carrier.call(request);
        // The connection is held until there is a response, not longer.
        let response = response.await.map_err(Into::into);
        drop(carrier);
        response
    };
    let reader = CarrierReader::opening(response);
    let driver = Driver::new(shared.clone(), reader, acceptor);
    shared.runtime.spawn(driver);
    Ok(shared)
}
