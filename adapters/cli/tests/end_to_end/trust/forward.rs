//! Forward tunnels belong to whoever opened them, and end with them.

use std::time::Duration;

use grpctunnel_cli::{
    auth::TokensFrom,
    dial::{Dial, DialSettings},
    gateway::GatewayEvent,
    stop::{Ended, Stop},
};
use tonic::Code;

use super::{CALLER, HOME, agent_of, by, token};
use crate::support::{
    RunningGateway, Tested, bounded, caller, depot, gateway_with,
    stubs::{GreetRequest, WaitRequest},
    to,
};

/// What the gateway tells next of forward tunnels.
async fn told(gateway: &mut RunningGateway) -> Tested<String> {
    loop {
        let event = gateway.events.recv().await.ok_or("the gateway is gone")?;
        return Ok(match event {
            GatewayEvent::Dialled { identity, .. } => format!("{identity} dialled"),
            GatewayEvent::Revoked { identity, .. } => format!("{identity} revoked"),
            GatewayEvent::HungUp { identity, end, .. } => {
                assert!(end.is_clean(), "{end:?}");
                format!("{identity} hung up")
            }
            _ => continue,
        });
    }
}

#[tokio::test]
async fn a_forward_tunnel_of_a_token_that_is_taken_away_is_drained_and_noted() -> Tested {
    bounded(async {
        let mut before = None;
        let mut gateway = gateway_with("127.0.0.1:0", |settings| {
            settings.drain_limit = Duration::from_secs(60);
            settings.trust.tokens = Some(super::tokens());
            settings.trust.allow = ["token:home serve home", "* call *"]
                .iter()
                .filter_map(|rule| rule.parse().ok())
                .collect();
            before = Some(settings.trust.clone());
        })
        .await?;
        let url = format!("http://{}", gateway.address);
        let depot = depot("home").await?;
        let mut agent = agent_of(&url, "home", depot.address, token(HOME)?)?;
        agent.connected().await?;
        let mut settings = DialSettings::new(url.parse()?, "127.0.0.1:0".parse()?);
        settings.target = Some("home".parse()?);
        settings.credentials = token(CALLER)?;
        settings.retry_limit = Duration::from_millis(100);
        let dial = Dial::bind(settings).await?;
        let port = dial.endpoint().tcp().ok_or("not TCP")?;
        let dialled = tokio::spawn(dial.run(|_| {}, Stop::new()));
        assert_eq!(told(&mut gateway).await?, "token:caller dialled");
        let mut waiter = caller(port)?;
        let waiting = tokio::spawn(async move { waiter.wait(WaitRequest {}).await });
        let mut begun = depot.seen.begun.subscribe();
        begun.wait_for(|begun| *begun == 1).await?;

        let mut trust = before.ok_or("no settings")?;
        trust.tokens = Some(TokensFrom::Text(format!("home {HOME}\ncaller2 {CALLER}x")));
        gateway.control.trust(&trust)?;
        assert_eq!(told(&mut gateway).await?, "token:caller revoked");
        // What was open ends well, nothing new passes, and the port gives up.
        depot.seen.release.send_replace(true);
        waiting.await??;
        assert_eq!(told(&mut gateway).await?, "token:caller hung up");
        assert_eq!(dialled.await?, Ended::Refused);
        // Others are served as before.
        let greet = by(HOME, to("home", GreetRequest::default()))?;
        caller(gateway.address)?.greet(greet).await?;
        let greet = by(CALLER, to("home", GreetRequest::default()))?;
        let status = caller(gateway.address)?.greet(greet).await.err();
        assert_eq!(status.ok_or("answered")?.code(), Code::Unauthenticated);
        Ok(())
    })
    .await
}
