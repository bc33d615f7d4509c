//! What a gateway refused, for whoever has to account for it.

use std::{fmt, sync::Arc};

use crate::listener::Endpoint;

/// Something was refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Who asked, by address.
    pub peer: Endpoint,
    /// Who asked, by name: `token:NAME`, or `cert:SAN` for each name of a certificate, with `+`
    /// between them. `None` where nobody proved to be anybody.
    pub identity: Option<String>,
    /// What was asked for.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.identity.as_deref().unwrap_or("unknown");
        let Self {
            peer, what, why, ..
        } = self;
        write!(f, "refused {what} from {peer} ({identity}): {why}")
    }
}

/// Where refusals are noted. Clones note them at the same place.
#[derive(Clone)]
pub(crate) struct Audit(Arc<dyn Fn(Refused) + Send + Sync>);

impl Audit {
    pub(crate) fn new(note: impl Fn(Refused) + Send + Sync + 'static) -> Self {
        Self(Arc::new(note))
    }

    pub(crate) fn refused(&self, refused: Refused) {
        (self.0)(refused);
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit(..)")
    }
}
