//! Tokens: whose they are, and what they are good for.

use grpctunnel_cli::{
    agent::{Agent, AgentEvent},
    auth::TokensFrom,
    gateway::GatewayEvent,
    stop::Ended,
};
use tonic::{Code, Request};

use super::{CALLER, HOME, OTHER, agent_of, by, gateway_of, token};
use crate::support::{
    RunningAgent, RunningGateway, Tested, bounded, caller, depot, gateway_with,
    stubs::{GreetRequest, WaitRequest},
    to,
};

const RULES: [&str; 2] = ["token:home serve home", "token:caller call home"];

#[tokio::test]
async fn a_token_is_good_for_what_its_rule_says_and_nothing_else() -> Tested {
    bounded(async {
        let gateway = gateway_of(&RULES).await?;
        let depot = depot("home").await?;
        let url = format!("http://{}", gateway.address);
        let mut agent = agent_of(&url, "home", depot.address, token(HOME)?)?;
        agent.connected().await?;
        let mut caller = caller(gateway.address)?;
        let greet = || to("home", GreetRequest::default());
        let reply = caller.greet(by(CALLER, greet())?).await?.into_inner();
        assert_eq!(reply.text, "home greets ");
        for (request, code) in [
            (greet(), Code::Unauthenticated),
            (by("no-such-token-at-all", greet())?, Code::Unauthenticated),
            // The agent's own token calls nobody, and nobody else's does.
            (by(HOME, greet())?, Code::Unavailable),
            (by(OTHER, greet())?, Code::Unavailable),
        ] {
            let status = caller.greet(request).await.err().ok_or("answered")?;
            assert_eq!(status.code(), code, "{status}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nobody_squats_a_name_with_the_token_of_another() -> Tested {
    bounded(async {
        let mut gateway = gateway_of(&RULES).await?;
        let depot = depot("squatter").await?;
        let url = format!("http://{}", gateway.address);
        for credentials in [token(OTHER)?, token(CALLER)?, token("unknown-0123456789")?] {
            let mut agent = agent_of(&url, "home", depot.address, credentials)?;
            let why = agent.failed().await?;
            assert!(why.contains("refused the tunnel"), "{why}");
            assert_eq!(agent.ended().await?, Ended::Refused);
        }
        let said = gateway.refused().await?;
        assert!(said.contains("token:other"), "{said}");
        // A name of its own making is a name, too.
        let mut unnamed = crate::raw::request(gateway.address, OPEN, b"")?;
        let value = format!("Bearer {OTHER}").parse()?;
        unnamed
            .headers_mut()
            .insert(grpctunnel_cli::auth::AUTHORIZATION, value);
        let response = crate::raw::caller().request(unnamed).await?;
        let code = crate::raw::grpc_status(response.headers());
        assert_eq!(code, Some("7"));
        Ok(())
    })
    .await
}

const OPEN: &str = "/grpctunnel.v1.TunnelService/OpenReverseTunnel";

#[tokio::test]
async fn a_token_that_is_taken_away_ends_what_it_opened_when_its_calls_have_ended() -> Tested {
    bounded(async {
        let mut before = None;
        let mut gateway = gateway_with("127.0.0.1:0", |settings| {
            settings.drain_limit = std::time::Duration::from_secs(30);
            settings.trust.tokens = Some(super::tokens());
            settings.trust.allow = [
                "token:home serve home",
                "token:other serve other",
                "* call *",
            ]
            .iter()
            .filter_map(|rule| rule.parse().ok())
            .collect();
            before = Some(settings.trust.clone());
        })
        .await?;
        let url = format!("http://{}", gateway.address);
        let (one, two) = (depot("home").await?, depot("other").await?);
        let mut home = agent_of(&url, "home", one.address, token(HOME)?)?;
        let mut other = agent_of(&url, "other", two.address, token(OTHER)?)?;
        home.connected().await?;
        other.connected().await?;
        let mut waiter = caller(gateway.address)?;
        let waiting = by(CALLER, to("home", WaitRequest {}))?;
        let waiting = tokio::spawn(async move { waiter.wait(waiting).await });
        one.seen
            .begun
            .subscribe()
            .wait_for(|begun| *begun == 1)
            .await?;

        let mut trust = before.ok_or("no settings")?;
        trust.tokens = Some(TokensFrom::Text(format!("caller {CALLER}\nother {OTHER}")));
        gateway.control.trust(&trust)?;
        loop {
            let event = gateway.events.recv().await.ok_or("the gateway is gone")?;
            if let GatewayEvent::Dismissed { name, .. } = event {
                assert_eq!(name.as_str(), "home");
                break;
            }
        }
        // No new call goes there, the open one ends well, and the other tunnel is as it was.
        let mut caller = caller(gateway.address)?;
        let refused = caller
            .greet(by(CALLER, to("home", GreetRequest::default()))?)
            .await;
        assert_eq!(refused.err().ok_or("answered")?.code(), Code::Unavailable);
        caller
            .greet(by(CALLER, to("other", GreetRequest::default()))?)
            .await?;
        one.seen.release.send_replace(true);
        waiting.await??;
        assert_eq!(home.ended().await?, Ended::Refused);
        assert!(other.events.try_recv().is_err());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_authorization_of_a_call_belongs_to_the_local_server() -> Tested {
    bounded(async {
        let gateway = gateway_of(&RULES).await?;
        let (local, mut arrivals) = crate::raw::server().await?;
        let url = format!("http://{}", gateway.address);
        let mut agent = agent_of(&url, "home", local, token(HOME)?)?;
        agent.connected().await?;
        // Whoever has only that is nobody.
        let mut request = crate::raw::request(gateway.address, "/a.B/C", b"")?;
        let value = format!("Bearer {CALLER}").parse()?;
        request.headers_mut().insert("authorization", value);
        let response = crate::raw::caller().request(request).await?;
        assert_eq!(crate::raw::grpc_status(response.headers()), Some("16"));

        let mut request = crate::raw::request(gateway.address, "/a.B/C", b"")?;
        let headers = request.headers_mut();
        headers.insert("authorization", "Bearer of-the-local-server".parse()?);
        headers.insert("x-tunnel-target", "home".parse()?);
        let value = format!("Bearer {CALLER}").parse()?;
        headers.insert(grpctunnel_cli::auth::AUTHORIZATION, value);
        crate::raw::caller().request(request).await?;
        let (head, _) = arrivals.recv().await.ok_or("nothing arrived")?;
        assert_eq!(head.headers["authorization"], "Bearer of-the-local-server");
        let ours = head
            .headers
            .keys()
            .filter(|key| key.as_str().starts_with("x-tunnel-"));
        assert_eq!(ours.collect::<Vec<_>>(), [grpctunnel_cli::HOPS]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_health_of_the_gateway_itself_needs_a_token_too() -> Tested {
    bounded(async {
        let gateway = gateway_of(&RULES).await?;
        let mut health = tonic_health::pb::health_client::HealthClient::new(
            tonic::transport::Endpoint::from_shared(format!("http://{}", gateway.address))?
                .connect_lazy(),
        );
        let ask = || Request::new(tonic_health::pb::HealthCheckRequest::default());
        let status = health.check(ask()).await.err().ok_or("answered")?;
        assert_eq!(status.code(), Code::Unauthenticated);
        health.check(by(OTHER, ask())?).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_gateway_that_refuses_the_token_is_left_alone_and_another_one_served() -> Tested {
    bounded(async {
        let (gateway, stranger) = (gateway_of(&RULES).await?, gateway_of(&RULES[1..]).await?);
        let depot = depot("home").await?;
        let url = |gateway: &RunningGateway| format!("http://{}", gateway.address).parse();
        let mut settings = Agent::new(url(&gateway)?, "home".parse()?, depot.address.into());
        settings.gateways.push(url(&stranger)?);
        settings.connections = 2;
        settings.auth_retries = 2;
        settings.retry_limit = std::time::Duration::from_millis(100);
        settings.credentials = token(HOME)?;
        let mut agent = RunningAgent::start(settings);
        // Both tunnels to that gateway are given up, after two attempts more each.
        let (mut given_up, mut failures) = (0, 0);
        while given_up < 2 {
            match agent.events.recv().await.ok_or("the agent is gone")? {
                AgentEvent::GaveUp { gateway, why, .. } => {
                    assert_eq!(gateway, url(&stranger)?);
                    assert!(why.contains("no rule allows token:home"), "{why}");
                    given_up += 1;
                }
                AgentEvent::Failed { gateway, .. } => {
                    assert_eq!(gateway, url(&stranger)?);
                    failures += 1;
                }
                _ => {}
            }
        }
        assert_eq!(failures, 6);
        let mut caller = caller(gateway.address)?;
        let greet = by(CALLER, to("home", GreetRequest::default()))?;
        caller.greet(greet).await?;
        agent.stop.drain();
        assert_eq!(agent.ended().await?, Ended::Finished);
        Ok(())
    })
    .await
}
