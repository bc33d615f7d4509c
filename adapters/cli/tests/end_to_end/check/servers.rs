//! Servers with something wrong, on loopback.

use std::{future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use crate::support::{Tested, pki::Pair};

/// Handles each connection by itself.
async fn serve<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Tested<SocketAddr>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    Ok(address)
}

/// A port that nobody listens on.
pub(super) async fn nobody() -> Tested<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(listener.local_addr()?)
}

/// A port at which packets vanish: the queue of its connections is full. It is one as long as the
/// result is held.
pub(super) async fn black_hole() -> Tested<(SocketAddr, (Socket, TcpStream))> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into())?;
    socket.listen(0)?;
    let address = socket.local_addr()?.as_socket().ok_or("no address")?;
    let first = TcpStream::connect(address).await?;
    Ok((address, (socket, first)))
}

/// Takes connections and says nothing.
pub(super) async fn silent() -> Tested<SocketAddr> {
    serve(|mut stream| async move {
        let mut read = [0; 1_024];
        while stream.read(&mut read).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

/// Ends each connection at once.
pub(super) async fn closing() -> Tested<SocketAddr> {
    serve(|stream| async move { drop(stream) }).await
}

/// Answers every request by HTTP/2 with this head.
pub(super) async fn http2(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
) -> Tested<SocketAddr> {
    serve(move |stream| {
        let answer = service_fn(move |_: Request<Incoming>| async move {
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::from_u16(status)?;
            for (name, value) in headers {
                response
                    .headers_mut()
                    .insert(*name, HeaderValue::from_static(value));
            }
            Ok::<_, http::Error>(response)
        });
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer)
    })
    .await
}

/// Speaks TLS, and nothing above it.
pub(super) async fn tls(
    pair: &Pair,
    alpn: &[&str],
    clients: Option<&std::path::Path>,
) -> Tested<SocketAddr> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(path)?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let chain = vec![CertificateDer::from_pem_file(&pair.cert)?];
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key)?)?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move {
            let mut read = [0; 1_024];
            if let Ok(mut stream) = accepting.await {
                while stream.read(&mut read).await.is_ok_and(|read| read > 0) {}
            }
        }
    })
    .await
}

/// Answers whatever it gets first with this line, as proxies and web servers of HTTP/1 do.
pub(super) async fn saying(line: &'static str) -> Tested<SocketAddr> {
    serve(move |mut stream| async move {
        let mut read = vec![0; 4_096];
        let _ = stream.read(&mut read).await;
        let _ = stream.write_all(line.as_bytes()).await;
        // What is unread would take the answer with it.
        while stream.read(&mut read).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

/// What stands between, and ends every connection when it is told to.
pub(super) async fn between(to: SocketAddr) -> Tested<(SocketAddr, watch::Sender<bool>)> {
    let (cut, cuts) = watch::channel(false);
    let address = serve(move |mut from| {
        let mut cuts = cuts.clone();
        async move {
            let Ok(mut to) = TcpStream::connect(to).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut from, &mut to) => {}
                _ = cuts.wait_for(|cut| *cut) => {}
            }
        }
    })
    .await?;
    Ok((address, cut))
}
