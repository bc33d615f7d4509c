//! What the adapter has beside the suite: TLS, and where connections come from.

use std::error::Error as _;
use std::net::TcpListener;
use std::sync::Arc;

use grpctunnel_async_std::{
    AsyncStdRuntime, ConnectInfo, DialError, Endpoint, Options, ReverseTunnel, Server, SmolRuntime,
    TunnelServer, async_std, connect, rustls, serve_reverse, smol,
};
use grpctunnel_tests::interop::calls::Calls;
use grpctunnel_tests::services::official;
use grpctunnel_tests::suite::Outcome;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;

/// A certificate for `localhost`, by an authority of its own.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn new() -> Outcome<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
        Ok(Self {
            chain: vec![made.cert.der().clone()],
            key,
        })
    }

    fn roots(&self) -> Outcome<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in &self.chain {
            roots.add(certificate.clone())?;
        }
        Ok(roots)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn client(roots: rustls::RootCertStore, own: Identity) -> Outcome<rustls::ClientConfig> {
    Ok(rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(own.chain, own.key)?)
}

fn server(roots: rustls::RootCertStore, own: Identity) -> Outcome<rustls::ServerConfig> {
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()?;
    Ok(rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(own.chain, own.key)?)
}

fn keep() -> (
    impl Fn(ReverseTunnel) -> std::future::Ready<()> + Send + Sync + 'static,
    mpsc::UnboundedReceiver<ReverseTunnel>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let keep = move |tunnel| {
        let _ = sender.send(tunnel);
        std::future::ready(())
    };
    (keep, receiver)
}

#[test]
fn tunnels_over_tls_with_certificates_of_both_ends() -> Outcome {
    ::async_std::task::block_on(async {
        let (near, far) = (Identity::new()?, Identity::new()?);
        let (near_roots, far_roots) = (near.roots()?, far.roots()?);
        let certificate = near.chain.first().cloned();
        let (keep, mut accepted) = keep();
        let tunnels = TunnelServer::<AsyncStdRuntime>::new()
            .forward(official())
            .reverse(keep);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let serving = Server::new(tunnels).with_tls(server(near_roots, far)?);
        ::async_std::task::spawn(serving.serve(listener, std::future::pending()));

        let runtime = async_std();
        let endpoint = Endpoint::<AsyncStdRuntime>::new(&url)?.with_tls(client(far_roots, near)?);
        let carrier = endpoint.connect().await?;
        let options = Options::default();
        let channel = connect(carrier.clone(), &runtime, &options, MetadataMap::new()).await?;
        let calls = Calls::extended(channel);
        calls.large().await?;
        calls.mixed(20).await?;
        let metadata = MetadataMap::new();
        let _handle = serve_reverse(carrier, official(), &runtime, &options, metadata).await?;
        let tunnel = accepted.recv().await.ok_or("no tunnel")?;
        let info = tunnel.extensions.get::<ConnectInfo>().ok_or("no info")?;
        let sent = info
            .peer_certificates
            .as_ref()
            .and_then(|certs| certs.first());
        assert_eq!(sent.map(AsRef::as_ref), certificate.as_deref());

        // A server that is not the one that is trusted.
        let stranger = Identity::new()?;
        let strange = client(stranger.roots()?, Identity::new()?)?;
        let strange = Endpoint::<AsyncStdRuntime>::new(&url)?.with_tls(strange);
        let refused = strange.connect().await;
        assert!(matches!(refused, Err(DialError::Tls { .. })), "{refused:?}");
        // TLS is spoken where plain HTTP/2 is asked for.
        let plain = url.replace("https", "http");
        let refused = Endpoint::<AsyncStdRuntime>::new(&plain)?.connect().await;
        assert!(
            matches!(refused, Err(DialError::Http2 { .. })),
            "{refused:?}"
        );
        Ok(())
    })
}

#[test]
fn https_without_a_configuration_says_what_to_do() -> Outcome {
    ::smol::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("https://{}", listener.local_addr()?);
        let refused = Endpoint::<SmolRuntime>::new(&url)?.connect().await;
        let error = refused.err().ok_or("no error")?;
        assert!(error.to_string().contains("with_tls"), "{error}");
        assert!(error.source().is_none());
        Ok(())
    })
}

#[test]
fn a_reverse_tunnel_tells_where_it_comes_from() -> Outcome {
    ::smol::block_on(async {
        let (keep, mut accepted) = keep();
        let tunnels = TunnelServer::<SmolRuntime>::new().reverse(keep);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        ::smol::spawn(Server::new(tunnels).serve(listener, std::future::pending())).detach();
        let runtime = smol();
        let carrier =
            grpctunnel_async_std::dial::<SmolRuntime>(&format!("http://{address}")).await?;
        let (options, metadata) = (Options::default(), MetadataMap::new());
        let _handle = serve_reverse(carrier, official(), &runtime, &options, metadata).await?;
        let tunnel = accepted.recv().await.ok_or("no tunnel")?;
        let info = tunnel.extensions.get::<ConnectInfo>().ok_or("no info")?;
        assert_eq!(info.local_addr, Some(address));
        let remote = info.remote_addr.ok_or("no address")?;
        assert!(remote.ip().is_loopback());
        Ok(())
    })
}
