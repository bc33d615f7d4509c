//! Commands that run until they are told to end.

use std::{io, process::ExitCode, time::Duration};

use grpctunnel_cli::{
    admin::{Admin, AdminError, AdminSettings, Panel},
    agent::AgentEvent,
    args::{AgentSettings, Command, PortSettings},
    config::{self, Reload},
    dial::{Dial, DialEvent},
    files,
    gateway::{Gateway, GatewaySettings},
    log,
    metrics::Recorder,
    stop::{Ended, Stop},
};

use crate::{cannot_listen, failed, listening, say, stop_on_signals, wrong_setup};

/// Memory that a gateway has for each connection.
const CONNECTION: usize = 128 << 10;
/// The most connections, whatever memory there is.
const MAX_CONNECTIONS: usize = 65_536;
/// Files that are not connections.
const OTHER_FILES: usize = 64;

/// Reads the configuration again when it changes, and has it applied.
fn keep_current(reload: Reload, apply: impl FnMut(Command) -> Result<(), String> + Send + 'static) {
    let mut apply = apply;
    let apply = move |parsed: config::Parsed| apply(parsed.cli.command);
    tokio::spawn(async move {
        if let Err(error) = reload.run(apply, log::reloaded).await {
            log::warn(format_args!(
                "changes of the configuration go unnoticed: {error}"
            ));
        }
    });
}

pub(crate) async fn gateway(
    settings: GatewaySettings,
    admin: Option<AdminSettings>,
    delay: Duration,
    reload: Reload,
) -> Result<Ended, ExitCode> {
    let listen = settings.listen.clone();
    allow_files(settings.memory);
    let gateway = Gateway::bind(settings, log::gateway).await;
    let gateway = gateway.map_err(|error| cannot_listen(&listen, &error))?;
    let stop = stop_on_signals(delay)?;
    let (control, listed) = (gateway.control(), gateway.control());
    keep_current(reload, move |command| match command {
        Command::Gateway(args) => {
            let trusted = control.trust(&args.settings().trust);
            trusted.map_err(|error| error.to_string())
        }
        _ => Ok(()),
    });
    open_admin(admin, &stop, |recorder| listed.panel(recorder, &stop)).await?;
    listening(gateway.endpoint());
    started(&stop);
    Ok(gateway.run(stop).await)
}

/// Has the system allow a file for each connection that there is memory for.
fn allow_files(memory: usize) {
    let wanted = (memory / CONNECTION).min(MAX_CONNECTIONS) + OTHER_FILES;
    let allowed = files::raise_limit(wanted);
    if allowed < wanted {
        log::warn(format_args!(
            "only {allowed} files may be open, so there may be fewer connections than --memory has \
             room for; raise the limit to {wanted} (ulimit -n, LimitNOFILE=)"
        ));
    }
}

pub(crate) async fn agent(
    settings: AgentSettings,
    admin: Option<AdminSettings>,
    reload: Reload,
) -> Result<Ended, ExitCode> {
    let agent = settings.load().map_err(wrong_setup)?;
    let (gateways, locals) = (agent.credentials.clone(), agent.local_credentials.clone());
    keep_current(reload, move |command| match command {
        Command::Agent(args) => {
            let settings = args.settings();
            settings
                .reload(&gateways, &locals)
                .map_err(|error| error.to_string())
        }
        _ => Ok(()),
    });
    // Its gateways hear at once that it drains, and give its calls to others.
    let stop = stop_on_signals(Duration::ZERO)?;
    let supervised = agent.supervised.clone();
    open_admin(admin, &stop, |recorder| {
        Panel::supervised("agent", recorder, supervised, &stop)
    })
    .await?;
    started(&stop);
    agent.run(tell_agent, stop).await.map_err(failed)
}

fn tell_agent(event: AgentEvent) {
    if let AgentEvent::Connected { gateway, name } = &event {
        say(
            io::stdout(),
            format_args!("connected to {gateway} as {name}"),
        );
    }
    log::agent(event);
}

pub(crate) async fn dial(
    command: &'static str,
    settings: PortSettings,
    admin: Option<AdminSettings>,
    delay: Duration,
    reload: Reload,
) -> Result<Ended, ExitCode> {
    let settings = settings.load().map_err(wrong_setup)?;
    let credentials = settings.credentials.clone();
    keep_current(reload, move |command| {
        let settings = match command {
            Command::Dial(args) => args.settings(),
            Command::Forward(args) => args.settings(),
            _ => return Ok(()),
        };
        settings
            .reload(&credentials)
            .map_err(|error| error.to_string())
    });
    let (listen, server) = (settings.listen.clone(), settings.server.clone());
    let dial = Dial::bind(settings).await;
    let dial = dial.map_err(|error| cannot_listen(&listen, &error))?;
    let stop = stop_on_signals(delay)?;
    let supervised = dial.supervised().clone();
    open_admin(admin, &stop, |recorder| {
        Panel::supervised(command, recorder, supervised, &stop)
    })
    .await?;
    listening(dial.endpoint());
    started(&stop);
    let tell = move |event| {
        if matches!(event, DialEvent::Connected) {
            say(io::stdout(), format_args!("connected to {server}"));
        }
        log::dial(&server, event);
    };
    Ok(dial.run(tell, stop).await)
}

/// Opens the admin port, and counts from now on.
async fn open_admin(
    settings: Option<AdminSettings>,
    stop: &Stop,
    panel: impl FnOnce(Recorder) -> Panel,
) -> Result<(), ExitCode> {
    let Some(settings) = settings else {
        return Ok(());
    };
    let admin = Admin::bind(&settings).await.map_err(|error| match error {
        AdminError::Io(..) => failed(error),
        error => wrong_setup(error),
    })?;
    let panel = panel(Recorder::install().map_err(failed)?);
    let at = admin.url().unwrap_or_else(|| admin.endpoint().to_string());
    say(io::stdout(), format_args!("admin on {at}"));
    tokio::spawn(admin.run(panel, stop.clone()));
    Ok(())
}

/// Tells systemd, where it has started this.
fn started(stop: &Stop) {
    #[cfg(unix)]
    for socket in grpctunnel_cli::inherited::unused() {
        log::warn(format_args!(
            "systemd passed a socket that nothing listens on, {socket}: --listen and the unit's \
             ListenStream must name the same address"
        ));
    }
    #[cfg(unix)]
    if let Err(error) = grpctunnel_cli::systemd::notify(stop) {
        log::warn(format_args!("systemd cannot be told: {error}"));
    }
    #[cfg(not(unix))]
    let _ = stop;
}
