//! How a supervisor opens tunnels.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::client::Channel;
use crate::connect::{connect, serve_reverse};
use crate::error::{ConnectError, TunnelEnd};
use crate::options::Options;
use crate::peer::TunnelPeer;
use crate::runtime::Runtime;
use crate::server::Handler;
use crate::supervisor::dial::{Dial, DialError};
use crate::supervisor::interruption::Interruption;
use crate::tunnel::handle::Handle;
use crate::tunnel::published::TunnelState;
use crate::tunnel::state::TunnelRole;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A tunnel of either role, as its supervisor sees it.
pub(crate) trait Supervised: Send + Sync {
    fn state(&self) -> TunnelState;
    fn peer(&self) -> Option<&TunnelPeer>;
    fn draining(&self) -> BoxFuture<()>;
    fn closed(&self) -> BoxFuture<TunnelEnd>;
    fn drain(&self, limit: Duration);
    fn abort(&self);
}

impl<R: TunnelRole> Supervised for Handle<R> {
    fn state(&self) -> TunnelState {
        self.shared.state()
    }

    fn peer(&self) -> Option<&TunnelPeer> {
        self.shared.peer.get()
    }

    fn draining(&self) -> BoxFuture<()> {
        Box::pin(self.shared.draining())
    }

    fn closed(&self) -> BoxFuture<TunnelEnd> {
        Box::pin(self.shared.closed())
    }

    fn drain(&self, limit: Duration) {
        self.shared.drain(limit);
    }

    fn abort(&self) {
        self.shared.abort();
    }
}

/// What every attempt of a supervisor has in common.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) runtime: Runtime,
    pub(crate) options: Arc<Options>,
    pub(crate) metadata: HeaderMap,
}

/// A failed attempt.
pub(crate) struct Failed {
    pub(crate) why: Interruption,
    pub(crate) permanent: bool,
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        Self {
            why: Interruption::not_opened(error),
            permanent: false,
        }
    }
}

impl From<DialError> for Failed {
    fn from(error: DialError) -> Self {
        Self {
            permanent: error.is_permanent(),
            why: Interruption::not_dialled(error),
        }
    }
}

/// A tunnel that was opened.
pub(crate) struct OpenedTunnel {
    pub(crate) tunnel: Arc<dyn Supervised>,
    /// The same, where this end makes the calls.
    pub(crate) channel: Option<Channel>,
}

pub(crate) type Opened = Result<OpenedTunnel, Failed>;
/// Makes one attempt.
pub(crate) type Open = Box<dyn FnMut(Arc<Opening>) -> BoxFuture<Opened> + Send>;

/// Opens tunnels whose calls `handler` handles.
pub(crate) fn open_reverse<D: Dial, H: Handler>(dial: Arc<D>, handler: H) -> Open {
    Box::new(move |opening| {
        let (dial, handler) = (dial.clone(), handler.clone());
        Box::pin(async move {
            let carrier = dial.dial().await?;
            let Opening {
                runtime,
                options,
                metadata,
            } = &*opening;
            let opened = serve_reverse(carrier, handler, runtime, options, metadata.clone());
            Ok(OpenedTunnel {
                tunnel: opened.await?.handle().clone(),
                channel: None,
            })
        })
    })
}

/// Opens tunnels to make calls on.
pub(crate) fn open_forward<D: Dial>(dial: Arc<D>) -> Open {
    Box::new(move |opening| {
        let dial = dial.clone();
        Box::pin(async move {
            let carrier = dial.dial().await?;
            let Opening {
                runtime,
                options,
                metadata,
            } = &*opening;
            let channel = connect(carrier, runtime, options, metadata.clone()).await?;
            Ok(OpenedTunnel {
                tunnel: channel.handle().clone(),
                channel: Some(channel),
            })
        })
    })
}
