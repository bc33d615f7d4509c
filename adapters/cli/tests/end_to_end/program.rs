//! The program itself: what it prints, and how it ends.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use crate::{
    observed::get,
    support::{
        Tested, bounded, caller, depot,
        stubs::{GreetRequest, WaitRequest},
        to,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};
use tonic::Code;

const DEMO_LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grpctunnel"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The program while it runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Tested<Self> {
        Self::spawn(program(arguments))
    }

    pub(crate) fn spawn(mut program: Command) -> Tested<Self> {
        let mut child = program.spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let lines = BufReader::new(stdout).lines();
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let errors = BufReader::new(stderr).lines();
        Ok(Self {
            child,
            lines,
            errors,
        })
    }

    /// The next line on standard output.
    pub(crate) async fn line(&mut self) -> Tested<String> {
        Ok(self.lines.next_line().await?.ok_or("ended early")?)
    }

    /// Waits for a line that begins like this, indented or not, and returns the rest.
    async fn after(&mut self, begin: &str) -> Tested<String> {
        loop {
            if let Some(rest) = self.line().await?.trim().strip_prefix(begin) {
                return Ok(rest.to_owned());
            }
        }
    }

    pub(crate) async fn terminated(self) -> Tested<ExitStatus> {
        self.signalled(1).await
    }

    /// Sends SIGTERM so often, each time when the one before has been heard, and waits for the end.
    async fn signalled(mut self, times: usize) -> Tested<ExitStatus> {
        self.signal(Signal::TERM)?;
        for _ in 1..times {
            self.said("draining").await?;
            self.signal(Signal::TERM)?;
        }
        Ok(self.child.wait().await?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Tested {
        let id = i32::try_from(self.child.id().ok_or("ended early")?)?;
        let pid = Pid::from_raw(id).ok_or("no pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for a line on standard error with this text.
    pub(crate) async fn said(&mut self, text: &str) -> Tested<String> {
        loop {
            let line = self.errors.next_line().await?.ok_or("ended early")?;
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Waits for its end, and gives its exit code.
    pub(crate) async fn code(mut self) -> Tested<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }
}

/// A gateway and an agent named `pi`, and the gateway's address.
async fn pair(local: SocketAddr, more: &[&str]) -> Tested<(Running, Running, String)> {
    pair_with(local, &[], more).await
}

pub(crate) async fn pair_with(
    local: SocketAddr,
    of_gateway: &[&str],
    more: &[&str],
) -> Tested<(Running, Running, String)> {
    let mut arguments = vec!["gateway", "--listen", "127.0.0.1:0"];
    if !of_gateway.contains(&"--drain-delay") {
        arguments.extend(["--drain-delay", "0"]);
    }
    arguments.extend(of_gateway);
    let mut gateway = Running::start(&arguments)?;
    let line = gateway.line().await?;
    let address = line.strip_prefix("listening on ").ok_or("another line")?;
    let url = format!("http://{address}");
    let local = format!("http://{local}");
    let mut arguments = vec![
        "agent",
        "--gateway",
        &url,
        "--name",
        "pi",
        "--local",
        &local,
    ];
    arguments.extend(more);
    let mut agent = Running::start(&arguments)?;
    assert_eq!(agent.line().await?, format!("connected to {url} as pi"));
    Ok((gateway, agent, address.to_owned()))
}

#[tokio::test]
async fn the_demo_shows_everything_and_ends_well() -> Tested {
    let output = tokio::time::timeout(DEMO_LIMIT, program(&["demo"]).output()).await??;
    let shown = String::from_utf8(output.stdout)?;
    let said = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{shown}\n{said}");
    assert_eq!(said, "");
    for step in [
        "unary calls",
        "server stream",
        "bidi exchange",
        "upload",
        "cancelled call",
        "deadline",
        "agent restart",
        "takeover",
        "TLS and tokens",
    ] {
        assert!(shown.contains(&format!("ok  {step}")), "{step}: {shown}");
    }
    assert!(shown.contains("64 MiB"), "{shown}");
    assert!(shown.contains("DEADLINE_EXCEEDED"), "{shown}");
    assert!(
        !shown.contains('\x1b') && !shown.contains('\r'),
        "not plain: {shown:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_demo_that_stays_can_be_called_until_it_is_told_to_end() -> Tested {
    tokio::time::timeout(DEMO_LIMIT, async {
        let mut demo = Running::start(&["demo", "--stay", "--upload", "1"])?;
        let gateway = demo.after("gateway   http://").await?;
        let page = demo.after("admin     http://").await?;
        let admin = page.trim_end_matches('/').parse()?;
        assert_eq!(get(admin, "/ready").await?.status, 200);
        let tunnels = get(admin, "/tunnels").await?.body;
        assert!(tunnels.contains("\"demo\""), "{tunnels}");
        let request = GreetRequest {
            name: "x".to_owned(),
        };
        let mut caller = caller(gateway.parse()?)?;
        let reply = caller.greet(to("demo", request)).await?.into_inner();
        assert_eq!(reply.text, "Hello, x");
        demo.signal(Signal::INT)?;
        assert_eq!(demo.code().await?, Some(0));
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn gateway_and_agent_pass_calls_and_end_by_a_signal() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let (gateway, agent, address) = pair(depot.address, &[]).await?;
        let request = GreetRequest {
            name: "x".to_owned(),
        };
        let mut caller = caller(address.parse()?)?;
        let reply = caller.greet(to("pi", request)).await?.into_inner();
        assert_eq!(reply.text, "depot greets x");
        assert_eq!(agent.terminated().await?.code(), Some(0));
        assert_eq!(gateway.terminated().await?.code(), Some(0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_killed_agent_ends_its_calls_unavailable() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let (_gateway, mut agent, address) = pair(depot.address, &[]).await?;
        let mut caller = caller(address.parse()?)?;
        let waiting = tokio::spawn(async move { caller.wait(to("pi", WaitRequest {})).await });
        depot
            .seen
            .begun
            .subscribe()
            .wait_for(|begun| *begun == 1)
            .await?;
        agent.child.kill().await?;
        let status = waiting.await?.err().ok_or("was answered")?;
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        depot
            .seen
            .ended
            .subscribe()
            .wait_for(|ended| *ended == 1)
            .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn calls_cut_off_by_the_drain_limit_show_in_the_exit_code() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let (_gateway, agent, address) = pair(depot.address, &["--drain-limit", "0"]).await?;
        let mut caller = caller(address.parse()?)?;
        let waiting = tokio::spawn(async move { caller.wait(WaitRequest {}).await });
        let seen = &depot.seen;
        seen.begun.subscribe().wait_for(|begun| *begun == 1).await?;
        assert_eq!(agent.terminated().await?.code(), Some(3));
        let status = waiting.await?.err().ok_or("was answered")?;
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        Ok(())
    })
    .await
}

/// A call that waits, a program that is told to end, and how that ends.
async fn cut_off(cut: Cut) -> Tested<Option<i32>> {
    let depot = depot("depot").await?;
    let limit = match cut {
        Cut::GatewayAtLimit | Cut::AgentAtLimit => "1",
        Cut::GatewayBySignal | Cut::AgentBySignal => "60",
    };
    let more = ["--drain-limit", limit];
    let (gateway, agent, address) = pair_with(depot.address, &more, &more).await?;
    let mut caller = caller(address.parse()?)?;
    let waiting = tokio::spawn(async move { caller.wait(WaitRequest {}).await });
    let seen = &depot.seen;
    seen.begun.subscribe().wait_for(|begun| *begun == 1).await?;
    let (ending, other, signals) = match cut {
        Cut::GatewayAtLimit => (gateway, agent, 1),
        Cut::GatewayBySignal => (gateway, agent, 2),
        Cut::AgentAtLimit => (agent, gateway, 1),
        Cut::AgentBySignal => (agent, gateway, 2),
    };
    let status = ending.signalled(signals).await?;
    assert!(waiting.await?.is_err());
    drop(other);
    Ok(status.code())
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    GatewayAtLimit,
    GatewayBySignal,
    AgentAtLimit,
    AgentBySignal,
}

#[tokio::test]
async fn whatever_cuts_calls_off_shows_in_the_exit_code() -> Tested {
    bounded(async {
        for cut in [
            Cut::GatewayAtLimit,
            Cut::GatewayBySignal,
            Cut::AgentAtLimit,
            Cut::AgentBySignal,
        ] {
            // More than once: what is right by chance is not.
            for _ in 0..3 {
                assert_eq!(cut_off(cut).await?, Some(3), "{cut:?}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_wrong_command_line_is_told_and_has_its_own_code() -> Tested {
    bounded(async {
        let output = program(&["agent", "--gateway", "h:1"]).output().await?;
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr)?;
        assert!(
            said.contains("--gateway") && said.contains("http://HOST:PORT"),
            "{said}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_port_in_use_is_told() -> Tested {
    bounded(async {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = taken.local_addr()?.to_string();
        let output = program(&["gateway", "--listen", &address]).output().await?;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr)?;
        assert!(said.contains(&address), "{said}");
        Ok(())
    })
    .await
}
