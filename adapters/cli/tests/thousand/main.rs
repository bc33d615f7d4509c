//! A thousand agents on one gateway: what a tunnel takes, and how they come back after a restart.
//!
//! The gateway is the program itself; the agents are tasks of this process.
#![cfg(target_os = "linux")]

use std::{
    error::Error,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use grpctunnel_cli::{
    agent::{Agent, AgentEvent},
    auth::{CredentialSettings, Credentials},
    files,
    origin::Origin,
    stop::Stop,
    tls::ClientFiles,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

type Tested<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const AGENTS: usize = 1_000;
/// Handshakes that the gateway lets begin in a second.
const RATE: usize = 300;
/// In this process: one for each agent, and what it tries besides.
const FILES: usize = 2 * AGENTS + 200;
/// No outgoing connection has this address, so the port stays free while the gateway is down.
const HOST: &str = "127.0.0.2";
/// How long all may take to come back, on a machine that has time for it.
const BACK: Duration = Duration::from_secs(30);
/// What of the machine others may take for that to be judged, in percent.
const BUSY: u64 = 50;
/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(600);

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grpctunnel"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The gateway while it runs.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    async fn start(listen: &str, tls: Option<&Path>) -> Tested<Self> {
        let mut command = program(&["gateway", "--listen", listen]);
        if let Some(dir) = tls {
            command.arg("--tls-cert").arg(dir.join("gateway.pem"));
            command.arg("--tls-key").arg(dir.join("gateway.key"));
        }
        // Each agent that comes and goes is a line, which nobody reads here.
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let line = lines.next_line().await?.ok_or("the gateway ended")?;
        let address = line.strip_prefix("listening on ").ok_or("another line")?;
        Ok(Self {
            child,
            address: address.to_owned(),
        })
    }

    /// KiB of memory that it has.
    fn memory(&self) -> Tested<usize> {
        let id = self.child.id().ok_or("the gateway ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.ok_or("no VmRSS")?.parse()?)
    }
}

/// Time of CPUs, in ticks of the kernel: of the whole machine, and what of it was idle, or was that
/// of the gateway and of this process.
#[derive(Clone, Copy)]
struct Ticks {
    all: u64,
    idle: u64,
    own: u64,
}

impl Ticks {
    fn now(gateway: &Gateway) -> Tested<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().ok_or("no CPU")?;
        let fields = line.split_whitespace().skip(1).take(8);
        let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>()?;
        let id = gateway.child.id().ok_or("the gateway ended")?;
        Ok(Self {
            all: fields.iter().sum(),
            // The fourth and the fifth: idle, and idle beside IO.
            idle: fields.iter().skip(3).take(2).sum(),
            own: of_process("self")? + of_process(&id.to_string())?,
        })
    }

    /// What of the machine others took since then, in percent.
    fn others_since(self, then: Self) -> u64 {
        let all = (self.all - then.all).max(1);
        let ours = (self.idle - then.idle) + (self.own - then.own);
        100 - (ours * 100 / all).min(100)
    }
}

fn of_process(id: &str) -> Tested<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // Behind the name, which may have anything in it; utime and stime.
    let fields = stat.rsplit(')').next().ok_or("no name")?;
    let times = fields.split_whitespace().skip(11).take(2);
    let times = times.map(str::parse::<u64>);
    Ok(times.collect::<Result<Vec<_>, _>>()?.iter().sum())
}

/// What an agent did: its number, and when.
type Connected = (usize, Instant);

struct Agents {
    stop: Stop,
    running: JoinSet<()>,
    connected: UnboundedReceiver<Connected>,
}

impl Agents {
    fn start(gateway: &Origin, credentials: &Credentials) -> Tested<Self> {
        let (said, connected) = unbounded_channel();
        let (stop, mut running) = (Stop::new(), JoinSet::new());
        for number in 0..AGENTS {
            // No call is made, so nobody listens there.
            let local = "http://127.0.0.1:9".parse()?;
            let mut agent = Agent::new(gateway.clone(), format!("a{number}").parse()?, local);
            agent.credentials = credentials.clone();
            agent.drain_limit = Duration::ZERO;
            let tell = told(number, said.clone());
            let stop = stop.clone();
            running.spawn(async move {
                // How it ends is nothing that is tested here.
                let _ = agent.run(tell, stop).await;
            });
        }
        Ok(Self {
            stop,
            running,
            connected,
        })
    }

