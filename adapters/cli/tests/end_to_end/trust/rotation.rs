//! Certificates, tokens and rules are replaced while calls pass, and none fails.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tonic::transport::ClientTlsConfig;

use super::{by, tls_caller};
use crate::{
    program::program,
    support::{Tested, bounded, depot, pki::Authority, stubs::GreetRequest, to},
};

const FIRST: &str = "first-token-0123456789";
const SECOND: &str = "second-token-0123456789";

/// A program, and the lines that it says.
pub(crate) struct Spoken {
    child: Child,
    lines: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Spoken {
    pub(crate) fn start(mut command: Command) -> Tested<Self> {
        let mut child = command.spawn()?;
        let (say, lines) = tokio::sync::mpsc::unbounded_channel();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let also = say.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(out?).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                also.send(line).ok()?;
            }
            Some(())
        });
        tokio::spawn(async move {
            let mut lines = BufReader::new(err?).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                say.send(line).ok()?;
            }
            Some(())
        });
        Ok(Self { child, lines })
    }

    /// The next line with this in it.
    pub(crate) async fn says(&mut self, part: &str) -> Tested<String> {
        let mut said = Vec::new();
        loop {
            let Some(line) = self.lines.recv().await else {
                return Err(format!("ended without {part:?}: {said:?}").into());
            };
            if line.contains(part) {
                return Ok(line);
            }
            said.push(line);
        }
    }

    pub(crate) fn hang_up(&self) -> Tested {
        let id = i32::try_from(self.child.id().ok_or("ended early")?)?;
        kill_process(Pid::from_raw(id).ok_or("no pid")?, Signal::HUP)?;
        Ok(())
    }

    pub(crate) async fn ended(&mut self) -> Tested<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }
}

/// Replaces a file as careful programs do.
pub(crate) fn replace(path: &Path, text: &str) -> Tested {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)?;
    Ok(())
}

/// Calls on new and on old connections until it is told to stop; how many, and how many failed.
struct Load {
    stop: Arc<AtomicBool>,
    token: Arc<std::sync::Mutex<&'static str>>,
    failed: Arc<AtomicU32>,
    done: Arc<AtomicU32>,
}

