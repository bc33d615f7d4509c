//! The peer of a tunnel, as tonic's handlers see it.

use grpctunnel_driver::{ConnectInfo, Direction, TunnelId};
use http::Extensions;
use tonic::metadata::MetadataMap;

/// The tunnel that a call came through, and its peer: in the extensions of a request that a tunnel
/// carried.
///
/// ```
/// use grpctunnel_tonic::TunnelPeer;
/// use tonic::{Request, Status};
///
/// fn agent_of<T>(request: &Request<T>) -> Result<String, Status> {
///     let peer = request.extensions().get::<TunnelPeer>();
///     let peer = peer.ok_or_else(|| Status::permission_denied("only through a tunnel"))?;
///     let metadata = peer.metadata();
///     let name = metadata.get("x-name").and_then(|name| name.to_str().ok());
///     Ok(name.unwrap_or("somebody").to_owned())
/// }
/// ```
///
/// It comes from the opening of the tunnel, never from a call, so callers cannot forge it; and
/// nothing of it is among the metadata of calls.
#[derive(Clone, Debug)]
pub struct TunnelPeer {
    inner: grpctunnel_driver::TunnelPeer,
}

impl TunnelPeer {
    pub(crate) const fn new(inner: grpctunnel_driver::TunnelPeer) -> Self {
        Self { inner }
    }

    /// Tells the tunnel from any other that this process has or had.
    #[must_use]
    pub fn id(&self) -> TunnelId {
        self.inner.id()
    }

    /// Which way the tunnel's calls go.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.inner.direction()
    }

    /// The metadata of the tunnel's opening: of the request where this end accepted the tunnel, of
    /// the response where it opened it. A copy, without `te`, `content-type` and
    /// `grpctunnel-negotiate`.
    #[must_use]
    pub fn metadata(&self) -> MetadataMap {
        MetadataMap::from_headers(self.inner.metadata().clone())
    }

    /// What the HTTP stack, and layers or interceptors above it, attached to the opening.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        self.inner.extensions()
    }

    /// The connection that the tunnel was opened on: addresses and certificates, where the server
    /// attached them. tonic's own server attaches a type of its own to the
    /// [`extensions`](Self::extensions).
    #[must_use]
    pub fn connect_info(&self) -> Option<&ConnectInfo> {
        self.inner.connect_info()
    }
}

impl From<grpctunnel_driver::TunnelPeer> for TunnelPeer {
    fn from(inner: grpctunnel_driver::TunnelPeer) -> Self {
        Self::new(inner)
    }
}
