//! What one identity takes costs no other one anything.

use std::time::Duration;

use grpctunnel_cli::limits::Limit;
use tonic::Code;
use tonic_types::StatusExt;

use super::{CALLER, HOME, OTHER, agent_of, by, token, tokens};
use crate::support::{
    RunningGateway, Tested, bounded, caller, depot, gateway_with,
    stubs::{GreetRequest, Line, WaitRequest},
    to,
};

async fn limited(limits: &[&str]) -> Tested<RunningGateway> {
    let limits: Vec<Limit> = limits
        .iter()
        .map(|limit| limit.parse())
        .collect::<Result<_, _>>()?;
    gateway_with("127.0.0.1:0", |settings| {
        settings.trust.tokens = Some(tokens());
        settings.trust.allow = ["* serve *", "* call *"]
            .iter()
            .filter_map(|rule| rule.parse().ok())
            .collect();
        settings.trust.limits = limits;
    })
    .await
}

#[tokio::test]
async fn open_calls_are_counted_for_each_identity() -> Tested {
    bounded(async {
        let gateway = limited(&["token:caller calls=1"]).await?;
        let depot = depot("home").await?;
        let url = format!("http://{}", gateway.address);
        let mut agent = agent_of(&url, "home", depot.address, token(HOME)?)?;
        agent.connected().await?;
        let mut waiter = caller(gateway.address)?;
        let request = by(CALLER, to("home", WaitRequest {}))?;
        let waiting = tokio::spawn(async move { waiter.wait(request).await });
        depot
            .seen
            .begun
            .subscribe()
            .wait_for(|begun| *begun == 1)
            .await?;
        let mut caller = caller(gateway.address)?;
        let greet = |who| by(who, to("home", GreetRequest::default()));
        let status = caller.greet(greet(CALLER)?).await.err().ok_or("answered")?;
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("1 calls at once"), "{status}");
        caller.greet(greet(OTHER)?).await?;
        depot.seen.release.send_replace(true);
        waiting.await??;
        caller.greet(greet(CALLER)?).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_rate_ends_with_when_to_try_again() -> Tested {
    bounded(async {
        let gateway = limited(&["token:caller rate=1 burst=2"]).await?;
        let depot = depot("home").await?;
        let url = format!("http://{}", gateway.address);
        let mut agent = agent_of(&url, "home", depot.address, token(HOME)?)?;
        agent.connected().await?;
        let mut caller = caller(gateway.address)?;
        let greet = |who| by(who, to("home", GreetRequest::default()));
        let mut refused = None;
        for _ in 0..50 {
            if let Err(status) = caller.greet(greet(CALLER)?).await {
                refused = Some(status);
                break;
            }
        }
        let refused = refused.ok_or("50 calls at a rate of one")?;
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let retry = refused.get_details_retry_info().ok_or("no RetryInfo")?;
        assert!(retry.retry_delay.is_some_and(|delay| delay.as_secs() <= 1));
        caller.greet(greet(OTHER)?).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn tunnels_and_connections_are_counted_for_each_identity() -> Tested {
    bounded(async {
        let gateway = limited(&["token:home tunnels=1", "token:caller connections=1"]).await?;
        let depot = depot("home").await?;
        let url = format!("http://{}", gateway.address);
        let mut one = agent_of(&url, "one", depot.address, token(HOME)?)?;
        one.connected().await?;
        let mut two = agent_of(&url, "two", depot.address, token(HOME)?)?;
        let why = two.failed().await?;
        assert!(why.contains("1 tunnels at once"), "{why}");
        let mut other = agent_of(&url, "other", depot.address, token(OTHER)?)?;
        other.connected().await?;
        let greet = || by(CALLER, to("one", GreetRequest::default()));
        let mut first = caller(gateway.address)?;
        first.greet(greet()?).await?;
        let mut second = caller(gateway.address)?;
        let status = second.greet(greet()?).await.err().ok_or("answered")?;
        assert_eq!(status.code(), Code::ResourceExhausted);
        first.greet(greet()?).await?;
        // A tunnel that ends makes room.
        one.stop.now();
        two.connected().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn while_an_identity_lets_bytes_wait_it_makes_no_new_calls_and_others_do() -> Tested {
    bounded(async {
        let gateway = limited(&["token:caller waiting=32KiB"]).await?;
        let depot = depot("home").await?;
        let url = format!("http://{}", gateway.address);
        let mut agent = agent_of(&url, "home", depot.address, token(HOME)?)?;
        agent.connected().await?;
        let greet = |who| by(who, to("home", GreetRequest::default()));
        let mut other = caller(gateway.address)?;
        other.greet(greet(CALLER)?).await?;
        // It sends more than windows have room for, and reads nothing of what comes back.
        let line = Line {
            text: "x".repeat(60_000),
        };
        let lines = tokio_stream::iter(std::iter::repeat_n(line, 400));
        let mut careless = caller(gateway.address)?;
        let answers = careless.converse(by(CALLER, to("home", lines))?).await?;
        let mut answers = answers.into_inner();
        let refused = loop {
            match other.greet(greet(CALLER)?).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(status) => break status,
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("32KiB"), "{refused}");
        other.greet(greet(OTHER)?).await?;
        // Once it has read everything, it may go on.
        while answers.message().await?.is_some() {}
        while let Err(status) = other.greet(greet(CALLER)?).await {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await
}
