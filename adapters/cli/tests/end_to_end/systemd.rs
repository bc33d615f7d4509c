//! What systemd is told, and the sockets that it passes.

use std::{
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    process::Stdio,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{net::UnixDatagram, process::Command};

use crate::{
    pages::http1,
    program::{Running, program},
    support::{Tested, bounded},
};

/// What stands for systemd: it hears what it is told.
struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Tested<Self> {
        let dir = tempfile::tempdir()?;
        let socket = UnixDatagram::bind(dir.path().join("notify"))?;
        Ok(Self { dir, socket })
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("notify")
    }

    /// Waits for a message with this line.
    async fn told(&self, line: &str) -> Tested<String> {
        let mut buffer = [0; 1024];
        loop {
            let count = self.socket.recv(&mut buffer).await?;
            let text = std::str::from_utf8(buffer.get(..count).unwrap_or_default())?;
            if text.lines().any(|told| told == line) {
                return Ok(text.to_owned());
            }
        }
    }
}

/// The program, started as systemd starts it where it listens on `socket` itself.
fn activated(socket: OwnedFd, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_grpctunnel"),
        ])
        .args(arguments)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn systemd_is_told_of_the_beginning_the_state_and_the_end() -> Tested {
    bounded(async {
        let manager = Manager::new()?;
        let mut gateway = program(&[
            "gateway",
            "--listen",
            "127.0.0.1:0",
            "--drain-delay",
            "3600",
        ]);
        gateway.env("NOTIFY_SOCKET", manager.path());
        let gateway = Running::spawn(gateway)?;
        let told = manager.told("READY=1").await?;
        assert!(told.contains("STATUS=ready"), "{told}");
        gateway.signal(Signal::TERM)?;
        let told = manager.told("STOPPING=1").await?;
        assert!(told.contains("STATUS=shutting down"), "{told}");
        gateway.signal(Signal::TERM)?;
        assert_eq!(gateway.code().await?, Some(0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_has_started_without_a_gateway_and_says_what_it_lacks() -> Tested {
    bounded(async {
        let manager = Manager::new()?;
        // Nobody listens there until the gateway does.
        let place = manager.dir.path().join("gateway.sock");
        let place = format!("unix:{}", place.display());
        let mut agent = program(&[
            "agent",
            "--gateway",
            &place,
            "--serve",
            "pi=http://127.0.0.1:1",
            "--retry-limit",
            "1",
        ]);
        agent.env("NOTIFY_SOCKET", manager.path());
        let agent = Running::spawn(agent)?;
        manager.told("READY=1").await?;
        manager.told("STATUS=no tunnel for pi").await?;
        let mut gateway = Running::start(&["gateway", "--listen", &place])?;
        gateway.line().await?;
        manager.told("STATUS=ready").await?;
        gateway.child.kill().await?;
        manager.told("STATUS=no tunnel for pi").await?;
        assert_eq!(agent.terminated().await?.code(), Some(0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_watchdog_hears_it_again_and_again() -> Tested {
    bounded(async {
        let manager = Manager::new()?;
        let mut gateway = program(&["gateway", "--listen", "127.0.0.1:0"]);
        gateway
            .env("NOTIFY_SOCKET", manager.path())
            .env("WATCHDOG_USEC", "20000");
        let _gateway = Running::spawn(gateway)?;
        for _ in 0..3 {
            manager.told("WATCHDOG=1").await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_passed_tcp_socket_is_listened_on() -> Tested {
    bounded(async {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        let listen = address.to_string();
        // It could not bind the address itself: this end holds it, too.
        let kept = socket.try_clone()?;
        let mut gateway =
            Running::spawn(activated(socket.into(), &["gateway", "--listen", &listen]))?;
        assert_eq!(gateway.line().await?, format!("listening on {listen}"));
        let page = http1(address, "GET /healthz").await?;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        gateway.signal(Signal::INT)?;
        assert_eq!(gateway.code().await?, Some(0));
        drop(kept);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_passed_unix_socket_is_listened_on_and_left_to_systemd() -> Tested {
    bounded(async {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("gateway.sock");
        let socket = UnixListener::bind(&path)?;
        let listen = format!("unix:{}", path.display());
        let mut gateway =
            Running::spawn(activated(socket.into(), &["gateway", "--listen", &listen]))?;
        assert_eq!(gateway.line().await?, format!("listening on {listen}"));
        gateway.signal(Signal::INT)?;
        assert_eq!(gateway.code().await?, Some(0));
        assert!(Path::new(&path).exists(), "it is systemd's");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_passed_socket_of_another_address_is_told() -> Tested {
    bounded(async {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?.to_string();
        let mut gateway = Running::spawn(activated(
            socket.into(),
            &["gateway", "--listen", "127.0.0.1:0"],
        ))?;
        let said = gateway.said("nothing listens on").await?;
        assert!(
            said.contains(&address) && said.contains("--listen"),
            "{said}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_passed_socket_beyond_loopback_needs_protection_as_any_other() -> Tested {
    bounded(async {
        let socket = std::net::TcpListener::bind("0.0.0.0:0")?;
        let listen = format!(":{}", socket.local_addr()?.port());
        let mut gateway =
            Running::spawn(activated(socket.into(), &["gateway", "--listen", &listen]))?;
        gateway.said("--insecure").await?;
        assert_eq!(gateway.code().await?, Some(2));
        Ok(())
    })
    .await
}
