//! The peer of a tunnel.

use std::sync::Arc;

use http::{Extensions, HeaderMap};

/// The peer of a tunnel. A handler finds it in the `http::Extensions` of a request.
///
/// It comes from the opening of the tunnel, never from a call, so callers cannot forge it.
#[derive(Clone, Debug)]
pub struct TunnelPeer {
    opening: Arc<(HeaderMap, Extensions)>,
}

impl TunnelPeer {
    pub(crate) fn new(metadata: HeaderMap, extensions: Extensions) -> Self {
        Self {
            opening: Arc::new((metadata, extensions)),
        }
    }

    /// The headers of the tunnel's opening: of the request where this end accepted the tunnel, of
    /// the response where it opened it.
    #[must_use]
    pub fn metadata(&self) -> &HeaderMap {
        &self.opening.0
    }

    /// What the HTTP stack attached to them: connection info, certificates.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.opening.1
    }
}