impl Load {
    fn start(address: std::net::SocketAddr, tls: ClientTlsConfig) -> Self {
        let load = Self {
            stop: Arc::default(),
            token: Arc::new(std::sync::Mutex::new(FIRST)),
            failed: Arc::default(),
            done: Arc::default(),
        };
        let (stop, token) = (Arc::clone(&load.stop), Arc::clone(&load.token));
        let (failed, done) = (Arc::clone(&load.failed), Arc::clone(&load.done));
        tokio::spawn(async move {
            let mut old = tls_caller(address, tls.clone())?;
            while !stop.load(Ordering::SeqCst) {
                let mut new = tls_caller(address, tls.clone())?;
                for caller in [&mut old, &mut new] {
                    let token = token.lock().map_or(FIRST, |token| *token);
                    let request = by(token, to("home", GreetRequest::default()))?;
                    if let Err(status) = caller.greet(request).await {
                        eprintln!("failed: {status}");
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }
            Tested::Ok(())
        });
        load
    }

    /// Waits until some more calls have been made.
    async fn goes_on(&self) {
        let goal = self.done.load(Ordering::SeqCst) + 20;
        while self.done.load(Ordering::SeqCst) < goal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn configuration(rules: &str) -> String {
    format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\ntls-cert = \"gateway.pem\"\ntls-key = \
         \"gateway.key\"\ntokens-file = \"tokens\"\nallow = [\"token:home serve home\", {rules}]\n"
    )
}

/// The rules change, and a configuration that is wrong changes nothing.
async fn the_file_is_replaced(gateway: &mut Spoken, file: &Path, load: &Load) -> Tested {
    replace(file, &configuration("\"* call *\""))?;
    gateway.says("read the configuration").await?;
    replace(file, "[gateway]\nlisten = \"127.0.0.1:0\"\nalow = []\n")?;
    let line = gateway.says("stays as it was").await?;
    assert!(
        line.contains("gateway.alow") && line.contains("gateway.allow"),
        "{line}"
    );
    gateway.hang_up()?;
    gateway.says("stays as it was").await?;
    load.goes_on().await;
    replace(file, &(configuration("\"* call *\"") + "memory = 128\n"))?;
    let line = gateway.says("read the configuration").await?;
    assert!(line.contains("restart=\"memory\""), "{line}");
    load.goes_on().await;
    Ok(())
}

#[tokio::test]
async fn everything_is_replaced_under_load_without_a_failed_call() -> Tested {
    bounded(async {
        let authority = Authority::new()?;
        authority.issue("gateway", &["localhost", "127.0.0.1"])?;
        let (tokens, file) = (authority.path("tokens"), authority.path("grpctunnel.toml"));
        std::fs::write(&tokens, format!("home {FIRST}\n"))?;
        std::fs::write(&file, configuration("\"token:home call home\""))?;
        std::fs::write(authority.path("home.token"), FIRST)?;
        let path = file.to_string_lossy().into_owned();
        let mut gateway = Spoken::start(program(&["gateway", "--config", &path]))?;
        let line = gateway.says("listening on ").await?;
        let address = line
            .strip_prefix("listening on ")
            .ok_or("another line")?
            .to_owned();
        let depot = depot("home").await?;
        let (url, local) = (
            format!("https://{address}"),
            format!("http://{}", depot.address),
        );
        let (ca, token) = (authority.ca(), authority.path("home.token"));
        let (ca, token) = (ca.to_string_lossy(), token.to_string_lossy());
        let mut agent = Spoken::start(program(&[
            "agent",
            "--gateway",
            &url,
            "--ca",
            &ca,
            "--token-file",
            &token,
            "--name",
            "home",
            "--local",
            &local,
        ]))?;
        agent.says("connected to").await?;
        let load = Load::start(address.parse()?, authority.trusting());
        load.goes_on().await;

        // The certificate and its key, one after the other: in between they do not match.
        authority.issue("gateway", &["localhost", "127.0.0.1"])?;
        gateway.says("read the configuration").await?;
        load.goes_on().await;
        // A second token, then without the first.
        replace(&tokens, &format!("home {FIRST}\nhome {SECOND}\n"))?;
        gateway.says("read the configuration").await?;
        if let Ok(mut token) = load.token.lock() {
            *token = SECOND;
        }
        load.goes_on().await;
        replace(&authority.path("home.token"), SECOND)?;
        agent.says("read the configuration").await?;
        replace(&tokens, &format!("home {SECOND}\n"))?;
        gateway.says("read the configuration").await?;
        load.goes_on().await;
        the_file_is_replaced(&mut gateway, &file, &load).await?;
        load.stop.store(true, Ordering::SeqCst);
        assert_eq!(load.failed.load(Ordering::SeqCst), 0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_that_loses_its_name_gives_up_with_a_code_of_its_own() -> Tested {
    bounded(async {
        let authority = Authority::new()?;
        authority.issue("gateway", &["localhost", "127.0.0.1"])?;
        let (tokens, file) = (authority.path("tokens"), authority.path("grpctunnel.toml"));
        std::fs::write(&tokens, format!("home {FIRST}\n"))?;
        std::fs::write(&file, configuration("\"* call *\""))?;
        std::fs::write(authority.path("home.token"), FIRST)?;
        let path = file.to_string_lossy().into_owned();
        let mut gateway = Spoken::start(program(&["gateway", "--config", &path]))?;
        let line = gateway.says("listening on ").await?;
        let address = line.strip_prefix("listening on ").ok_or("another line")?;
        let depot = depot("home").await?;
        let (url, local) = (
            format!("https://{address}"),
            format!("http://{}", depot.address),
        );
        let (ca, token) = (authority.ca(), authority.path("home.token"));
        let (ca, token) = (ca.to_string_lossy(), token.to_string_lossy());
        let mut agent = Spoken::start(program(&[
            "agent",
            "--gateway",
            &url,
            "--ca",
            &ca,
            "--token-file",
            &token,
            "--name",
            "home",
            "--local",
            &local,
            "--retry-limit",
            "1",
            "--auth-retries",
            "1",
        ]))?;
        agent.says("connected to").await?;
        replace(&tokens, &format!("other {SECOND}\n"))?;
        let line = gateway.says("may not serve this name any more").await?;
        assert!(line.contains("token:home"), "{line}");
        agent.says("the token is not valid").await?;
        agent.says("does not accept the credentials").await?;
        assert_eq!(agent.ended().await?, Some(4));
        Ok(())
    })
    .await
}
