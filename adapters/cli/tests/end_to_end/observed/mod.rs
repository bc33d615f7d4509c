//! What a command tells of itself: log lines, metrics, the admin port.

mod admin;
mod log;
mod ls;
mod metrics;
mod page;
mod trace;

use std::{net::SocketAddr, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

use crate::support::Tested;

pub(crate) const TOKEN: &str = "0123456789abcdef-token";

/// The program while it runs, and all that it has said.
pub(crate) struct Running {
    child: Child,
    pub(crate) out: Said,
    pub(crate) err: Said,
}

/// The lines of one stream.
pub(crate) struct Said {
    lines: watch::Receiver<Vec<String>>,
    /// Ends with the stream.
    reading: JoinHandle<()>,
}

impl Said {
    fn new(stream: impl tokio::io::AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        let reading = tokio::spawn(async move {
            let mut read = BufReader::new(stream).lines();
            while let Ok(Some(line)) = read.next_line().await {
                sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        Self { lines, reading }
    }

    /// Waits until `find` finds something in the lines.
    pub(crate) async fn find<T>(&self, find: impl Fn(&[String]) -> Option<T>) -> Tested<T> {
        let mut lines = self.lines.clone();
        let has = lines.wait_for(|lines| find(lines).is_some()).await;
        let lines = has.map_err(|_| format!("ended early: {:#?}", *self.lines.borrow()))?;
        find(&lines).ok_or_else(|| "changed its mind".into())
    }

    /// Waits for a line that begins like this, and returns the rest.
    pub(crate) async fn rest(&self, begin: &str) -> Tested<String> {
        self.find(|lines| {
            let mut rests = lines.iter().filter_map(|line| line.strip_prefix(begin));
            rests.next().map(str::to_owned)
        })
        .await
    }

    /// Waits until this many lines hold this.
    pub(crate) async fn having(&self, part: &str, count: usize) -> Tested<Vec<String>> {
        self.find(|lines| {
            let having = lines.iter().filter(|line| line.contains(part));
            let having: Vec<_> = having.cloned().collect();
            (having.len() >= count).then_some(having)
        })
        .await
    }
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Tested<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grpctunnel"));
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        Ok(Self {
            out: Said::new(child.stdout.take().ok_or("no stdout")?),
            err: Said::new(child.stderr.take().ok_or("no stderr")?),
            child,
        })
    }

    /// A gateway with an admin port, its address and that of the port.
    pub(crate) async fn gateway(more: &[&str]) -> Tested<(Self, SocketAddr, SocketAddr)> {
        let mut arguments = vec![
            "gateway",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ];
        arguments.extend(more);
        let gateway = Self::start(&arguments)?;
        let address = gateway.out.rest("listening on ").await?.parse()?;
        let admin = gateway.admin().await?;
        Ok((gateway, address, admin))
    }

    /// An agent with an admin port that is connected, and the port's address.
    pub(crate) async fn agent(
        gateway: SocketAddr,
        name: &str,
        local: SocketAddr,
    ) -> Tested<(Self, SocketAddr)> {
        let agent = Self::agent_that_tries(gateway, name, local)?;
        agent.out.rest("connected to ").await?;
        let admin = agent.admin().await?;
        Ok((agent, admin))
    }

    pub(crate) fn agent_that_tries(
        gateway: SocketAddr,
        name: &str,
        local: SocketAddr,
    ) -> Tested<Self> {
        let (gateway, local) = (format!("http://{gateway}"), format!("http://{local}"));
        let admin = ["--admin", "127.0.0.1:0", "--retry-limit", "1"];
        let mut arguments = vec!["agent", "--gateway", &gateway, "--name", name];
        arguments.extend(["--local", &local]);
        arguments.extend(admin);
        Self::start(&arguments)
    }

    /// The address of its admin port.
    pub(crate) async fn admin(&self) -> Tested<SocketAddr> {
        let url = self.out.rest("admin on http://").await?;
        Ok(url.trim_end_matches('/').parse()?)
    }

    /// Ends it by SIGTERM, and waits for its end and for its last line.
    pub(crate) async fn terminated(mut self) -> Tested<Vec<String>> {
        let id = i32::try_from(self.child.id().ok_or("ended early")?)?;
        kill_process(Pid::from_raw(id).ok_or("no pid")?, Signal::TERM)?;
        self.child.wait().await?;
        self.err.reading.await?;
        let lines = self.err.lines.borrow().clone();
        Ok(lines)
    }
}

/// A token in a file.
pub(crate) fn token_file() -> Tested<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), TOKEN)?;
    Ok(file)
}

/// An answer of HTTP/1.1.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Tested<Value> {
        Ok(serde_json::from_str(&self.body)?)
    }
}

/// Asks an admin port; `headers` are lines, with a `host` among them.
pub(crate) async fn ask(
    admin: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
) -> Tested<Answered> {
    let mut stream = TcpStream::connect(admin).await?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head.get(9..12).ok_or("no status")?.parse()?;
    Ok(Answered {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

pub(crate) async fn get(admin: SocketAddr, path: &str) -> Tested<Answered> {
    ask(admin, "GET", path, &["host: localhost"]).await
}
