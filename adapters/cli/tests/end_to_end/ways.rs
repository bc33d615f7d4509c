//! The ways to an agent: targets, authorities, rules, chains of gateways, sockets and proxies.

use std::net::SocketAddr;

use grpctunnel_cli::{
    HOPS, NAME, TARGET,
    agent::{Agent, Served},
    gateway::GatewayEvent,
};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    raw,
    support::{
        RunningAgent, Tested, agent, agent_with, bounded, caller, depot, gateway, gateway_with,
        stubs::{GreetRequest, WaitRequest},
        to,
    },
};

/// A raw call with these headers: its gRPC status, and what it says.
async fn call(
    gateway: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Tested<(String, String)> {
    let mut request = raw::request(gateway, path, b"\0\0\0\0\0")?;
    for (name, value) in headers {
        if *name == ":authority" {
            *request.uri_mut() = format!("http://{value}{path}").parse()?;
        } else {
            request.headers_mut().append(*name, value.parse()?);
        }
    }
    // The connection goes to the gateway whatever the authority says.
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(gateway).await?);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await?;
    let running = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    drop(sender);
    running.await??;
    let text = |headers: &HeaderMap, name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let either = |name| text(&head.headers, name).or_else(|| text(&trailers, name));
    Ok((
        either("grpc-status").ok_or("no status")?,
        either("grpc-message").unwrap_or_default(),
    ))
}

