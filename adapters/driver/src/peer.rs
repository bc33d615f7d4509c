//! Who is at the other end of a tunnel.

use std::sync::Arc;

use http::{Extensions, HeaderMap};

/// Who is at the other end of the tunnel that a call came through, in the call's
/// `http::Extensions`.
///
/// It comes from the opening of the tunnel alone, never from a call, so a caller on the tunnel
/// cannot forge it.
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
