//! Local ports that stand for a service far away: `dial` and `forward`.

use std::{net::SocketAddr, time::Duration};

use grpctunnel_cli::{
    TARGET,
    dial::{Dial, DialEvent, DialSettings},
    stop::{Ended, Stop},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
};
use tonic::Code;

use crate::{
    raw,
    support::{
        Tested, agent, bounded, caller, depot,
        depot::DETAILS,
        gateway, gateway_at,
        stubs::{GreetRequest, WaitRequest},
        to,
    },
};

pub(crate) struct RunningDial {
    pub(crate) address: SocketAddr,
    stop: Stop,
    running: JoinHandle<Ended>,
    events: UnboundedReceiver<DialEvent>,
}

pub(crate) async fn dial(gateway: SocketAddr, target: Option<&str>) -> Tested<RunningDial> {
    let mut settings = DialSettings::new(gateway.into(), "127.0.0.1:0".parse()?);
    settings.target = target.map(str::parse).transpose()?;
    settings.drain_limit = Duration::from_millis(200);
    settings.retry_limit = Duration::from_secs(1);
    let dial = Dial::bind(settings).await?;
    let address = dial.endpoint().tcp().ok_or("not TCP")?;
    let stop = Stop::new();
    let (said, events) = unbounded_channel();
    let running = tokio::spawn(dial.run(move |event| drop(said.send(event)), stop.clone()));
    Ok(RunningDial {
        address,
        stop,
        running,
        events,
    })
}

#[tokio::test]
async fn a_dialled_port_stands_for_its_agent() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (one, two) = (depot("one").await?, depot("two").await?);
        let _one = agent(gateway.address, "one", one.address).await?;
        let _two = agent(gateway.address, "two", two.address).await?;
        for name in ["one", "two"] {
            let dial = dial(gateway.address, Some(name)).await?;
            let mut caller = caller(dial.address)?;
            let reply = caller.greet(GreetRequest::default()).await?.into_inner();
            assert_eq!(reply.text, format!("{name} greets "));
            let failing = GreetRequest {
                name: "fail".to_owned(),
            };
            let status = caller.greet(failing).await.err().ok_or("did not fail")?;
            assert_eq!(status.code(), Code::NotFound);
            assert_eq!(status.details(), DETAILS);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_way_of_a_caller_goes_on_behind_the_dialled_agent() -> Tested {
    bounded(async {
        let (first, second) = (gateway().await?, gateway().await?);
        let depot = depot("far").await?;
        let _hop = agent(first.address, "hop", second.address).await?;
        let _far = agent(second.address, "far", depot.address).await?;
        let dial = dial(first.address, Some("hop")).await?;
        let mut caller = caller(dial.address)?;
        let reply = caller.greet(to("far", GreetRequest::default())).await?;
        assert_eq!(reply.into_inner().text, "far greets ");
        let status = caller.greet(to("near", GreetRequest::default())).await;
        let status = status.err().ok_or("was answered")?;
        assert_eq!(status.message(), "agent near is not connected");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_forwarded_port_is_the_tunnel_server_itself() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("depot").await?;
        let _agent = agent(gateway.address, "a", depot.address).await?;
        let forward = dial(gateway.address, None).await?;
        let mut caller = caller(forward.address)?;
        let reply = caller.greet(to("a", GreetRequest::default())).await?;
        assert_eq!(reply.into_inner().text, "depot greets ");
        let path = "/grpc.health.v1.Health/Check";
        let request = raw::request(forward.address, path, b"\0\0\0\0\0")?;
        let response = raw::caller().request(request).await?;
        assert!(raw::grpc_status(response.headers()).is_none_or(|status| status == "0"));
        assert!(!response.headers().contains_key(TARGET));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_dialled_port_outlives_its_gateway() -> Tested {
    bounded(async {
        let first = gateway().await?;
        let mut dial = dial(first.address, Some("a")).await?;
        assert!(matches!(
            dial.events.recv().await,
            Some(DialEvent::Connected)
        ));
        first.stop.now();
        first.running.await?;
        loop {
            let event = dial.events.recv().await.ok_or("it is gone")?;
            if let DialEvent::Failed { why } = event {
                assert_eq!(why, "cannot reach the gateway: connection refused");
                break;
            }
        }
        let second = gateway_at(&first.address.to_string(), Duration::ZERO).await?;
        let depot = depot("depot").await?;
        let _agent = agent(second.address, "a", depot.address).await?;
        while !matches!(dial.events.recv().await, Some(DialEvent::Connected)) {}
        let reply = caller(dial.address)?.greet(GreetRequest::default()).await?;
        assert_eq!(reply.into_inner().text, "depot greets ");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn calls_that_a_dialled_port_cuts_off_are_told() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("depot").await?;
        let _agent = agent(gateway.address, "a", depot.address).await?;
        let dial = dial(gateway.address, Some("a")).await?;
        let mut caller = caller(dial.address)?;
        let waiting = tokio::spawn(async move { caller.wait(WaitRequest {}).await });
        let seen = &depot.seen;
        seen.begun.subscribe().wait_for(|begun| *begun == 1).await?;
        dial.stop.drain();
        assert_eq!(dial.running.await?, Ended::CutOff);
        assert!(waiting.await?.is_err());
        seen.ended.subscribe().wait_for(|ended| *ended == 1).await?;
        Ok(())
    })
    .await
}
