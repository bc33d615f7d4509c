//! The side of TLS that connects.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        client::Resumption,
        pki_types::{InvalidDnsNameError, ServerName},
    },
};

use super::{
    H2,
    error::{FileError, Problem, explain},
    observed::{Observing, Presented},
    pem, provider,
    remembering::Remembering,
    server::{pair_error, roots},
};

/// What a server is checked against, and what this end presents to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientFiles {
    /// The authorities of servers, as PEM. Without them those of the system are trusted.
    pub ca: Option<PathBuf>,
    /// The certificate of this end and its private key, as PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have, if not the host of its URL.
    pub server_name: Option<String>,
}

impl ClientFiles {
    /// Servers are checked against these authorities.
    #[must_use]
    pub fn trusting(ca: impl Into<PathBuf>) -> Self {
        Self {
            ca: Some(ca.into()),
            ..Self::default()
        }
    }

    /// Reads the files.
    pub(crate) fn load(&self) -> Result<ClientTls, FileError> {
        let roots = Arc::new(match &self.ca {
            Some(path) => roots(path)?,
            None => system_roots(),
        });
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|_| FileError::new(Path::new("TLS"), Problem::BadKey))?
            .with_root_certificates(Arc::clone(&roots));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = pem::certificates(cert)?;
                if let Some(leaf) = chain.first() {
                    pem::check_dates(cert, leaf)?;
                }
                builder
                    .with_client_auth_cert(chain, pem::key(key)?)
                    .map_err(|error| pair_error(&error, cert, key))?
            }
        };
        config.alpn_protocols = vec![H2.to_vec()];
        // Who resumes a session is not asked again for a certificate that may have changed.
        config.resumption = Resumption::disabled();
        Ok(ClientTls {
            config: Arc::new(config),
            roots,
            server_name: self.server_name.as_deref().map(Into::into),
        })
    }
}

/// The authorities that the system trusts, as far as they can be read.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// TLS as this end speaks it to servers, from files that were read once.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
    server_name: Option<Arc<str>>,
}

impl ClientTls {
    /// The same for one handshake, after which the server's certificate is found, also where it was
    /// refused.
    pub(crate) fn observed(self) -> (Self, Presented) {
        let presented = Presented::default();
        let verifier = Observing::new(&self.roots, presented.clone());
        let mut config = ClientConfig::clone(&self.config);
        let mut dangerous = config.dangerous();
        // It asks the verifier that it replaces.
        dangerous.set_certificate_verifier(Arc::new(verifier));
        let observed = Self {
            config: Arc::new(config),
            ..self
        };
        (observed, presented)
    }

    /// The handshake with the server at this host.
    pub(crate) async fn connect<T>(
        &self,
        host: &str,
        io: T,
    ) -> Result<Remembering<T>, HandshakeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let host = self.server_name.as_deref().unwrap_or(host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(HandshakeError::Name)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(name, io).await;
        let stream = stream.map_err(HandshakeError::Tls)?;
        match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Ok(Remembering::new(stream)),
            _ => Err(HandshakeError::NoHttp2),
        }
    }
}

/// Why there is no TLS with a server.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The host has no name that a certificate can have.
    Name(InvalidDnsNameError),
    /// The handshake failed.
    Tls(io::Error),
    /// The server does not speak HTTP/2.
    NoHttp2,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(_) => f.write_str("no certificate can have the name of this host"),
            Self::Tls(error) => {
                let inner = error.get_ref();
                match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(error) => f.write_str(&explain(error, "the server")),
                    None if error.kind() == io::ErrorKind::UnexpectedEof => {
                        f.write_str("the server ended the TLS handshake; does it speak TLS?")
                    }
                    None => f.write_str(&crate::words::io(error)),
                }
            }
            Self::NoHttp2 => {
                f.write_str("the server does not speak HTTP/2 over TLS (no ALPN protocol h2)")
            }
        }
    }
}

impl Error for HandshakeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::NoHttp2 => None,
        }
    }
}
