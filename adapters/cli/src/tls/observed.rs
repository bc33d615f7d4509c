//! A handshake that keeps the server's certificate, also where it is refused: to tell what is wrong
//! with it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{error::Moment, pem, provider};

/// Where the certificate of a server is found, once it has presented one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presented(Arc<OnceLock<CertificateDer<'static>>>);

impl Presented {
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.0.get().and_then(Certificate::read)
    }
}

/// What a certificate says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    names: Vec<String>,
    issuer: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Certificate {
    fn read(der: &CertificateDer<'static>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter().filter_map(name));
        let validity = certificate.validity();
        Some(Self {
            names: names.into_iter().flatten().collect(),
            issuer: plain(&certificate.issuer().to_string()),
            not_before: pem::moment(validity.not_before),
            not_after: pem::moment(validity.not_after),
        })
    }

    /// Days until it expires; none where it has.
    pub(crate) fn days_left(&self) -> Option<u64> {
        let left = self.not_after.duration_since(SystemTime::now());
        left.ok().map(|left| left.as_secs() / (24 * 3_600))
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, issuer, .. } = self;
        let names = match names.is_empty() {
            true => "no name".to_owned(),
            false => names.join(", "),
        };
        let (from, until) = (Moment(self.not_before), Moment(self.not_after));
        write!(
            f,
            "a certificate for {names}, issued by {issuer}, valid from {from} until {until}"
        )
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(plain(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// What a peer wrote, in one line.
fn plain(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).collect()
}

/// Checks as always, and keeps what is checked.
#[derive(Debug)]
pub(super) struct Observing {
    inner: Option<Arc<WebPkiServerVerifier>>,
    presented: Presented,
}

impl Observing {
    pub(super) fn new(roots: &Arc<RootCertStore>, presented: Presented) -> Self {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider());
        Self {
            // Without a single authority there is no verifier, and nothing is trusted.
            inner: builder.build().ok(),
            presented,
        }
    }

    fn inner(&self) -> Result<&WebPkiServerVerifier, TlsError> {
        let unknown = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        self.inner.as_deref().ok_or(unknown)
    }
}

impl ServerCertVerifier for Observing {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        // A handshake has one certificate of a server.
        let _ = self.presented.0.set(end_entity.clone().into_owned());
        self.inner()?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
