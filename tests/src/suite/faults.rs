//! Peers that do not do as they should.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use grpctunnel_driver::{Code, Options};
use grpctunnel_http2::{Keepalive, Settings};
use grpctunnel_tonic::{TunnelServer, connect, serve_reverse};
use tonic::metadata::MetadataMap;

use super::calls::endless;
use super::peers::{Proxy, in_thread};
use super::{Ends, Outcome, SOON, Server, forward, open, open_on, run, runtime};
use crate::interop::calls::Calls;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::services::official;

/// # Errors
/// Where it fails.
pub fn a_server_that_takes_no_tunnels_says_so<E: Ends>() -> Outcome {
    run::<E>(async {
        let server = Server::start::<E, _>(TunnelServer::new())?;
        let carrier = E::dial(server.url(), Settings::tunnels()).await?;
        let (runtime, options) = (runtime::<E>(), Options::default());
        let metadata = MetadataMap::new();
        let refused = connect(carrier.clone(), &runtime, &options, metadata.clone()).await;
        let error = refused.err().ok_or("no error")?;
        assert_eq!(error.code(), Code::Unimplemented);
        let refused = serve_reverse(carrier, official(), &runtime, &options, metadata).await;
        let error = refused.err().ok_or("no error")?;
        assert_eq!(error.code(), Code::Unimplemented);
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn a_server_that_says_nothing_is_given_up<E: Ends>() -> Outcome {
    run::<E>(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut settings = Settings::tunnels();
        settings.handshake_timeout = SOON;
        let error = E::dial(url, settings).await.err().ok_or("no error")?;
        let text = chain(error.as_ref());
        assert!(text.contains("did not speak HTTP/2 within"), "{text}");
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn a_client_that_says_nothing_is_sent_away<E: Ends>() -> Outcome {
    run::<E>(async {
        let mut settings = Settings::tunnels();
        settings.handshake_timeout = SOON;
        let server = Server::start_with::<E, _>(forward::<E>(Options::default()), settings, SOON)?;
        let address = server.address;
        in_thread(move || {
            let mut client = TcpStream::connect(address)?;
            client.set_read_timeout(Some(super::LIMIT))?;
            to_the_end(&mut client)
        })
        .await?
    })
}

/// # Errors
/// Where it fails.
pub fn a_server_outlives_clients_that_speak_no_http2<E: Ends>() -> Outcome {
    run::<E>(async {
        let server = Server::start::<E, _>(forward::<E>(Options::default()))?;
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            let address = server.address;
            in_thread(move || {
                let mut client = TcpStream::connect(address)?;
                client.set_read_timeout(Some(super::LIMIT))?;
                client.write_all(bytes)?;
                to_the_end(&mut client)
            })
            .await??;
        }
        let channel = open::<E>(server.url()).await?;
        Ok(Calls::official(channel).unary(1, 10).await?)
    })
}

/// # Errors
/// Where it fails.
pub fn a_silent_server_is_noticed<E: Ends>() -> Outcome {
    run::<E>(async {
        let server = Server::start::<E, _>(forward::<E>(Options::default()))?;
        let proxy = Proxy::start(server.address)?;
        let carrier = E::dial(proxy.url(), with_pings()).await?;
        let channel = open_on::<E>(carrier).await?;
        let mut client = TestServiceClient::new(channel.clone());
        let mut responses = client.streaming_output_call(endless()).await?.into_inner();
        proxy.freeze();
        let error = responses.message().await.err().ok_or("no error")?;
        assert_eq!(error.code(), tonic::Code::Unavailable, "{error}");
        assert!(!channel.closed().await.is_clean());
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn silent_clients_are_noticed<E: Ends>() -> Outcome {
    run::<E>(async {
        let tunnels = forward::<E>(Options::default());
        let server = Server::start_with::<E, _>(tunnels.clone(), with_pings(), SOON)?;
        let proxy = Proxy::start(server.address)?;
        let channel = open::<E>(proxy.url()).await?;
        Calls::official(channel).unary(1, 10).await?;
        let channel = open::<E>(proxy.url()).await?;
        // The first one ends with its channel, but not at once.
        while tunnels.tunnels() > 1 {
            async_io::Timer::after(Duration::from_millis(10)).await;
        }
        proxy.freeze();
        while tunnels.tunnels() > 0 {
            async_io::Timer::after(Duration::from_millis(10)).await;
        }
        drop(channel);
        Ok(())
    })
}

fn with_pings() -> Settings {
    let mut settings = Settings::tunnels();
    settings.keepalive = Keepalive::After(SOON);
    settings.keepalive_timeout = SOON;
    settings
}

/// Reads until the peer closes the connection. Data that it had not read makes that a reset.
fn to_the_end(stream: &mut TcpStream) -> Outcome {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
