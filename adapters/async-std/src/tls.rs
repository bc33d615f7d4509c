//! TLS with rustls.

use std::io;
use std::sync::Arc;

use async_io::Async;
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::{ClientConfig, ServerConfig};
use futures_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::error::DialError;

const H2: &[u8] = b"h2";

type Tcp = Async<std::net::TcpStream>;

pub(crate) fn client_config(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![H2.to_vec()];
    Arc::new(config)
}

pub(crate) fn server_config(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![H2.to_vec()];
    Arc::new(config)
}

pub(crate) async fn connect(
    config: Arc<ClientConfig>,
    host: &str,
    tcp: Tcp,
) -> Result<client::TlsStream<Tcp>, DialError> {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host)
        .map_err(|_| DialError::Uri("the host has no name that a certificate can have".into()))?;
    let stream = TlsConnector::from(config).connect(name, tcp).await;
    let stream = stream.map_err(DialError::Tls)?;
    if stream.get_ref().1.alpn_protocol() != Some(H2) {
        return Err(DialError::Tls(no_http2()));
    }
    Ok(stream)
}

pub(crate) async fn accept(
    config: Arc<ServerConfig>,
    tcp: Tcp,
) -> io::Result<server::TlsStream<Tcp>> {
    let stream = TlsAcceptor::from(config).accept(tcp).await?;
    if stream.get_ref().1.alpn_protocol() != Some(H2) {
        return Err(no_http2());
    }
    Ok(stream)
}

fn no_http2() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the peer did not agree on HTTP/2 (no ALPN protocol `h2`)",
    )
}
