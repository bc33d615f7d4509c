//! Mutual TLS, with certificates that are made here: the server learns who the client is, and the
//! client who the server is.
//!
//! `cargo run -p grpctunnel-tokio --features tls --example tls`

use std::error::Error;
use std::sync::Arc;

use grpctunnel_tokio::rustls::server::WebPkiClientVerifier;
use grpctunnel_tokio::rustls::{ClientConfig, RootCertStore, ServerConfig};
use grpctunnel_tokio::{Endpoint, Options, Server, TunnelPeer, TunnelServer, connect};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tonic::metadata::MetadataMap;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate that is its own authority, its key, and what trusts it.
fn own(name: &str) -> Result<(Own, RootCertStore), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let certificate = made.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    Ok(((vec![certificate], key), roots))
}

/// Lets those through whose tunnel was opened with a certificate.
fn known(request: Request<()>) -> Result<Request<()>, Status> {
    let peer = request.extensions().get::<TunnelPeer>();
    let shown = peer.and_then(|peer| peer.connect_info()?.peer_certificates.clone());
    let shown = shown.ok_or_else(|| Status::unauthenticated("no certificate"))?;
    println!(
        "server: a call of a client with {} certificate(s)",
        shown.len()
    );
    Ok(request)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    // Where several cryptographic libraries are linked, the process says which one it takes.
    let _ = default_provider().install_default();
    let ((certificate, key), server_roots) = own("localhost")?;
    let ((client_certificate, client_key), client_roots) = own("client")?;

    let verifier = WebPkiClientVerifier::builder(Arc::new(client_roots)).build()?;
    let tls = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificate, key)?;
    let (_, health) = health_reporter();
    let tunnels = TunnelServer::new().forward(InterceptedService::new(health, known));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    tokio::spawn(
        Server::new(tunnels)
            .with_tls(tls)
            .serve(listener, std::future::pending()),
    );

    let tls = ClientConfig::builder()
        .with_root_certificates(server_roots)
        .with_client_auth_cert(client_certificate, client_key)?;
    let carrier = Endpoint::new(&url)?.with_tls(tls).connect().await?;
    let channel = connect(carrier, &Options::default(), MetadataMap::new()).await?;
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel).check(request).await?;
    println!("client: status {}", answer.into_inner().status);
    Ok(())
}
