//! TLS and mutual TLS, through this crate's own types and through tonic's.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grpctunnel_tokio::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use grpctunnel_tokio::rustls::server::WebPkiClientVerifier;
use grpctunnel_tokio::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use grpctunnel_tokio::{
    Channel, DialError, Endpoint, Options, ReverseTunnel, Server, TunnelServer, connect,
    serve_reverse, tonic_transport,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A certificate for `localhost`, which is its own authority.
struct Own {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Own {
    fn new() -> Outcome<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        Ok(Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der())?,
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        })
    }

    fn roots(&self) -> Outcome<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Ok(roots)
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate_pem, &self.key_pem)
    }

    fn authority(&self) -> Certificate {
        Certificate::from_pem(&self.certificate_pem)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(::rustls::crypto::ring::default_provider())
}

/// Trusts `server`, and shows `own` if there is one.
fn client_config(server: &Own, own: Option<&Own>) -> Outcome<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(server.roots()?);
    Ok(match own {
        Some(own) => {
            config.with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())?
        }
        None => config.with_no_client_auth(),
    })
}

/// Asks for a certificate of `client`, if there is one.
fn server_config(own: &Own, client: Option<&Own>) -> Outcome<ServerConfig> {
    let config =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let config = match client {
        Some(client) => {
            let roots = Arc::new(client.roots()?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            config.with_client_cert_verifier(verifier.build()?)
        }
        None => config.with_no_client_auth(),
    };
    Ok(config.with_single_cert(vec![own.certificate.clone()], own.key.clone_key())?)
}

async fn in_time(test: impl Future<Output = Outcome>) -> Outcome {
    let limit = Duration::from_secs(20);
    match tokio::time::timeout(limit, test).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no tunnel over TLS, or no answer on it, within {limit:?}").into()),
    }
}

async fn listen() -> Outcome<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    Ok((listener, url))
}

fn tunnels() -> (
    TunnelServer<impl grpctunnel_tokio::Handler + Sync>,
    mpsc::UnboundedReceiver<ReverseTunnel>,
) {
    let (sender, accepted) = mpsc::unbounded_channel();
    let (_, health) = health_reporter();
    let tunnels = TunnelServer::new()
        .forward(Routes::new(health))
        .reverse(move |tunnel| {
            let _ = sender.send(tunnel);
            std::future::ready(())
        });
    (tunnels, accepted)
}

async fn check(channel: Channel) -> Outcome {
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel).check(request).await?;
    assert_eq!(answer.into_inner().status, 1);
    Ok(())
}

/// A tunnel in each direction on a connection of ours, and what the accepted one was opened with.
async fn both_ways(
    endpoint: Endpoint,
    accepted: &mut mpsc::UnboundedReceiver<ReverseTunnel>,
) -> Outcome<ReverseTunnel> {
    let carrier = endpoint.connect().await?;
    let options = Options::default();
    check(connect(carrier.clone(), &options, MetadataMap::new()).await?).await?;
    let (_, health) = health_reporter();
    let handle = serve_reverse(carrier, health, &options, MetadataMap::new()).await?;
    let tunnel = accepted.recv().await.ok_or("no tunnel")?;
    check(tunnel.channel.clone()).await?;
    handle.close();
    Ok(tunnel)
}