    /// Waits until each has connected once more; when each did.
    async fn all_connected(&mut self) -> Tested<Vec<Instant>> {
        let mut seen = vec![false; AGENTS];
        let mut when = Vec::with_capacity(AGENTS);
        while when.len() < AGENTS {
            let next = tokio::time::timeout(LIMIT, self.connected.recv());
            let next = next.await.map_err(|_| {
                let missing = AGENTS - when.len();
                format!("{missing} agents did not connect within {LIMIT:?}")
            })?;
            let (number, at) = next.ok_or("the agents are gone")?;
            let seen = seen.get_mut(number).ok_or("no such agent")?;
            if !std::mem::replace(seen, true) {
                when.push(at);
            }
        }
        when.sort_unstable();
        Ok(when)
    }
}

fn told(number: usize, said: UnboundedSender<Connected>) -> impl Fn(AgentEvent) + Send + Sync {
    move |event| {
        if matches!(event, AgentEvent::Connected { .. }) {
            // The test may have seen enough.
            let _ = said.send((number, Instant::now()));
        }
    }
}

/// Checks that handshakes began at the rate of the gateway at most: what has connected began before.
fn assert_paced(since: Instant, connected: &[Instant]) {
    for (place, at) in connected.iter().enumerate() {
        let seconds = u32::try_from(place / RATE).unwrap_or(u32::MAX);
        let earliest = since + Duration::from_secs(seconds.into());
        assert!(
            *at >= earliest,
            "{} handshakes within {:?}",
            place + 1,
            *at - since
        );
    }
}

/// The most connections that were made within one second.
fn most_in_a_second(connected: &[Instant]) -> usize {
    let second = Duration::from_secs(1);
    let within = |first: &Instant| {
        let behind = connected.partition_point(|at| *at < *first + second);
        behind - connected.partition_point(|at| at < first)
    };
    connected.iter().map(within).max().unwrap_or(0)
}

async fn come_and_come_back(what: &str, tls: Option<&Path>) -> Tested {
    let gateway = Gateway::start(&format!("{HOST}:0"), tls).await?;
    let before = gateway.memory()?;
    let address = gateway.address.clone();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut settings = CredentialSettings::default();
    if let Some(dir) = tls {
        settings.tls = ClientFiles::trusting(dir.join("ca.pem"));
    }
    let credentials = Credentials::load(&settings)?;
    let begun = Instant::now();
    let mut agents = Agents::start(&format!("{scheme}://{address}").parse()?, &credentials)?;
    let connected = agents.all_connected().await?;
    assert_paced(begun, &connected);
    let each = gateway.memory()?.saturating_sub(before) / AGENTS;
    println!("{what}: {each} KiB of the gateway's memory for each of {AGENTS} tunnels");

    let mut gateway = gateway;
    gateway.child.kill().await?;
    // Those that connected again before all had connected are none of what follows.
    while agents.connected.try_recv().is_ok() {}
    let restarted = Instant::now();
    let gateway = Gateway::start(&address, tls).await?;
    let ticks = Ticks::now(&gateway)?;
    let connected = agents.all_connected().await?;
    let others = Ticks::now(&gateway)?.others_since(ticks);
    assert_paced(restarted, &connected);
    let took = connected.last().ok_or("nobody")?.duration_since(restarted);
    let most = most_in_a_second(&connected);
    println!("{what}: all back {took:.1?} after the restart, {most} in the busiest second");
    if others > BUSY {
        println!("{what}: others took {others} % of the machine, so that time says nothing");
    } else {
        assert!(
            took <= BACK,
            "{what}: {took:?}, others took {others} % of the machine"
        );
    }

    agents.stop.now();
    while agents.running.join_next().await.is_some() {}
    drop(gateway);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_agents_come_back_after_a_restart() -> Tested {
    let files = files::raise_limit(FILES);
    if files < FILES {
        return Err(format!(
            "only {files} files may be open, and this test needs {FILES}: raise the hard limit \
             (ulimit -Hn)"
        )
        .into());
    }
    let dir = tempfile::tempdir()?;
    let home = dir.path().join("home");
    let path = home.display().to_string();
    let mut init = program(&["init", "--dir", &path, "--host", HOST]);
    assert!(init.status().await?.success());
    come_and_come_back("plain", None).await?;
    come_and_come_back("TLS", Some(&home)).await
}
