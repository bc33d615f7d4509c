//! Opening a forward tunnel.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Buf;
use grpctunnel_core::{Client, Opening};
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::after::After;
use crate::client::Channel;
use crate::driver::Driver;
use crate::error::{BoxError, ConnectError};
use crate::input::{Incoming, Intake};
use crate::opening;
use crate::options::Options;
use crate::reader::Carrier;
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::state::{Half, State};
use crate::transmit::{Network, TransmitBody};

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
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    let shared = start(
        carrier,
        opening::OPEN_TUNNEL,
        runtime,
        options,
        metadata,
        NoCalls,
    )?;
    let channel = Channel::new(shared.clone());
    shared.started().await.map_err(ConnectError::new)?;
    Ok(channel)
}

/// Sends the request that opens a tunnel, and starts the tunnel's task.
pub(crate) fn start<R, C, B, I>(
    mut carrier: C,
    path: &'static str,
    runtime: &Runtime,
    options: &Options,
    metadata: HeaderMap,
    intake: I,
) -> Result<Arc<Shared<R>>, ConnectError>
where
    R: Half,
    C: Service<Request<TransmitBody>, Response = Response<B>, Error: Into<BoxError>>,
    C: Send + 'static,
    C::Future: Send,
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
    I: Intake<R>,
{
    let opening = if options.old_peer {
        Opening::RequestedFromOld
    } else {
        Opening::Requested
    };
    let shared = Shared::<R>::new(runtime.clone(), Arc::new(options.clone()), opening)
        .map_err(ConnectError::config)?;
    let body = TransmitBody::new(shared.clone(), Network::Client);
    let request = opening::request(path, options, metadata, body);
    let response = async move {
        poll_fn(|cx| carrier.poll_ready(cx))
            .await
            .map_err(Into::into)?;
        let response = carrier.call(request);
        // The handle of the connection stays until there is a response, not longer.
        let response = response.await.map_err(Into::into);
        drop(carrier);
        response
    };
    let incoming = Carrier::Opening(Box::pin(response));
    runtime.spawn(Driver::new(shared.clone(), incoming, intake));
    Ok(shared)
}

/// The intake of a tunnel client: no calls come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoCalls;

impl Intake<Client> for NoCalls {
    fn admit(
        &mut self,
        _shared: &Arc<Shared<Client>>,
        _state: &mut State<Client>,
        _call: Incoming<'_>,
        _after: &mut After,
    ) {
    }

    fn start(&mut self, _shared: &Arc<Shared<Client>>) {}
}
