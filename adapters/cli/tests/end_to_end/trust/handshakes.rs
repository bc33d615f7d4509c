//! Handshakes that fail, that are slow, and that are none.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{agent_of, certificate, secured, tls_caller};
use crate::support::{Tested, bounded, caller, depot, gateway, stubs::GreetRequest, to};

/// How many handshakes fail while callers are served; `GRPCTUNNEL_HANDSHAKES` sets another number.
const FAILED: usize = 500;
const RULES: [&str; 2] = ["cert:agent serve home", "cert:caller call home"];

fn failed_handshakes() -> usize {
    let number = std::env::var("GRPCTUNNEL_HANDSHAKES");
    number
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(FAILED)
}

/// Everything that a server says to these bytes.
async fn answer(to: SocketAddr, bytes: &[u8]) -> Tested<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(bytes).await?;
    let mut said = Vec::new();
    // A reset after what was said is an end, too.
    let _ = stream.read_to_end(&mut said).await;
    Ok(said)
}

#[tokio::test]
async fn callers_are_served_while_handshakes_fail() -> Tested {
    let served = async {
        let (authority, gateway) = secured(&RULES).await?;
        let depot = depot("home").await?;
        let agent = authority.issue("agent", &["agent"])?;
        let url = format!("https://{}", gateway.address);
        let credentials = certificate(&authority.ca(), Some(&agent))?;
        let mut agent = agent_of(&url, "home", depot.address, credentials)?;
        agent.connected().await?;
        let address = gateway.address;
        let flood = tokio::spawn(async move {
            for number in 0..failed_handshakes() {
                let mut stream = TcpStream::connect(address).await?;
                match number % 3 {
                    // A record that promises a ClientHello and has none in it.
                    0 => stream.write_all(b"\x16\x03\x01\x00\x05hello").await?,
                    // The beginning of one.
                    1 => {
                        stream
                            .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
                            .await?
                    }
                    _ => {}
                }
            }
            Tested::Ok(())
        });
        let pair = authority.issue("caller", &["caller"])?;
        let mut calls = 0;
        while !flood.is_finished() || calls < 20 {
            // Each on a new connection: the handshakes that are good are served, too.
            let tls = authority.trusting().identity(pair.identity()?);
            let mut caller = tls_caller(address, tls)?;
            caller.greet(to("home", GreetRequest::default())).await?;
            calls += 1;
        }
        flood.await??;
        println!(
            "{} handshakes failed, {calls} calls were served",
            failed_handshakes()
        );
        Tested::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(300), served).await?
}

/// A connection from another address than that of everybody else, where this machine has one.
async fn from_elsewhere(to: SocketAddr) -> Tested<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Only Linux has all of 127.0.0.0/8.
    let _ = socket.bind(([127, 0, 0, 3], 0).into());
    Ok(socket.connect(to).await?)
}

#[tokio::test]
async fn slow_handshakes_stop_nobody() -> Tested {
    bounded(async {
        let (authority, gateway) = secured(&RULES).await?;
        // More than there may be at once, and none of them goes on.
        let mut slow = Vec::new();
        for _ in 0..300 {
            let mut stream = from_elsewhere(gateway.address).await?;
            stream.write_all(b"\x16\x03\x01").await?;
            slow.push(stream);
        }
        let depot = depot("home").await?;
        let agent = authority.issue("agent", &["agent"])?;
        let url = format!("https://{}", gateway.address);
        let credentials = certificate(&authority.ca(), Some(&agent))?;
        let mut agent = agent_of(&url, "home", depot.address, credentials)?;
        agent.connected().await?;
        let mut gateway = gateway;
        let said = gateway.refused().await?;
        assert!(said.contains("its TLS handshake took too long"), "{said}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn plaintext_is_not_spoken_where_tls_is_and_who_tries_is_told() -> Tested {
    bounded(async {
        let (_authority, mut gateway) = secured(&RULES).await?;
        let said = answer(gateway.address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
        assert!(
            said.ends_with("this port speaks TLS; use https://\n"),
            "{said}"
        );
        let length = said.split("\r\n\r\n").nth(1).ok_or("no body")?.len();
        assert!(
            said.contains(&format!("content-length: {length}\r\n")),
            "{said}"
        );

        let said = answer(gateway.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains("this port speaks TLS"), "{said}");
        let said = gateway.refused().await?;
        assert!(said.contains("speaks plaintext"), "{said}");

        // No call is made in plaintext, and no tunnel is opened.
        let status = caller(gateway.address)?
            .greet(GreetRequest::default())
            .await;
        assert!(status.is_err());
        let depot = depot("home").await?;
        let url = format!("http://{}", gateway.address);
        let mut agent = agent_of(&url, "home", depot.address, Default::default())?;
        let why = agent.failed().await?;
        assert!(why.contains("it speaks TLS; use https://"), "{why}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_that_wants_tls_does_without_none() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("home").await?;
        let url = format!("https://{}", gateway.address);
        let mut agent = agent_of(&url, "home", depot.address, Default::default())?;
        let why = agent.failed().await?;
        assert!(
            why.contains("it speaks plaintext, not TLS; use http://"),
            "{why}"
        );
        Ok(())
    })
    .await
}