#[tokio::test]
async fn the_first_of_target_authority_rule_and_default_counts() -> Tested {
    bounded(async {
        let gateway = gateway_with("127.0.0.1:0", |settings| {
            settings.routing.suffix = "tun.example.com".parse().ok();
            settings.routing.rules = "shop=b".parse().into_iter().collect();
            settings.routing.default = "c".parse().ok();
        })
        .await?;
        let at = gateway.address;
        // Nobody is connected: the refusal says who was meant.
        let authority = (":authority", "a.tun.example.com:80");
        for (path, headers, meant) in [
            ("/shop.Cart/Add", &[(TARGET, "x"), authority][..], "x"),
            ("/shop.Cart/Add", &[(TARGET, "X")], "x"),
            ("/shop.Cart/Add", &[authority], "a"),
            ("/grpc.health.v1.Health/Check", &[authority], "a"),
            ("/grpc.health.v1.Health/Check", &[(TARGET, "x")], "x"),
            (
                "/grpctunnel.v1.TunnelService/OpenTunnel",
                &[(TARGET, "x")],
                "x",
            ),
            ("/shop.Cart/Add", &[], "b"),
            ("/other.Cart/Add", &[], "c"),
        ] {
            let (status, text) = call(at, path, headers).await?;
            assert_eq!(status, "14", "{path} {headers:?}: {text}");
            assert_eq!(text, format!("agent {meant} is not connected"));
        }
        for (path, headers, expected) in [
            ("/grpc.health.v1.Health/Check", &[][..], "0"),
            ("/grpc.health.v1.Health/Check", &[(TARGET, ".")], "0"),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                &[],
                "12",
            ),
            ("/shop.Cart/Add", &[(TARGET, ".")], "12"),
            ("/shop.Cart/Add", &[(TARGET, "a"), (TARGET, "b")], "3"),
            ("/shop.Cart/Add", &[(TARGET, "a//b")], "3"),
            (
                "/shop.Cart/Add",
                &[(":authority", "a_b.tun.example.com")],
                "3",
            ),
        ] {
            let (status, text) = call(at, path, headers).await?;
            assert_eq!(status, expected, "{path} {headers:?}: {text}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn gateways_chain_and_a_local_server_sees_the_hops_and_what_is_left() -> Tested {
    bounded(async {
        let (first, second) = (gateway().await?, gateway().await?);
        let (local, mut arrivals) = raw::server().await?;
        let _hop = agent(first.address, "hop", second.address).await?;
        let _name = agent(second.address, "name", local).await?;
        let _other = agent(second.address, "other", local).await?;
        for (target, hops, left) in [
            ("hop/name", "2", None),
            ("HOP/name/.", "2", Some(".")),
            ("hop/other/x/y", "2", Some("x/y")),
        ] {
            let headers = [(TARGET, target), (NAME, "me"), ("x-tunnel-other", "1")];
            let (status, text) = call(first.address, "/a.B/C", &headers).await?;
            assert_eq!(status, "0", "{text}");
            let (head, _) = arrivals.recv().await.ok_or("nothing arrived")?;
            let ours = |name: &&http::HeaderName| name.as_str().starts_with("x-tunnel-");
            let mut names: Vec<_> = head.headers.keys().filter(ours).collect();
            names.sort_unstable_by_key(|name| name.as_str());
            let mut expected = vec![HOPS];
            expected.extend(left.map(|_| TARGET));
            assert_eq!(names, expected);
            assert_eq!(head.headers[HOPS], hops);
            let rest = head
                .headers
                .get(TARGET)
                .map(HeaderValue::to_str)
                .transpose()?;
            assert_eq!(rest, left);
        }
        // "Here" is the second gateway: it answers itself, and routes nothing.
        let health = "/grpc.health.v1.Health/Check";
        assert_eq!(
            call(first.address, health, &[(TARGET, "hop/.")]).await?.0,
            "0"
        );
        let (status, text) = call(first.address, "/a.B/C", &[(TARGET, "hop/.")]).await?;
        assert_eq!(status, "12", "{text}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn health_is_that_of_the_gateway_and_of_its_agents() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("depot").await?;
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{}", gateway.address))?;
        let mut health = HealthClient::new(endpoint.connect().await?);
        let ask = |service: &str| HealthCheckRequest {
            service: service.to_owned(),
        };
        let own = health.check(ask("")).await?.into_inner();
        assert_eq!(own.status(), ServingStatus::Serving);
        for unknown in ["home", "no name"] {
            let status = health.check(ask(unknown)).await.err().ok_or("was known")?;
            assert_eq!(status.code(), Code::NotFound);
        }
        let mut watch = health.watch(ask("Home")).await?.into_inner();
        let mut next = async || Tested::Ok(watch.message().await?.ok_or("ended")?.status());
        assert_eq!(next().await?, ServingStatus::ServiceUnknown);
        let agent = agent(gateway.address, "home", depot.address).await?;
        assert_eq!(next().await?, ServingStatus::Serving);
        let named = health.check(ask("home")).await?.into_inner();
        assert_eq!(named.status(), ServingStatus::Serving);
        agent.stop.now();
        assert_eq!(next().await?, ServingStatus::ServiceUnknown);
        let mut watch = health.watch(ask("")).await?.into_inner();
        let mut next = async || Tested::Ok(watch.message().await?.ok_or("ended")?.status());
        assert_eq!(next().await?, ServingStatus::Serving);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_agent_serves_several_names_at_several_gateways() -> Tested {
    bounded(async {
        let (first, second) = (gateway().await?, gateway().await?);
        let (one, two) = (depot("one").await?, depot("two").await?);
        let mut agent = Agent::new(first.address.into(), "one".parse()?, one.address.into());
        agent.gateways.push(second.address.into());
        agent.served.push(Served {
            name: "two".parse()?,
            local: two.address.into(),
        });
        let mut agent = RunningAgent::start(agent);
        for _ in 0..4 {
            agent.connected().await?;
        }
        for gateway in [first.address, second.address] {
            for name in ["one", "two"] {
                let mut caller = caller(gateway)?;
                let reply = caller.greet(to(name, GreetRequest::default())).await?;
                assert_eq!(reply.into_inner().text, format!("{name} greets "));
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn several_tunnels_of_one_agent_share_its_calls() -> Tested {
    bounded(async {
        let mut gateway = gateway().await?;
        let depot = depot("depot").await?;
        let _agent = agent_with(gateway.address, "a", depot.address, |agent| {
            agent.connections = 3;
        })
        .await?;
        for _ in 0..3 {
            let joined = gateway.events.recv().await;
            assert!(matches!(joined, Some(GatewayEvent::Joined { .. })));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_full_tunnel_is_passed_over_while_another_has_room() -> Tested {
    bounded(async {
        let gateway = gateway_with("127.0.0.1:0", |settings| settings.max_streams = 2).await?;
        let depot = depot("depot").await?;
        let _agent = agent_with(gateway.address, "a", depot.address, |agent| {
            agent.connections = 3;
        })
        .await?;
        let calls = (0..6).map(|_| {
            let caller = caller(gateway.address);
            tokio::spawn(async move { Tested::Ok(caller?.wait(WaitRequest {}).await?) })
        });
        let calls: Vec<_> = calls.collect();
        let seen = &depot.seen;
        seen.begun.subscribe().wait_for(|begun| *begun == 6).await?;
        seen.release.send_replace(true);
        for call in calls {
            call.await??;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_call_that_never_left_goes_to_another_agent() -> Tested {
    bounded(async {
        let mut gateway = gateway().await?;
        let (local, mut arrivals) = raw::server().await?;
        // An agent by hand that lets nothing be sent to it: no window.
        let stream = TcpStream::connect(gateway.address).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(0);
        let (mut requests, connection) = builder.handshake::<_, bytes::Bytes>(stream).await?;
        let running = tokio::spawn(connection);
        let path = "/grpctunnel.v1.TunnelService/OpenReverseTunnel";
        let opening = http::Request::post(format!("http://gw{path}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header(NAME, "a")
            .body(())?;
        let (_response, mut body) = requests.send_request(opening, false)?;
        let joined = gateway.events.recv().await;
        assert!(matches!(joined, Some(GatewayEvent::Joined { .. })));
        let _other = agent(gateway.address, "a", local).await?;
        // Each agent has its turn, so one of each pair is stuck. What HTTP/2 has taken of the first
        // may have left for all that the gateway knows; the one of the second pair stays behind it.
        let at = gateway.address;
        let mut calls = Vec::new();
        for _ in 0..2 {
            for _ in 0..2 {
                calls.push(tokio::spawn(async move {
                    call(at, "/a.B/C", &[(TARGET, "a")]).await
                }));
            }
            let _arrived = arrivals.recv().await.ok_or("nothing arrived")?;
        }
        body.send_reset(h2::Reason::CANCEL);
        let mut failed = Vec::new();
        for call in calls {
            failed.extend(Some(call.await??).filter(|(status, _)| status != "0"));
        }
        assert!(failed.len() <= 1, "{failed:?}");
        running.abort();
        Ok(())
    })
    .await
}

/// A proxy that knows `CONNECT` alone; it tells what it was asked.
async fn proxy() -> Tested<(SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (asked, questions) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    stream.read_line(&mut head).await?;
                }
                let server = head.split(' ').nth(1).unwrap_or_default().to_owned();
                // The test has ended when nobody listens.
                let _ = asked.send(head);
                let mut server = TcpStream::connect(server).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut stream, &mut server).await
            });
        }
    });
    Ok((address, questions))
}

#[tokio::test]
async fn an_agent_goes_through_an_http_proxy() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("depot").await?;
        let (proxy, mut asked) = proxy().await?;
        let url = format!("http://user:pass@{proxy}");
        let _agent = agent_with(gateway.address, "a", depot.address, |agent| {
            agent.proxy = url.parse().unwrap_or_default();
        })
        .await?;
        let head = asked.recv().await.ok_or("the proxy was not asked")?;
        assert!(
            head.starts_with(&format!("CONNECT {} ", gateway.address)),
            "{head}"
        );
        assert!(
            head.to_ascii_lowercase()
                .contains("proxy-authorization: basic"),
            "{head}"
        );
        let reply = caller(gateway.address)?
            .greet(GreetRequest::default())
            .await?;
        assert_eq!(reply.into_inner().text, "depot greets ");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_proxy_that_is_of_no_use_is_named() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        // A gateway is no proxy: it refuses CONNECT.
        for (proxy, why) in [
            (free, "connection refused"),
            (gateway.address, "it refused to connect to the gateway"),
        ] {
            let local = "http://127.0.0.1:1".parse()?;
            let mut agent = Agent::new(gateway.address.into(), "a".parse()?, local);
            agent.proxy = format!("http://{proxy}").parse()?;
            let told = RunningAgent::start(agent).failed().await?;
            let expected = format!("cannot reach the gateway: the proxy http://{proxy}/: {why}");
            assert_eq!(told, expected);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_without_a_name_gets_one_that_can_be_called() -> Tested {
    bounded(async {
        let mut gateway = gateway().await?;
        let options = grpctunnel_tokio::Options::default();
        let endpoint =
            grpctunnel_tokio::tonic_transport::endpoint(format!("http://{}", gateway.address))?;
        let carrier = grpctunnel_tokio::tonic_transport::dial(&endpoint).await?;
        let (_, health) = tonic_health::server::health_reporter();
        let routes = tonic::service::Routes::new(health);
        let metadata = tonic::metadata::MetadataMap::new();
        let _tunnel = grpctunnel_tokio::serve_reverse(carrier, routes, &options, metadata).await?;
        let Some(GatewayEvent::Joined { name, named, .. }) = gateway.events.recv().await else {
            return Err("did not join".into());
        };
        assert!(!named && name.as_str().starts_with("agent-"), "{name}");
        let health = "/grpc.health.v1.Health/Check";
        let headers = [(TARGET, name.as_str())];
        assert_eq!(call(gateway.address, health, &headers).await?.0, "0");
        Ok(())
    })
    .await
}
