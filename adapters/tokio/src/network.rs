//! tokio's TCP, and TLS on it.

use std::io;

use grpctunnel_driver::ConnectInfo;
use grpctunnel_tonic::Network;
use grpctunnel_tonic::tcp::tune;
use http::{Extensions, Uri};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::TcpConnectInfo;
use tower_service::Service;

use crate::runtime::EnteredRuntime;
use crate::tcp;

impl Network for EnteredRuntime {
    type Listener = TcpListener;
    type Acceptor = TcpListener;
    type Stream = TokioIo<TcpStream>;

    async fn connect(host: &str, port: u16) -> io::Result<Self::Stream> {
        let authority = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let uri = Uri::builder().scheme("http").authority(authority);
        let uri = uri.path_and_query("/").build().map_err(invalid)?;
        tcp::connector().call(uri).await.map_err(io::Error::other)
    }

    fn listen(listener: TcpListener) -> io::Result<TcpListener> {
        Ok(listener)
    }

    async fn accept(listener: &TcpListener) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        // What cannot be set makes a connection slower, or noticed later when it is dead.
        let _ = tune(&SockRef::from(&stream));
        Ok(TokioIo::new(stream))
    }

    fn connect_info(stream: &Self::Stream) -> ConnectInfo {
        let mut info = ConnectInfo::default();
        info.local_addr = stream.inner().local_addr().ok();
        info.remote_addr = stream.inner().peer_addr().ok();
        info
    }

    /// What tonic's `Request::remote_addr` looks for.
    fn attach(info: &ConnectInfo, extensions: &mut Extensions) {
        extensions.insert(TcpConnectInfo {
            local_addr: info.local_addr,
            remote_addr: info.remote_addr,
        });
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::io;
    use std::sync::Arc;

    use grpctunnel_tonic::{Handshake, TlsNetwork};
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpStream;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, ServerConfig};
    use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

    use crate::runtime::EnteredRuntime;

    impl TlsNetwork for EnteredRuntime {
        type ClientStream = TokioIo<client::TlsStream<TcpStream>>;
        type ServerStream = TokioIo<server::TlsStream<TcpStream>>;

        async fn tls_connect(
            config: Arc<ClientConfig>,
            name: ServerName<'static>,
            stream: TokioIo<TcpStream>,
        ) -> io::Result<Handshake<Self::ClientStream>> {
            let connecting = TlsConnector::from(config).connect(name, stream.into_inner());
            let stream = TokioIo::new(connecting.await?);
            Ok(Handshake::new(stream, |stream| stream.inner().get_ref().1))
        }

        async fn tls_accept(
            config: Arc<ServerConfig>,
            stream: TokioIo<TcpStream>,
        ) -> io::Result<Handshake<Self::ServerStream>> {
            let accepting = TlsAcceptor::from(config).accept(stream.into_inner());
            let stream = TokioIo::new(accepting.await?);
            Ok(Handshake::new(stream, |stream| stream.inner().get_ref().1))
        }
    }
}
