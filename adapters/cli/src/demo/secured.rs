//! The same with TLS and tokens, by the configuration that `grpctunnel init` writes.

use std::{ffi::OsString, fs, net::SocketAddr, path::Path};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    agents::RunningAgent,
    stage::{NAME, client},
    steps::{Caller, Wrong},
};
use crate::{
    args::{Command, InitArgs},
    config,
    dial::{Dial, DialEvent},
    gateway::Gateway,
    init::init,
    name::BadName,
    stop::{Ended, Stop},
};

const CALLS: u32 = 20;
const ANY_PORT: &str = "127.0.0.1:0";

/// What ends when it is dropped, and on errors too.
struct Ending(Stop);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.now();
    }
}

/// Makes certificates and tokens, and calls the service through them; somebody with another token
/// is refused.
pub(super) async fn secured(caller: &Caller, service: SocketAddr) -> Result<String, Wrong> {
    let home = tempfile::tempdir().map_err(wrong)?;
    let path = home.path();
    let name = NAME.parse().map_err(|bad: BadName| wrong(bad))?;
    let args = InitArgs {
        dir: path.to_owned(),
        host: vec!["localhost".to_owned()],
        name,
    };
    init(&args).map_err(wrong)?;
    let ending = Ending(Stop::new());
    let stop = &ending.0;

    let Command::Gateway(args) = command(path, "gateway", &[("listen", ANY_PORT)])? else {
        return Wrong::unexpected("no configuration of a gateway");
    };
    let gateway = Gateway::bind(args.settings(), |_| {})
        .await
        .map_err(wrong)?;
    let address = gateway.endpoint().tcp();
    let Some(url) = address.map(|address| format!("https://{address}")) else {
        return Wrong::unexpected("the gateway has no address");
    };
    let serving = tokio::spawn(gateway.run(stop.clone()));

    let local = format!("http://{service}");
    let options = [("gateway", url.as_str()), ("local", &local)];
    let Command::Agent(args) = command(path, "agent", &options)? else {
        return Wrong::unexpected("no configuration of an agent");
    };
    let agent = args.settings().load().map_err(wrong)?;
    let agent = RunningAgent::start(agent).await.map_err(Wrong::new)?;
    let (port, dialling) = dial(path, &url, stop).await?;

    let mut caller = caller.elsewhere(client(port));
    for number in 0..CALLS {
        caller.greeting(number).await?;
    }
    refused(path, &options).await?;

    agent.kill().await;
    drop(ending);
    // How they end changes nothing of what is shown.
    let _ = (serving.await, dialling.await);
    Ok(format!(
        "{CALLS} calls with certificates made just now; a wrong token was refused"
    ))
}

/// A local port, connected to the gateway.
async fn dial(
    home: &Path,
    url: &str,
    stop: &Stop,
) -> Result<(SocketAddr, JoinHandle<Ended>), Wrong> {
    let options = [("gateway", url), ("listen", ANY_PORT)];
    let Command::Dial(args) = command(home, "dial", &options)? else {
        return Wrong::unexpected("no configuration of a dialled port");
    };
    let settings = args.settings().load().map_err(wrong)?;
    let port = Dial::bind(settings).await.map_err(wrong)?;
    let Some(address) = port.endpoint().tcp() else {
        return Wrong::unexpected("the dialled port has no address");
    };
    let (said, mut says) = mpsc::unbounded_channel();
    // Nobody listens any more once it is connected.
    let tell = move |event| drop(said.send(event));
    let running = tokio::spawn(port.run(tell, stop.clone()));
    match says.recv().await {
        Some(DialEvent::Connected) => Ok((address, running)),
        Some(DialEvent::Failed { why }) => Wrong::unexpected(why),
        _ => Wrong::unexpected("the dialled port is gone"),
    }
}

/// An agent with a token that nobody gave it.
async fn refused(home: &Path, options: &[(&str, &str)]) -> Result<(), Wrong> {
    let path = home.join("wrong.token");
    fs::write(&path, "0123456789abcdef0123456789abcdef\n").map_err(wrong)?;
    let path = path.to_string_lossy();
    let mut options = options.to_vec();
    options.extend([("token-file", &*path), ("auth-retries", "0")]);
    let Command::Agent(args) = command(home, "agent", &options)? else {
        return Wrong::unexpected("no configuration of an agent");
    };
    let agent = args.settings().load().map_err(wrong)?;
    match agent.run(|_| {}, Stop::new()).await.map_err(wrong)? {
        Ended::Refused => Ok(()),
        _ => Wrong::unexpected("a wrong token was not refused"),
    }
}

/// A command by the configuration in `home`, with more options.
fn command(home: &Path, name: &str, options: &[(&str, &str)]) -> Result<Command, Wrong> {
    let mut line: Vec<OsString> = vec!["grpctunnel".into(), "--config".into()];
    line.extend([home.join("grpctunnel.toml").into(), name.into()]);
    let options = options
        .iter()
        .map(|(key, value)| format!("--{key}={value}"));
    line.extend(options.map(Into::into));
    Ok(config::parse(line).map_err(wrong)?.cli.command)
}

fn wrong(error: impl std::fmt::Display) -> Wrong {
    Wrong::new(error.to_string())
}
