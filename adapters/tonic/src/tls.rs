//! TLS with rustls, whose cryptography is that of the configurations that it is given.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::rt::{Read, Write};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};

use crate::network::Network;

/// Any transport.
pub(crate) trait Io: Read + Write + Unpin + Send {}

impl<T: Read + Write + Unpin + Send> Io for T {}

pub(crate) type BoxIo = Box<dyn Io>;

/// The ALPN protocol of HTTP/2.
const H2: &[u8] = b"h2";

/// A network with TLS.
pub trait TlsNetwork: Network {
    /// A connection of the end that connected.
    type ClientStream: Read + Write + Unpin + Send + 'static;
    /// A connection of the end that accepted.
    type ServerStream: Read + Write + Unpin + Send + 'static;

    /// The handshake of the end that connected, and the ALPN protocol that was agreed.
    fn tls_connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        stream: Self::Stream,
    ) -> impl Future<Output = io::Result<Handshake<Self::ClientStream>>> + Send;

    /// The handshake of the end that accepted.
    fn tls_accept(
        config: Arc<ServerConfig>,
        stream: Self::Stream,
    ) -> impl Future<Output = io::Result<Handshake<Self::ServerStream>>> + Send;
}

/// What a handshake ended with.
#[derive(Debug)]
pub struct Handshake<T> {
    stream: T,
    is_http2: bool,
    certificates: Option<Arc<[Bytes]>>,
}

impl<T> Handshake<T> {
    /// Of a connection's stream. `connection` is where rustls says what was agreed on it.
    pub fn new(stream: T, connection: impl FnOnce(&T) -> &rustls::CommonState) -> Self {
        let of = |certificate: &CertificateDer<'_>| Bytes::copy_from_slice(certificate);
        let agreed = connection(&stream);
        let is_http2 = agreed.alpn_protocol() == Some(H2);
        let certificates = agreed.peer_certificates();
        let certificates = certificates.map(|chain| chain.iter().map(of).collect());
        Self {
            stream,
            is_http2,
            certificates,
        }
    }

    fn check(self) -> io::Result<Self> {
        if self.is_http2 {
            return Ok(self);
        }
        let text = "the peer did not agree on HTTP/2 (no ALPN protocol `h2`)";
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

type Handshaking<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Makes TLS on a connection to a host.
pub(crate) type Connector<N> =
    Arc<dyn Fn(&str, <N as Network>::Stream) -> Handshaking<BoxIo> + Send + Sync>;

pub(crate) fn connector<N: TlsNetwork>(mut config: ClientConfig) -> Connector<N> {
    config.alpn_protocols = vec![H2.to_vec()];
    let config = Arc::new(config);
    Arc::new(move |host, stream| {
        let config = Arc::clone(&config);
        let name = ServerName::try_from(host.to_owned());
        Box::pin(async move {
            let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let handshake = N::tls_connect(config, name, stream).await?.check()?;
            Ok(Box::new(handshake.stream) as BoxIo)
        })
    })
}

/// A connection that was accepted, and its client's certificates.
pub(crate) type Accepted = (BoxIo, Option<Arc<[Bytes]>>);

/// Makes TLS on a connection that was accepted.
pub(crate) type Acceptor<N> =
    Arc<dyn Fn(<N as Network>::Stream) -> Handshaking<Accepted> + Send + Sync>;

pub(crate) fn acceptor<N: TlsNetwork>(mut config: ServerConfig) -> Acceptor<N> {
    config.alpn_protocols = vec![H2.to_vec()];
    let config = Arc::new(config);
    Arc::new(move |stream| {
        let config = Arc::clone(&config);
        Box::pin(async move {
            let handshake = N::tls_accept(config, stream).await?.check()?;
            Ok((Box::new(handshake.stream) as BoxIo, handshake.certificates))
        })
    })
}

/// A configuration that trusts what the platform trusts.
#[cfg(feature = "tls-native-roots")]
pub(crate) fn native_roots() -> io::Result<ClientConfig> {
    use rustls::crypto::{CryptoProvider, ring};

    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let text = "the platform has no certificates of authorities";
        let cause = loaded.errors.into_iter().next();
        return Err(cause.map_or_else(|| io::Error::other(text), io::Error::other));
    }
    let default = CryptoProvider::get_default().cloned();
    let provider = default.unwrap_or_else(|| Arc::new(ring::default_provider()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
