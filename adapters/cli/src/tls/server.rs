//! The side of TLS that accepts.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_rustls::{
    TlsAcceptor, TlsStream,
    rustls::{
        self, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, UnixTime},
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{
    H2, HTTP1,
    error::{FileError, Problem, explain},
    pem,
    plaintext::{answer_plaintext, linger},
    provider,
};
use crate::listener::Stream;

/// How long a client is given to read why the handshake failed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where the certificate and the key of a listener are, and what clients are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerFiles {
    /// The certificate, with the intermediate ones behind it, as PEM.
    pub cert: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, as PEM. Without them clients present none.
    pub client_ca: Option<PathBuf>,
    /// Revocation lists of these authorities, as PEM.
    pub client_crl: Option<PathBuf>,
}

impl ServerFiles {
    /// TLS with this certificate and key, without client certificates.
    #[must_use]
    pub const fn new(cert: PathBuf, key: PathBuf) -> Self {
        Self {
            cert,
            key,
            client_ca: None,
            client_crl: None,
        }
    }

    /// Reads the files. `certificate_required` says whether a client without a certificate is
    /// turned away in the handshake.
    pub(crate) fn load(&self, certificate_required: bool) -> Result<ServerTls, FileError> {
        let chain = pem::certificates(&self.cert)?;
        let key = pem::key(&self.key)?;
        if let Some(leaf) = chain.first() {
            pem::check_dates(&self.cert, leaf)?;
        }
        let verifier = self.verifier(certificate_required)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|_| FileError::new(&self.cert, Problem::BadCertificate))?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| pair_error(&error, &self.cert, &self.key))?;
        config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        // A session that is resumed would skip the check of the client's certificate.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(ServerTls {
            config: Arc::new(config),
            verifier,
        })
    }

    fn verifier(
        &self,
        certificate_required: bool,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, FileError> {
        let Some(path) = &self.client_ca else {
            return Ok(None);
        };
        let roots = Arc::new(roots(path)?);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if let Some(path) = &self.client_crl {
            builder = builder
                .with_crls(pem::revocation_lists(path)?)
                .allow_unknown_revocation_status();
        }
        if !certificate_required {
            builder = builder.allow_unauthenticated();
        }
        let at_fault = self.client_crl.as_ref().unwrap_or(path);
        let built = builder.build();
        built
            .map(Some)
            .map_err(|_| FileError::new(at_fault, Problem::BadCertificate))
    }
}

/// The authorities in a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for authority in pem::certificates(path)? {
        let added = roots.add(authority);
        added.map_err(|_| FileError::new(path, Problem::BadCertificate))?;
    }
    Ok(roots)
}

/// What is wrong with a certificate and its key.
pub(super) fn pair_error(error: &rustls::Error, cert: &Path, key: &Path) -> FileError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            FileError::new(key, Problem::OtherKey(cert.to_owned()))
        }
        rustls::Error::InvalidCertificate(_) => FileError::new(cert, Problem::BadCertificate),
        _ => FileError::new(key, Problem::BadKey),
    }
}

/// TLS as a listener speaks it, from files that were read once.
#[derive(Clone)]
pub(crate) struct ServerTls {
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("clients", &self.verifier.is_some())
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Whether a certificate that was presented before is good by the files as they are. Its dates
    /// were checked then.
    pub(crate) fn trusts(&self, certificate: &PeerCertificate) -> bool {
        let Some((leaf, intermediates)) = certificate.chain.split_first() else {
            return false;
        };
        let verifier = self.verifier.as_ref();
        let checked = verifier.map(|verifier| {
            verifier.verify_client_cert(leaf, intermediates, certificate.presented)
        });
        matches!(checked, Some(Ok(_)))
    }
}

/// The handshake with a client, and the certificate that it presented. Who speaks plaintext is told
/// that this port does not.
///
/// The error is why there is no TLS, in one line.
pub(crate) async fn accept(
    tls: &ServerTls,
    mut stream: Stream,
) -> Result<(TlsStream<Stream>, Option<PeerCertificate>), String> {
    match answer_plaintext(&mut stream).await {
        Ok(false) => {}
        Ok(true) => return Err("it speaks plaintext, and this port speaks TLS".to_owned()),
        Err(error) => return Err(ended(&error)),
    }
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((error, mut stream)) => {
            let why = ended(&error);
            // The peer may be gone; then there is nothing to wait for.
            let _ = tokio::time::timeout(FAREWELL, linger(&mut stream)).await;
            return Err(why);
        }
    };
    let chain = stream.get_ref().1.peer_certificates();
    let certificate = chain.and_then(PeerCertificate::new);
    Ok((stream.into(), certificate))
}

fn ended(error: &io::Error) -> String {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => explain(error, "the client"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the client left during the TLS handshake".to_owned()
        }
        None => crate::words::io(error),
    }
}

/// The certificate that a client presented, and its authority vouched for.
#[derive(Debug)]
pub(crate) struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    presented: UnixTime,
    names: Vec<String>,
}

impl PeerCertificate {
    fn new(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let names = subject_names(chain.first()?);
        Some(Self {
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            presented: UnixTime::now(),
            names,
        })
    }

    /// Its subject alternative names: DNS names, URIs and mail addresses.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// The subject alternative names of a certificate that can stand for somebody. One with anything
/// but printable ASCII in it stands for nobody.
fn subject_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::URI(name) | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
            _ => None,
        });
    let is_plain =
        |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    let names: BTreeSet<_> = names.filter(is_plain).collect();
    names.into_iter().collect()
}
