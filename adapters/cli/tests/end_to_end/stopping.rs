//! How the program ends when it is told to: not ready first, then draining, then at once.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::{
    pages::http1,
    program::{Running, pair_with},
    support::{
        RunningDepot, Tested, bounded, caller, depot,
        stubs::{GreetRequest, WaitReply, WaitRequest},
    },
};

/// Long enough that no test sees its end.
const LONG: &str = "3600";

struct Setting {
    depot: RunningDepot,
    gateway: Running,
    agent: Running,
    address: SocketAddr,
}

/// A gateway and an agent, with these options of the gateway.
async fn setting(of_gateway: &[&str]) -> Tested<Setting> {
    let depot = depot("depot").await?;
    let (gateway, agent, address) = pair_with(depot.address, of_gateway, &[]).await?;
    Ok(Setting {
        depot,
        gateway,
        agent,
        address: address.parse()?,
    })
}

type Waiting = tokio::task::JoinHandle<Result<tonic::Response<WaitReply>, tonic::Status>>;

impl Setting {
    /// A call that has begun and waits.
    async fn waiting(&self) -> Tested<Waiting> {
        let mut caller = caller(self.address)?;
        let waiting = tokio::spawn(async move { caller.wait(WaitRequest {}).await });
        let mut begun = self.depot.seen.begun.subscribe();
        begun.wait_for(|begun| *begun == 1).await?;
        Ok(waiting)
    }

    async fn greet(&self) -> Tested<Result<String, tonic::Status>> {
        let name = "x".to_owned();
        let answer = caller(self.address)?.greet(GreetRequest { name }).await;
        Ok(answer.map(|reply| reply.into_inner().text))
    }
}

#[tokio::test]
async fn a_gateway_is_not_ready_first_and_still_takes_calls() -> Tested {
    bounded(async {
        let mut set = setting(&["--drain-delay", LONG]).await?;
        let health = http1(set.address, "GET /healthz").await?;
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        set.gateway.signal(Signal::TERM)?;
        let said = set.gateway.said("not ready").await?;
        assert!(said.contains("draining in 3600 s"), "{said}");
        // The line comes first; what it says is seen soon.
        while http1(set.address, "GET /healthz")
            .await?
            .starts_with("HTTP/1.1 200")
        {
            tokio::task::yield_now().await;
        }
        let health = http1(set.address, "GET /healthz").await?;
        assert!(
            health.starts_with("HTTP/1.1 503") && health.contains("shutting down"),
            "{health}"
        );
        assert_eq!(set.greet().await?.map_err(Box::new)?, "depot greets x");
        set.gateway.signal(Signal::TERM)?;
        assert_eq!(set.gateway.code().await?, Some(0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_second_signal_in_the_delay_cuts_open_calls_off() -> Tested {
    bounded(async {
        let mut set = setting(&["--drain-delay", LONG]).await?;
        let waiting = set.waiting().await?;
        set.gateway.signal(Signal::TERM)?;
        set.gateway.said("not ready").await?;
        set.gateway.signal(Signal::INT)?;
        assert_eq!(set.gateway.code().await?, Some(3));
        assert!(waiting.await?.is_err());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn it_drains_after_the_delay_and_open_calls_finish() -> Tested {
    bounded(async {
        let mut set = setting(&["--drain-delay", "1", "--drain-limit", LONG]).await?;
        let waiting = set.waiting().await?;
        set.gateway.signal(Signal::TERM)?;
        set.gateway.said("draining;").await?;
        while set.greet().await?.is_ok() {
            tokio::task::yield_now().await;
        }
        set.depot.seen.release.send_replace(true);
        waiting.await??;
        assert_eq!(set.gateway.code().await?, Some(0));
        set.agent.said("the gateway drained it").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_interrupt_needs_no_delay() -> Tested {
    bounded(async {
        let mut set = setting(&["--drain-delay", LONG]).await?;
        set.gateway.signal(Signal::INT)?;
        set.gateway.said("draining;").await?;
        assert_eq!(set.gateway.code().await?, Some(0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_drains_at_once_and_a_dialled_port_after_its_delay() -> Tested {
    bounded(async {
        let mut set = setting(&[]).await?;
        let url = format!("http://{}", set.address);
        let mut port = Running::start(&[
            "dial",
            "--gateway",
            &url,
            "--name",
            "pi",
            "--listen",
            "127.0.0.1:0",
            "--drain-delay",
            LONG,
        ])?;
        port.line().await?;
        port.signal(Signal::TERM)?;
        port.said("not ready").await?;
        port.signal(Signal::TERM)?;
        assert_eq!(port.code().await?, Some(0));
        set.agent.signal(Signal::TERM)?;
        set.agent.said("draining;").await?;
        assert_eq!(set.agent.code().await?, Some(0));
        Ok(())
    })
    .await
}
