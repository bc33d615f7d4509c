//! Which agent a call goes to, and what happens when there is none, or none any more.

use std::{collections::BTreeSet, time::Duration};

use crate::support::{
    Tested, agent, agent_that_drains, bounded, caller, depot, depot_at, gateway, gateway_at,
    stubs::{GreetRequest, WaitRequest, depot_client::DepotClient},
    to,
};
use grpctunnel_cli::{
    agent::{AgentEvent, LocalEvent},
    stop::Ended,
};
use tonic::{Code, Status, transport::Channel};

const LONG: Duration = Duration::from_secs(30);

fn greeting() -> GreetRequest {
    GreetRequest {
        name: "x".to_owned(),
    }
}

async fn greeted_by(client: &mut DepotClient<Channel>, target: &'static str) -> Tested<String> {
    let text = client
        .greet(to(target, greeting()))
        .await?
        .into_inner()
        .text;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

fn failure<T>(result: Result<T, Status>) -> Tested<Status> {
    Ok(result.err().ok_or("did not fail")?)
}

#[tokio::test]
async fn without_any_agent_a_call_is_unavailable() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let status = failure(caller(gateway.address)?.greet(greeting()).await)?;
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "no agent is connected");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_unknown_target_is_unavailable_and_nobody_else_is_named() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("one").await?;
        let _agent = agent(gateway.address, "here", depot.address).await?;
        let status = failure(
            caller(gateway.address)?
                .greet(to("there", greeting()))
                .await,
        )?;
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "agent there is not connected");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn two_agents_are_told_apart_by_the_target() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (one, two) = (depot("one").await?, depot("two").await?);
        let _a = agent(gateway.address, "a", one.address).await?;
        let _b = agent(gateway.address, "b", two.address).await?;
        let mut caller = caller(gateway.address)?;
        assert_eq!(greeted_by(&mut caller, "a").await?, "one");
        assert_eq!(greeted_by(&mut caller, "b").await?, "two");
        let status = failure(caller.greet(greeting()).await)?;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().ends_with("x-tunnel-target"), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn agents_of_one_name_share_its_calls() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (one, two) = (depot("one").await?, depot("two").await?);
        let _a = agent(gateway.address, "a", one.address).await?;
        let _b = agent(gateway.address, "a", two.address).await?;
        let mut caller = caller(gateway.address)?;
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            seen.insert(greeted_by(&mut caller, "a").await?);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["one", "two"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_call_is_unavailable_when_its_agent_goes_away() -> Tested {
    bounded(async {
        let mut gateway = gateway().await?;
        let depot = depot("one").await?;
        let agent = agent(gateway.address, "a", depot.address).await?;
        let mut caller = caller(gateway.address)?;
        let waiting = tokio::spawn({
            let mut caller = caller.clone();
            async move { caller.wait(WaitRequest {}).await }
        });
        let seen = &depot.seen;
        seen.begun.subscribe().wait_for(|begun| *begun == 1).await?;
        agent.stop.now();
        let status = failure(waiting.await?)?;
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert_eq!(agent.ended().await?, Ended::CutOff);
        seen.ended.subscribe().wait_for(|ended| *ended == 1).await?;
        assert_eq!(gateway.left().await?, "a");
        let status = failure(caller.greet(to("a", greeting())).await)?;
        assert_eq!(status.code(), Code::Unavailable);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn while_the_local_server_is_down_calls_fail_and_the_tunnel_stays() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let first = depot("one").await?;
        let address = first.address;
        let mut agent = agent(gateway.address, "a", address).await?;
        let mut caller = caller(gateway.address)?;
        assert_eq!(greeted_by(&mut caller, "a").await?, "one");
        drop(first);
        // The first call may find the old connection still ending; it fails all the same.
        for _ in 0..2 {
            let status = failure(caller.greet(greeting()).await)?;
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(status.message().contains(&address.to_string()), "{status}");
        }
        let _second = depot_at(&address.to_string(), "two").await?;
        assert_eq!(greeted_by(&mut caller, "a").await?, "two");
        let mut told = Vec::new();
        while let Ok(event) = agent.events.try_recv() {
            match event {
                AgentEvent::Local { local, event } => told.push((local, event)),
                AgentEvent::CallFailed(_) => {}
                other => return Err(format!("the tunnel was lost: {other:?}").into()),
            }
        }
        assert!(
            matches!(
                &*told,
                [(_, LocalEvent::Lost { why }), (_, LocalEvent::Back)] if why == "connection refused"
            ),
            "{told:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_call_is_unavailable_when_the_local_server_dies() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("one").await?;
        let _agent = agent(gateway.address, "a", depot.address).await?;
        let mut caller = caller(gateway.address)?;
        let waiting = tokio::spawn(async move { caller.wait(WaitRequest {}).await });
        depot
            .seen
            .begun
            .subscribe()
            .wait_for(|begun| *begun == 1)
            .await?;
        drop(depot);
        let status = failure(waiting.await?)?;
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_connects_anew_when_the_gateway_comes_back() -> Tested {
    bounded(async {
        let first = gateway().await?;
        let depot = depot("one").await?;
        let mut agent = agent(first.address, "a", depot.address).await?;
        first.stop.now();
        first.running.await?;
        agent.lost().await?;
        let second = gateway_at(&first.address.to_string(), Duration::ZERO).await?;
        agent.connected().await?;
        let mut caller = caller(second.address)?;
        assert_eq!(greeted_by(&mut caller, "a").await?, "one");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_draining_agent_finishes_what_is_open_and_takes_nothing_new() -> Tested {
    bounded(async {
        let mut gateway = gateway().await?;
        let (one, two) = (depot("one").await?, depot("two").await?);
        let leaving = agent_that_drains(gateway.address, "a", one.address, LONG).await?;
        let mut caller = caller(gateway.address)?;
        let waiting = tokio::spawn({
            let mut caller = caller.clone();
            async move { caller.wait(WaitRequest {}).await }
        });
        one.seen
            .begun
            .subscribe()
            .wait_for(|begun| *begun == 1)
            .await?;
        let _staying = agent(gateway.address, "b", two.address).await?;
        leaving.stop.drain();
        assert!(!waiting.is_finished());
        one.seen.release.send_replace(true);
        waiting.await??;
        assert_eq!(leaving.ended().await?, Ended::Finished);
        assert_eq!(gateway.left().await?, "a");
        assert_eq!(
            caller.greet(greeting()).await?.into_inner().text,
            "two greets x"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_drain_limit_ends_calls_that_go_on() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("one").await?;
        let limit = Duration::from_millis(200);
        let agent = agent_that_drains(gateway.address, "a", depot.address, limit).await?;
        let mut caller = caller(gateway.address)?;
        let waiting = tokio::spawn(async move { caller.wait(WaitRequest {}).await });
        depot
            .seen
            .begun
            .subscribe()
            .wait_for(|begun| *begun == 1)
            .await?;
        agent.stop.drain();
        let status = failure(waiting.await?)?;
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert_eq!(agent.ended().await?, Ended::CutOff);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_draining_gateway_finishes_what_is_open() -> Tested {
    bounded(async {
        let gateway = gateway_at("127.0.0.1:0", LONG).await?;
        let depot = depot("one").await?;
        let mut agent = agent(gateway.address, "a", depot.address).await?;
        let mut caller = caller(gateway.address)?;
        let waiting = tokio::spawn(async move { caller.wait(WaitRequest {}).await });
        depot
            .seen
            .begun
            .subscribe()
            .wait_for(|begun| *begun == 1)
            .await?;
        gateway.stop.drain();
        depot.seen.release.send_replace(true);
        waiting.await??;
        assert_eq!(gateway.running.await?, Ended::Finished);
        agent.lost().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() -> Tested {
    bounded(async {
        let gateway = gateway_at("127.0.0.1:0", LONG).await?;
        let depot = depot("one").await?;
        let _agent = agent(gateway.address, "a", depot.address).await?;
        let mut caller = caller(gateway.address)?;
        greeted_by(&mut caller, "a").await?;
        gateway.stop.drain();
        let ended = tokio::time::timeout(LONG / 2, gateway.running).await??;
        assert_eq!(ended, Ended::Finished);
        Ok(())
    })
    .await
}
