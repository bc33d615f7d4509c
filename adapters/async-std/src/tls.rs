//! TLS with rustls on async-io, for a [`TlsNetwork`](grpctunnel_tonic::TlsNetwork).

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use async_io::Async;
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::{ClientConfig, ServerConfig};
use futures_rustls::{TlsAcceptor, TlsConnector, client, server};
use grpctunnel_tonic::Handshake;

use crate::io::FuturesIo;
use crate::tcp::TcpIo;

/// TLS of the end that connected.
pub type ClientIo = FuturesIo<client::TlsStream<Async<TcpStream>>>;
/// TLS of the end that accepted.
pub type ServerIo = FuturesIo<server::TlsStream<Async<TcpStream>>>;

/// The handshake of the end that connected.
///
/// # Errors
/// If it fails.
pub async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpIo,
) -> io::Result<Handshake<ClientIo>> {
    let connecting = TlsConnector::from(config).connect(name, stream.into_inner());
    let stream = FuturesIo::new(connecting.await?);
    Ok(Handshake::new(stream, |stream| {
        stream.get_ref().get_ref().1
    }))
}

/// The handshake of the end that accepted.
///
/// # Errors
/// If it fails.
pub async fn accept(config: Arc<ServerConfig>, stream: TcpIo) -> io::Result<Handshake<ServerIo>> {
    let accepting = TlsAcceptor::from(config).accept(stream.into_inner());
    let stream = FuturesIo::new(accepting.await?);
    Ok(Handshake::new(stream, |stream| {
        stream.get_ref().get_ref().1
    }))
}
