//! Opening a reverse tunnel.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use grpctunnel_core::Server;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::client::start;
use crate::counters::Counters;
use crate::error::{BoxError, ConnectError, TunnelEnd};
use crate::opening;
use crate::options::Options;
use crate::peer::TunnelPeer;
use crate::runtime::Runtime;
use crate::server::Handler;
use crate::server::admit::Calls;
use crate::shared::Shared;
use crate::transmit::TransmitBody;

/// A tunnel whose calls this end handles. It is drained when the handle is dropped.
#[derive(Debug)]
pub struct ServerHandle {
    shared: Arc<Shared<Server>>,
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.shared.drain(self.shared.options.drain_limit);
    }
}

impl ServerHandle {
    /// Begins to drain: new calls are refused UNAVAILABLE; those that are open may go on for
    /// `limit`, then they end UNAVAILABLE. The tunnel is finished when the last one has ended; see
    /// [`closed`](Self::closed).
    pub fn drain(&self, limit: Duration) {
        self.shared.drain(limit);
    }

    /// Gives the tunnel up: open calls end, their handlers are dropped, the carrier is reset.
    pub fn abort(&self) {
        self.shared.abort();
    }

    /// Waits for the end of the tunnel. The future holds no handle of it.
    pub fn closed(&self) -> impl Future<Output = TunnelEnd> + Send + 'static + use<> {
        self.shared.closed()
    }

    /// Calls that have not ended.
    #[must_use]
    pub fn active_calls(&self) -> usize {
        self.shared.look(|state| state.tunnel.active_streams())
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Who is at the other end, as the opening of the tunnel said; `None` before an old peer has
    /// answered.
    #[must_use]
    pub fn peer(&self) -> Option<&TunnelPeer> {
        self.shared.peer.get()
    }
}

/// Opens a reverse tunnel: this end handles the calls.
///
/// It returns when the peer has accepted the tunnel. `carrier` is any HTTP client that speaks
/// HTTP/2. `metadata` goes with the request that opens the tunnel. Dropping the future gives the
/// tunnel up; dropping the handle drains it.
///
/// # Errors
/// See [`ConnectError`]: UNIMPLEMENTED where the peer takes no reverse tunnels. A tunnel that is
/// refused is not started.
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
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
    H: Handler,
{
    let path = opening::OPEN_REVERSE_TUNNEL;
    let calls = Calls::new(handler);
    let shared = start(carrier, path, runtime, options, metadata, calls)?;
    let handle = ServerHandle {
        shared: shared.clone(),
    };
    shared.started().await.map_err(ConnectError::new)?;
    Ok(handle)
}
