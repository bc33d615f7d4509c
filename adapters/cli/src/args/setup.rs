//! What a command line leaves to be read before a command can begin: credentials.

use std::fmt;

use crate::{
    agent::Agent,
    auth::{CredentialSettings, Credentials},
    dial::DialSettings,
    origin::Origin,
    tls::FileError,
};

/// The settings of an agent, with credentials that still have to be read.
#[derive(Debug)]
pub struct AgentSettings {
    /// Everything else.
    pub agent: Agent,
    /// What is presented to gateways.
    pub credentials: CredentialSettings,
    /// What is presented to local servers.
    pub local_credentials: CredentialSettings,
    /// Whether tokens may be presented where they can be read on the way.
    pub insecure: bool,
}

impl AgentSettings {
    /// Reads the credentials.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or when a token could be read on its way.
    pub fn load(self) -> Result<Agent, SetupError> {
        let (gateways, locals) = (Credentials::default(), Credentials::default());
        self.reload(&gateways, &locals)?;
        Ok(Agent {
            credentials: gateways,
            local_credentials: locals,
            ..self.agent
        })
    }

    /// Reads them again, for connections that are made from now on. What is wrong changes nothing.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn reload(&self, gateways: &Credentials, locals: &Credentials) -> Result<(), SetupError> {
        if !self.insecure {
            let served = self.agent.served.iter();
            check_way(&self.credentials, &self.agent.gateways)?;
            check_way(&self.local_credentials, served.map(|served| &served.local))?;
        }
        // Both or none.
        Credentials::load(&self.local_credentials)?;
        gateways.reload(&self.credentials)?;
        locals.reload(&self.local_credentials)?;
        Ok(())
    }
}

/// The settings of a dialled port, with credentials that still have to be read.
#[derive(Debug)]
pub struct PortSettings {
    /// Everything else.
    pub dial: DialSettings,
    /// What is presented to the server.
    pub credentials: CredentialSettings,
}

impl PortSettings {
    /// Reads the credentials.
    ///
    /// # Errors
    ///
    /// As [`AgentSettings::load`].
    pub fn load(self) -> Result<DialSettings, SetupError> {
        let credentials = Credentials::default();
        self.reload(&credentials)?;
        Ok(DialSettings {
            credentials,
            ..self.dial
        })
    }

    /// Reads them again, for connections that are made from now on. What is wrong changes nothing.
    ///
    /// # Errors
    ///
    /// As [`AgentSettings::load`].
    pub fn reload(&self, credentials: &Credentials) -> Result<(), SetupError> {
        if !self.dial.insecure {
            check_way(&self.credentials, [&self.dial.server])?;
        }
        credentials.reload(&self.credentials)?;
        Ok(())
    }
}

/// Refuses to present a token where it can be read on the way.
pub(super) fn check_way<'o>(
    credentials: &CredentialSettings,
    servers: impl IntoIterator<Item = &'o Origin>,
) -> Result<(), SetupError> {
    if credentials.token.is_none() {
        return Ok(());
    }
    let is_readable = |server: &&Origin| !server.is_tls() && !server.is_local();
    match servers.into_iter().find(is_readable) {
        Some(server) => Err(SetupError::TokenInPlaintext(server.clone())),
        None => Ok(()),
    }
}

/// Why a command cannot begin.
#[derive(Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// A file is wrong.
    File(FileError),
    /// A token would be readable on the way to this server.
    TokenInPlaintext(Origin),
}

impl From<FileError> for SetupError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::TokenInPlaintext(server) => write!(
                f,
                "the token could be read on the way to {server}; use https://, or say --insecure"
            ),
        }
    }
}

impl std::error::Error for SetupError {}
