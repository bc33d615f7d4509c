//! What a gateway refused, and which calls failed, for whoever has to account for it.

use std::{fmt, sync::Arc, time::Duration};

use grpctunnel_driver::Code;

use crate::{listener::Endpoint, metrics};

/// Something was refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// What kind of thing was refused.
    pub kind: RefusedKind,
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

/// What kind of thing was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedKind {
    /// A connection: its TLS handshake failed, or its identity has too many.
    Connection,
    /// A request that nobody proved to be allowed to make.
    Request,
    /// The opening of a tunnel.
    Tunnel,
    /// A call. It is told of as [`CallFailed`], too.
    Call,
}

impl RefusedKind {
    /// One word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Tunnel => "tunnel",
            Self::Call => "call",
        }
    }
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

/// A call ended with another code than OK. What a peer chose is as it chose it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallFailed {
    /// The agent that it was for, if that was found out.
    pub name: Option<String>,
    /// Where the caller is. At a gateway only.
    pub peer: Option<Endpoint>,
    /// Who the caller is: see [`Refused::identity`]. At a gateway only.
    pub identity: Option<String>,
    /// The path of its method.
    pub method: String,
    /// What it ended with; CANCELLED where the caller went away.
    pub code: Code,
    /// How long it took, from its head to its end.
    pub duration: Duration,
    /// The text of its status, or what the caller was not told.
    pub why: String,
}

/// Where refusals are noted. Clones note them at the same place.
#[derive(Clone)]
pub(crate) struct Audit(Arc<dyn Fn(Refused) + Send + Sync>);

impl Audit {
    pub(crate) fn new(note: impl Fn(Refused) + Send + Sync + 'static) -> Self {
        Self(Arc::new(note))
    }

    pub(crate) fn refused(&self, refused: Refused) {
        metrics::refused(refused.kind);
        (self.0)(refused);
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit(..)")
    }
}
