//! The peer of a tunnel.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use grpctunnel_core::Negotiation;
use http::header::{CONTENT_TYPE, TE};
use http::{Extensions, HeaderMap};

use crate::tunnel::id::TunnelId;

/// Which way a tunnel's calls go, as seen from the end that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The end that opened the tunnel makes the calls.
    Forward,
    /// The end that accepted the tunnel makes the calls.
    Reverse,
}

/// The tunnel that a call came through, and its peer. A handler finds it in the
/// `http::Extensions` of a request.
///
/// It comes from the opening of the tunnel, never from a call, so callers cannot forge it; and
/// nothing of it is among the metadata of calls. Its `Debug` form shows no metadata, which may hold
/// credentials.
#[derive(Clone)]
pub struct TunnelPeer {
    opening: Arc<Opening>,
}

#[derive(Clone)]
struct Opening {
    id: TunnelId,
    direction: Direction,
    metadata: HeaderMap,
    extensions: Extensions,
}

impl TunnelPeer {
    pub(crate) fn new(
        id: TunnelId,
        direction: Direction,
        metadata: HeaderMap,
        extensions: Extensions,
    ) -> Self {
        Self {
            opening: Arc::new(Opening {
                id,
                direction,
                metadata: opening_metadata(metadata),
                extensions,
            }),
        }
    }

    /// Attaches something to the opening.
    pub(crate) fn attach<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        Arc::make_mut(&mut self.opening).extensions.insert(value);
    }

    /// Tells the tunnel from any other; see [`Channel::id`](crate::Channel::id).
    #[must_use]
    pub fn id(&self) -> TunnelId {
        self.opening.id
    }

    /// Which way the tunnel's calls go.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.opening.direction
    }

    /// The metadata of the tunnel's opening: of the request where this end accepted the tunnel, of
    /// the response where it opened it. Without the headers that are the protocol's own: `te`,
    /// `content-type` and `grpctunnel-negotiate`.
    #[must_use]
    pub fn metadata(&self) -> &HeaderMap {
        &self.opening.metadata
    }

    /// What the HTTP stack, and layers or interceptors above it, attached to the opening.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.opening.extensions
    }

    /// The connection that the tunnel was opened on, where the HTTP stack attached a
    /// [`ConnectInfo`]: the servers of `grpctunnel-tokio` and `grpctunnel-async-std` do.
    #[must_use]
    pub fn connect_info(&self) -> Option<&ConnectInfo> {
        self.opening.extensions.get()
    }
}

impl fmt::Debug for TunnelPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelPeer")
            .field("id", &self.opening.id)
            .field("direction", &self.opening.direction)
            .finish_non_exhaustive()
    }
}

/// The connection that a request came on: in the request's `http::Extensions`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectInfo {
    /// This end's address.
    pub local_addr: Option<SocketAddr>,
    /// The client's address.
    pub remote_addr: Option<SocketAddr>,
    /// The client's certificates in DER, its own first. None without TLS, or if it sent none.
    pub peer_certificates: Option<Arc<[Bytes]>>,
}

/// The headers of an opening without the protocol's own.
pub(crate) fn opening_metadata(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(TE);
    headers.remove(CONTENT_TYPE);
    headers.remove(Negotiation::HEADER);
    headers
}
