//! What an agent, a dialled port or the way to a local server presents, and whom it trusts.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use http::HeaderValue;

use super::token::{Secret, TokenSource};
use crate::tls::{ClientFiles, ClientTls, FileError};

/// What is presented to a server, and what the server is checked against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CredentialSettings {
    /// TLS, for servers whose URL begins with `https`.
    pub tls: ClientFiles,
    /// The token that is presented. Default: none.
    pub token: Option<TokenSource>,
}

#[derive(Debug)]
struct Loaded {
    tls: ClientTls,
    token: Option<Secret>,
}

impl Loaded {
    fn load(settings: &CredentialSettings) -> Result<Self, FileError> {
        let token = settings.token.as_ref();
        Ok(Self {
            tls: settings.tls.load()?,
            token: token.map(TokenSource::load).transpose()?,
        })
    }
}

/// [`CredentialSettings`] that were read from their files. Clones are the same.
#[derive(Clone, Default)]
pub struct Credentials(Arc<RwLock<Option<Arc<Loaded>>>>);

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or used.
    pub fn load(settings: &CredentialSettings) -> Result<Self, FileError> {
        let credentials = Self::default();
        credentials.reload(settings)?;
        Ok(credentials)
    }

    /// Reads files again, for connections and tunnels that are opened from now on. What is wrong
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn reload(&self, settings: &CredentialSettings) -> Result<(), FileError> {
        let loaded = Arc::new(Loaded::load(settings)?);
        // What is behind the lock is replaced as a whole.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
        Ok(())
    }

    fn loaded(&self) -> Option<Arc<Loaded>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// TLS as of this moment.
    pub(crate) fn tls(&self) -> Result<ClientTls, FileError> {
        match self.loaded() {
            Some(loaded) => Ok(loaded.tls.clone()),
            None => ClientFiles::default().load(),
        }
    }

    /// The metadata that presents the token of this moment.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        self.loaded()?.token.as_ref().map(Secret::header)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}
