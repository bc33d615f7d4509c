//! Who somebody is.

use std::{fmt, sync::Arc};

use crate::tls::PeerCertificate;

/// What nobody is called who did not have to say who they are.
const ANYBODY: &str = "anybody";

/// Who an agent or a caller is: by a token `token:NAME`, by a client certificate `cert:SAN` for
/// each of its names, by both at once. Clones are the same.
#[derive(Clone)]
pub(crate) struct Identity(Arc<Inner>);

struct Inner {
    /// At least one; the first is what it is called.
    names: Vec<String>,
    token: Option<String>,
    certificate: Option<Arc<PeerCertificate>>,
}

impl Identity {
    pub(crate) fn anybody() -> Self {
        Self(Arc::new(Inner {
            names: vec![ANYBODY.to_owned()],
            token: None,
            certificate: None,
        }))
    }

    pub(super) fn of_token(name: &str) -> Self {
        Self(Arc::new(Inner {
            names: vec![format!("token:{name}")],
            token: Some(name.to_owned()),
            certificate: None,
        }))
    }

    /// `None` if the certificate has no name that can stand for somebody.
    pub(crate) fn of_certificate(certificate: Arc<PeerCertificate>) -> Option<Self> {
        let names = certificate.names().iter();
        let names: Vec<_> = names.map(|name| format!("cert:{name}")).collect();
        (!names.is_empty()).then(|| {
            Self(Arc::new(Inner {
                names,
                token: None,
                certificate: Some(certificate),
            }))
        })
    }

    /// The same, with a certificate that was presented together with the token.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self(Arc::new(Inner {
            names: self.names().iter().chain(other.names()).cloned().collect(),
            token: self.0.token.clone(),
            certificate: other.0.certificate.clone(),
        }))
    }

    /// What it is known by.
    pub(crate) fn names(&self) -> &[String] {
        &self.0.names
    }

    pub(super) fn is_token(&self, name: &str) -> bool {
        self.0.token.as_deref() == Some(name)
    }

    /// Whether both are a token of the same name.
    pub(super) fn shares_token(&self, other: &Self) -> bool {
        self.0.token.is_some() && self.0.token == other.0.token
    }

    pub(super) fn has_token(&self) -> bool {
        self.0.token.is_some()
    }

    pub(super) fn certificate(&self) -> Option<&PeerCertificate> {
        self.0.certificate.as_deref()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join("+"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}
