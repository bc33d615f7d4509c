//! A peer that runs as a process: what it says is read line by line, and it never outlives its
//! owner.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A running process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    said: String,
}

impl Process {
    /// Starts a command; its standard output and its standard error are read as one.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (sender, lines) = mpsc::unbounded_channel();
        read_lines(child.stdout.take(), sender.clone());
        read_lines(child.stderr.take(), sender);
        Ok(Self {
            child,
            lines,
            said: String::new(),
        })
    }

    /// The id of the process, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for a line that holds `marker`; returns what follows the marker on it.
    ///
    /// # Errors
    ///
    /// When no such line came within `limit`, with all that the process has said.
    pub async fn line(&mut self, marker: &str, limit: Duration) -> io::Result<String> {
        let found = timeout(limit, async {
            while let Some(line) = self.lines.recv().await {
                self.said += &line;
                self.said.push('\n');
                if let Some((_, rest)) = line.split_once(marker) {
                    return Some(rest.trim().to_owned());
                }
            }
            None
        });
        let error = match found.await {
            Ok(Some(rest)) => return Ok(rest),
            Ok(None) => format!("ended without a line with {marker:?}"),
            Err(_) => format!("no line with {marker:?} within {limit:?}"),
        };
        Err(self.failure(&error))
    }

    /// Waits for the process to end with exit code 0; returns all that it has said.
    ///
    /// # Errors
    ///
    /// When it ended otherwise, or not within `limit`, with all that it has said.
    pub async fn success(mut self, limit: Duration) -> io::Result<String> {
        match timeout(limit, self.end()).await {
            Ok(Ok(status)) if status.success() => Ok(self.said),
            Ok(Ok(status)) => Err(self.failure(&status.to_string())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.failure(&format!("still running after {limit:?}"))),
        }
    }

    async fn end(&mut self) -> io::Result<ExitStatus> {
        while let Some(line) = self.lines.recv().await {
            self.said += &line;
            self.said.push('\n');
        }
        self.child.wait().await
    }

    fn failure(&self, what: &str) -> io::Error {
        io::Error::other(format!("{what}; it said:\n{}", self.said))
    }
}

fn read_lines<R>(from: Option<R>, to: mpsc::UnboundedSender<String>)
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let Some(from) = from else { return };
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}
