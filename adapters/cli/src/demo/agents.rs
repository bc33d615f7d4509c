//! Agents of the demo: one goes away in the middle of calls, one takes over from another.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinHandle};
use tonic::Code;

use super::{
    screen::{Meter, Took},
    stage::{NAME, Stage},
    steps::{JOB_STEPS, Wrong},
};
use crate::{
    agent::{Agent, AgentEvent},
    name::BadName,
    stop::{Ended, Stop},
    words::code_name,
};

/// How long an agent may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// How many calls are made while an agent takes over.
const HANDOVER_CALLS: u32 = 50;

/// An agent that has been connected.
#[derive(Debug)]
pub(super) struct RunningAgent {
    stop: Stop,
    running: JoinHandle<Ended>,
}

impl RunningAgent {
    /// Starts one, and waits until it can be called.
    pub(super) async fn start(agent: Agent) -> Result<Self, String> {
        let stop = Stop::new();
        let (said, mut says) = mpsc::unbounded_channel();
        // Nobody listens any more once it is connected.
        let tell = move |event| drop(said.send(event));
        let run = agent.run(tell, stop.clone());
        // Its local server is no gateway: that error cannot be.
        let running = tokio::spawn(async { run.await.unwrap_or(Ended::CutOff) });
        let connected = async {
            match says.recv().await {
                Some(AgentEvent::Connected { .. }) => Ok(()),
                Some(AgentEvent::Failed { why, .. }) => Err(why),
                _ => Err("the agent is gone".to_owned()),
            }
        };
        match tokio::time::timeout(CONNECT_LIMIT, connected).await {
            Ok(Ok(())) => Ok(Self { stop, running }),
            Ok(Err(why)) => Err(why),
            Err(_) => Err("the agent did not connect".to_owned()),
        }
    }

    /// Ends it at once, as if its machine were switched off.
    pub(super) async fn kill(self) {
        self.stop.now();
        // How it ends changes nothing of what is shown.
        let _ = self.running.await;
    }
}

/// The agent of the demo.
pub(super) fn agent(gateway: SocketAddr, service: SocketAddr) -> Result<Agent, String> {
    let name = NAME.parse().map_err(|bad: BadName| bad.to_string())?;
    Ok(Agent::new(gateway.into(), name, service.into()))
}

impl Stage {
    async fn another_agent(&self) -> Result<RunningAgent, Wrong> {
        let agent = agent(self.gateway, self.service).map_err(Wrong::new)?;
        RunningAgent::start(agent).await.map_err(Wrong::new)
    }

    /// The agent goes away in the middle of a call, and comes back.
    pub(super) async fn restart(&mut self) -> Result<String, Wrong> {
        let mut open = self.caller.endless_job().await?;
        let Some(first) = self.agent.take() else {
            return Wrong::unexpected("there is no agent");
        };
        first.kill().await;
        let status = loop {
            match open.message().await {
                Ok(Some(step)) => self.caller.tally.received(&step),
                Ok(None) => return Wrong::unexpected("the open call ended well"),
                Err(status) => break status,
            }
        };
        if status.code() != Code::Unavailable {
            return Err(status.into());
        }
        self.caller.tally.ended(status.code());
        let begun = Instant::now();
        self.agent = Some(self.another_agent().await?);
        self.caller.greeting(0).await?;
        Ok(format!(
            "the open call ended with {}; started again, the next was answered after {}",
            code_name(status.code()),
            Took(begun.elapsed())
        ))
    }

    /// A second agent takes over while calls go on; the first one finishes what it has.
    pub(super) async fn takeover(&mut self, meter: &Meter) -> Result<String, Wrong> {
        let mut open = self.caller.job().await?;
        let second = self.another_agent().await?;
        let Some(first) = self.agent.replace(second) else {
            return Wrong::unexpected("there is no agent");
        };
        for number in 0..HANDOVER_CALLS {
            if number == HANDOVER_CALLS / 4 {
                first.stop.drain();
            }
            self.caller.greeting(number).await?;
            meter.advance(1);
        }
        let mut done = 0;
        while let Some(step) = open.message().await? {
            self.caller.tally.received(&step);
            done = step.done;
        }
        if done != JOB_STEPS {
            return Wrong::unexpected(format!("the open call ended after {done} steps"));
        }
        self.caller.tally.ended(Code::Ok);
        match first.running.await {
            Ok(Ended::Finished) => Ok(format!(
                "{HANDOVER_CALLS} calls answered while the first agent drained; its open call finished"
            )),
            _ => Wrong::unexpected("the first agent cut calls off"),
        }
    }
}

/// How many units the measured step has.
pub(super) const HANDOVER_UNITS: u64 = HANDOVER_CALLS as u64;