#[tokio::test]
async fn tunnels_over_tls_with_and_without_a_certificate_of_the_client() -> Outcome {
    in_time(async {
        let (near, far) = (Own::new()?, Own::new()?);
        for client in [None, Some(&near)] {
            let (listener, url) = listen().await?;
            let (tunnels, mut accepted) = tunnels();
            let server = Server::new(tunnels).with_tls(server_config(&far, client)?);
            tokio::spawn(server.serve(listener, std::future::pending()));
            let endpoint = Endpoint::new(&url)?.with_tls(client_config(&far, client)?);
            let tunnel = both_ways(endpoint, &mut accepted).await?;
            let info = tunnel.extensions.get::<grpctunnel_tokio::ConnectInfo>();
            let info = info.ok_or("no connection info")?;
            assert!(info.remote_addr.is_some());
            let shown = info
                .peer_certificates
                .as_ref()
                .and_then(|chain| chain.first());
            let expected = client.map(|own| own.certificate.as_ref());
            assert_eq!(shown.map(AsRef::as_ref), expected);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_connection_that_is_not_trusted_is_not_made() -> Outcome {
    in_time(async {
        let (own, stranger) = (Own::new()?, Own::new()?);
        let (listener, url) = listen().await?;
        let server = Server::new(tunnels().0).with_tls(server_config(&own, None)?);
        tokio::spawn(server.serve(listener, std::future::pending()));

        // The server is not the one that is trusted.
        let endpoint = Endpoint::new(&url)?.with_tls(client_config(&stranger, None)?);
        let error = endpoint.connect().await.err().ok_or("no error")?;
        assert!(matches!(error, DialError::Tls { .. }), "{error:?}");
        // It does not have the name that is asked for.
        let other_name = url.replace("localhost", "127.0.0.1");
        let endpoint = Endpoint::new(&other_name)?.with_tls(client_config(&own, None)?);
        let error = endpoint.connect().await.err().ok_or("no error")?;
        assert!(matches!(error, DialError::Tls { .. }), "{error:?}");
        // It speaks TLS, and plain HTTP/2 is asked for.
        let plain = Endpoint::new(&url.replace("https", "http"))?
            .connect()
            .await;
        let error = plain.err().ok_or("no error")?;
        assert!(matches!(error, DialError::Http2 { .. }), "{error:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_takes_no_tunnel_without() -> Outcome {
    in_time(async {
        let (near, far) = (Own::new()?, Own::new()?);
        let (listener, url) = listen().await?;
        let server = Server::new(tunnels().0).with_tls(server_config(&far, Some(&near))?);
        tokio::spawn(server.serve(listener, std::future::pending()));
        let endpoint = Endpoint::new(&url)?.with_tls(client_config(&far, None)?);
        // With TLS 1.3 the client learns it with the first answer of the server, or later.
        let opened = match endpoint.connect().await {
            Ok(carrier) => connect(carrier, &Options::default(), MetadataMap::new())
                .await
                .err(),
            Err(_) => return Ok(()),
        };
        let error = opened.ok_or("the tunnel was opened")?;
        assert_eq!(error.code(), grpctunnel_tokio::Code::Unavailable, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn tunnels_over_mutual_tls_of_tonics_own_types() -> Outcome {
    in_time(async {
        let (near, far) = (Own::new()?, Own::new()?);
        let (listener, url) = listen().await?;
        let (tunnels, mut accepted) = tunnels();
        let tls = ServerTlsConfig::new()
            .identity(far.identity())
            .client_ca_root(near.authority());
        let server = tonic_transport::server()
            .tls_config(tls)?
            .add_service(tunnels);
        tokio::spawn(server.serve_with_incoming(tonic_transport::incoming(listener)));

        // Both ends' HTTP/2 is tonic's.
        let tls = ClientTlsConfig::new()
            .ca_certificate(far.authority())
            .identity(near.identity());
        let endpoint = tonic_transport::endpoint(url.clone())?.tls_config(tls)?;
        let carrier = tonic_transport::dial(&endpoint).await?;
        let options = Options::default();
        check(connect(carrier, &options, MetadataMap::new()).await?).await?;

        // One end's is ours.
        let endpoint = Endpoint::new(&url)?.with_tls(client_config(&far, Some(&near))?);
        let tunnel = both_ways(endpoint, &mut accepted).await?;
        let info = tunnel.extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
        let shown = info
            .and_then(TlsConnectInfo::peer_certs)
            .ok_or("no certificates")?;
        assert_eq!(shown.first(), Some(&near.certificate));
        Ok(())
    })
    .await
}
