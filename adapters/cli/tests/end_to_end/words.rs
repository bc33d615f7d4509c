//! What the program says when something is wrong.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::Output,
    time::Duration,
};

use grpctunnel_cli::{
    NAME,
    agent::{Agent, OwnGateway},
    gateway::{Gateway, GatewayEvent, GatewaySettings},
    listener::BindError,
};
use tonic::Code;

use crate::{
    program::program,
    raw,
    support::{
        RunningAgent, Tested, agent, bounded, caller, depot, gateway, gateway_with,
        stubs::GreetRequest, to,
    },
};

async fn failing(arguments: &[&str]) -> Tested<(Option<i32>, String)> {
    let Output { status, stderr, .. } = program(arguments).output().await?;
    Ok((status.code(), String::from_utf8(stderr)?))
}

/// Whatever a peer or a user sees is prose.
fn assert_plain(text: &str) {
    for bad in ["os error", "Error {", "Some(", "Code::", "handler", "{:"] {
        assert!(!text.contains(bad), "{bad:?} in {text:?}");
    }
}

#[tokio::test]
async fn a_slip_in_the_address_is_told_with_what_is_expected() -> Tested {
    bounded(async {
        for slip in [
            "7000",
            "localhost",
            "http://127.0.0.1:7000",
            "::1:7000",
            "h:99999",
        ] {
            let (code, said) = failing(&["gateway", "--listen", slip]).await?;
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains("HOST:PORT") && said.contains(slip), "{said}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn listening_beyond_loopback_has_to_be_asked_for() -> Tested {
    bounded(async {
        for listen in [":0", "0.0.0.0:0", "[::]:0"] {
            let (code, said) = failing(&["gateway", "--listen", listen]).await?;
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains("--insecure"), "{said}");
            let settings = GatewaySettings::new(listen.parse()?);
            let refused = Gateway::bind(settings, |_| {}).await.err();
            assert!(matches!(refused, Some(BindError::Exposed(_))));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn all_addresses_are_those_of_both_families() -> Tested {
    bounded(async {
        let gateway = gateway_with(":0", |settings| settings.insecure = true).await?;
        let port = gateway.address.port();
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        if TcpListener::bind("[::1]:0").is_ok() {
            tokio::net::TcpStream::connect(("::1", port)).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_takes_no_tunnels_is_no_gateway() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let local = "http://127.0.0.1:1".parse()?;
        let mut agent = RunningAgent::start(Agent::new(depot.address.into(), "a".parse()?, local));
        let why = agent.failed().await?;
        assert!(why.starts_with("this is no grpctunnel gateway"), "{why}");
        assert!(why.contains("UNIMPLEMENTED"), "{why}");
        assert_plain(&why);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nobody_there_is_told_without_the_systems_numbers() -> Tested {
    bounded(async {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let local = "http://127.0.0.1:1".parse()?;
        let mut agent = RunningAgent::start(Agent::new(free.into(), "a".parse()?, local));
        let why = agent.failed().await?;
        assert_eq!(why, "cannot reach the gateway: connection refused");
        Ok(())
    })
    .await
}

/// A server that answers the first bytes of each connection with these.
fn speaking(answer: &'static [u8]) -> Tested<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        // It ends with the process of the test.
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut first = [0; 24];
            if stream.read_exact(&mut first).is_ok() && stream.write_all(answer).is_ok() {
                let _ = stream.read(&mut first);
            }
        }
    });
    Ok(address)
}

const HTTP1: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
const TLS_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";

#[tokio::test]
async fn a_gateway_that_speaks_something_else_is_told() -> Tested {
    bounded(async {
        for (answer, word) in [(HTTP1, "speaks HTTP/1"), (TLS_ALERT, "speaks TLS")] {
            let gateway = speaking(answer)?.into();
            let local = "http://127.0.0.1:1".parse()?;
            let mut agent = RunningAgent::start(Agent::new(gateway, "a".parse()?, local));
            let why = agent.failed().await?;
            assert!(why.contains(word), "{why}");
            assert_plain(&why);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_local_server_that_speaks_something_else_is_told_to_the_caller() -> Tested {
    bounded(async {
        for (answer, word) in [(HTTP1, "speaks HTTP/1"), (TLS_ALERT, "speaks TLS")] {
            let gateway = gateway().await?;
            let _agent = agent(gateway.address, "a", speaking(answer)?).await?;
            let request = GreetRequest::default();
            let status = caller(gateway.address)?.greet(request).await.err();
            let status = status.ok_or("was answered")?;
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.message().contains(word), "{status}");
            assert_plain(status.message());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_second_agent_of_a_name_is_announced_with_both_addresses() -> Tested {
    bounded(async {
        let mut gateway = gateway().await?;
        let depot = depot("depot").await?;
        let _one = agent(gateway.address, "home", depot.address).await?;
        let _two = agent(gateway.address, "HOME", depot.address).await?;
        let mut joined = Vec::new();
        while joined.len() < 2 {
            if let Some(GatewayEvent::Joined {
                name, peer, others, ..
            }) = gateway.events.recv().await
            {
                assert_eq!(name.as_str(), "home");
                joined.push((peer, others));
            }
        }
        let [(first, none), (second, others)] = &*joined else {
            return Err("not two".into());
        };
        assert!(none.is_empty() && first != second);
        assert_eq!(others, std::slice::from_ref(first));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_whose_local_server_is_its_gateway_does_not_start() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let own: grpctunnel_cli::origin::Origin = gateway.address.into();
        let agent = Agent::new(own.clone(), "a".parse()?, own.clone());
        let ended = RunningAgent::start(agent).running.await?;
        let refused = OwnGateway {
            gateway: own.clone(),
            local: own,
        };
        assert_eq!(ended, Err(refused));
        let url = format!("http://{}", gateway.address);
        let line = ["agent", "--gateway", &url, "--name", "a", "--local", &url];
        let (code, said) = failing(&line).await?;
        assert_eq!(code, Some(1));
        assert!(said.contains("is the gateway"), "{said}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_longer_circle_ends_by_itself() -> Tested {
    bounded(async {
        let (one, two) = (gateway().await?, gateway().await?);
        let _to_two = agent(one.address, "a", two.address).await?;
        let _to_one = agent(two.address, "b", one.address).await?;
        let status = caller(one.address)?.greet(GreetRequest::default()).await;
        let status = status.err().ok_or("was answered")?;
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains("gateways"), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_impossible_name_is_refused_with_what_is_expected() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let path = "/grpctunnel.v1.TunnelService/OpenReverseTunnel";
        for bad in ["a b", "a.b", "-a", "127.0.0.1:7"] {
            let mut request = raw::request(gateway.address, path, b"")?;
            request.headers_mut().insert(NAME, bad.parse()?);
            let response = raw::caller().request(request).await?;
            assert_eq!(raw::grpc_status(response.headers()), Some("3"));
            let text = response.headers()["grpc-message"].to_str()?;
            assert!(text.contains("DNS label"), "{text}");
        }
        let status = caller(gateway.address)?
            .greet(to("no name", GreetRequest::default()))
            .await;
        let status = status.err().ok_or("was answered")?;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("DNS label"), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_that_loses_its_gateway_says_so_in_prose() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("depot").await?;
        let mut agent = agent(gateway.address, "a", depot.address).await?;
        gateway.stop.now();
        gateway.running.await?;
        let why = tokio::time::timeout(Duration::from_secs(30), agent.lost()).await??;
        assert_plain(&why);
        let why = agent.failed().await?;
        assert_eq!(why, "cannot reach the gateway: connection refused");
        Ok(())
    })
    .await
}
