//! The `grpctunnel` program; see `grpctunnel --help`.

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use grpctunnel_cli::{
    agent::{AgentEvent, LocalEvent},
    args::{AgentSettings, Command, ConfigCommand, InitArgs, PortSettings},
    config::{self, ConfigError, Reload, Reloaded},
    demo,
    dial::{Dial, DialEvent},
    gateway::{Gateway, GatewayEvent, GatewaySettings},
    init,
    listener::{BindError, Endpoint},
    shell,
    stop::{Ended, Stage, Stop},
};

const FAILED: u8 = 1;
const WRONG: u8 = 2;
const CUT_OFF: u8 = 3;
const REFUSED: u8 = 4;

fn main() -> ExitCode {
    #[cfg(unix)]
    grpctunnel_cli::inherited::take_over();
    let line: Vec<_> = std::env::args_os().collect();
    let parsed = match config::parse(line.iter().cloned()) {
        Ok(parsed) => parsed,
        Err(error) => return wrong(&error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format_args!("cannot start: {error}")),
    };
    let ended = runtime.block_on(async {
        let reload = Reload::new(line, &parsed);
        match parsed.cli.command {
            Command::Demo(args) => demo::run(u64::from(args.upload) << 20, args.stay)
                .await
                .map(|()| Ended::Finished)
                .map_err(failed),
            Command::Gateway(args) => {
                let delay = args.delay.delay();
                gateway(args.settings(), delay, reload).await
            }
            Command::Agent(args) => agent(args.settings(), reload).await,
            Command::Dial(args) => {
                let delay = args.port.delay.delay();
                dial(args.settings(), delay, reload).await
            }
            Command::Forward(args) => {
                let delay = args.port.delay.delay();
                dial(args.settings(), delay, reload).await
            }
            Command::Config(command) => configuration(command, parsed.cli.config),
            Command::Init(args) => init(&args),
            Command::Completions(args) => print(&shell::completions(args.shell)),
            Command::Man(args) => man(args.dir),
        }
    });
    match ended {
        Ok(Ended::Finished) => ExitCode::SUCCESS,
        Ok(Ended::Refused) => {
            log(
                "gave up: the gateway does not accept the credentials; --token-file, or --cert and --key",
            );
            REFUSED.into()
        }
        Ok(Ended::CutOff) => {
            log("ended before every call had finished");
            CUT_OFF.into()
        }
        Err(code) => code,
    }
}

/// A wrong command line or configuration, or the help that was asked for.
fn wrong(error: &ConfigError) -> ExitCode {
    if let Some(shown) = error.shown() {
        // That nobody reads it is no reason to fail.
        let _ = shown.print();
        return match shown.use_stderr() {
            true => WRONG.into(),
            false => ExitCode::SUCCESS,
        };
    }
    wrong_setup(error)
}

fn wrong_setup(why: impl fmt::Display) -> ExitCode {
    log(format_args!("error: {why}"));
    WRONG.into()
}

fn configuration(command: ConfigCommand, path: Option<PathBuf>) -> Result<Ended, ExitCode> {
    let path = path.or_else(|| std::env::var_os("GRPCTUNNEL_CONFIG").map(Into::into));
    match command {
        ConfigCommand::Check => {
            let path = path.ok_or_else(|| wrong_setup("which file? add --config FILE"))?;
            let sections = config::check(&path).map_err(|error| wrong(&error))?;
            let sections = sections.join(", ");
            say(
                io::stdout(),
                format_args!("{} is good: {sections}", path.display()),
            );
        }
        ConfigCommand::Show { command } => {
            let text = config::show(path, &command).map_err(|error| wrong(&error))?;
            say(io::stdout(), text.trim_end());
        }
        ConfigCommand::Example => say(io::stdout(), config::example().trim_end()),
    }
    Ok(Ended::Finished)
}

fn init(args: &InitArgs) -> Result<Ended, ExitCode> {
    for path in init::init(args).map_err(failed)? {
        say(io::stdout(), format_args!("wrote {}", path.display()));
    }
    let configuration = args.dir.join("grpctunnel.toml");
    let configuration = configuration.display();
    say(
        io::stdout(),
        format_args!(
            "next: grpctunnel gateway --config {configuration}, and beside the server: \
             grpctunnel agent --config {configuration}"
        ),
    );
    Ok(Ended::Finished)
}

fn man(directory: Option<PathBuf>) -> Result<Ended, ExitCode> {
    let Some(directory) = directory else {
        return print(&shell::manual().map_err(failed)?);
    };
    let written = shell::manuals(&directory).map_err(|error| {
        failed(format_args!(
            "cannot write man pages to {}: {error}",
            directory.display()
        ))
    })?;
    for path in written {
        say(io::stdout(), format_args!("wrote {}", path.display()));
    }
    Ok(Ended::Finished)
}

/// Writes to standard output. That nobody reads all of it is no reason to fail.
fn print(text: &[u8]) -> Result<Ended, ExitCode> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(Ended::Finished),
    }
}

/// Reads the configuration again when it changes, and has it applied.
fn keep_current(reload: Reload, apply: impl FnMut(Command) -> Result<(), String> + Send + 'static) {
    let mut apply = apply;
    let apply = move |parsed: config::Parsed| apply(parsed.cli.command);
    tokio::spawn(async move {
        let told = |reloaded| match reloaded {
            Reloaded::Applied => log("read the configuration and its files again"),
            Reloaded::Partly(keys) => log(format_args!(
                "read the configuration and its files again; these need a restart: {}",
                keys.join(", ")
            )),
            Reloaded::Refused(why) => log(format_args!("the configuration stays as it was: {why}")),
        };
        if let Err(error) = reload.run(apply, told).await {
            log(format_args!(
                "changes of the configuration go unnoticed: {error}"
            ));
        }
    });
}

async fn gateway(
    settings: GatewaySettings,
    delay: Duration,
    reload: Reload,
) -> Result<Ended, ExitCode> {
    let listen = settings.listen.clone();
    let gateway = Gateway::bind(settings, tell_gateway).await;
    let gateway = gateway.map_err(|error| cannot_listen(&listen, &error))?;
    let stop = stop_on_signals(delay)?;
    let control = gateway.control();
    keep_current(reload, move |command| match command {
        Command::Gateway(args) => {
            let trusted = control.trust(&args.settings().trust);
            trusted.map_err(|error| error.to_string())
        }
        _ => Ok(()),
    });
    listening(gateway.endpoint());
    started(&stop);
    Ok(gateway.run(stop).await)
}

fn tell_gateway(event: GatewayEvent) {
    match event {
        GatewayEvent::Joined {
            name,
            named,
            peer,
            identity,
            others,
        } => {
            let unnamed = if named { "" } else { " (it gave no name)" };
            log(format_args!(
                "agent {name} joined from {peer} ({identity}){unnamed}"
            ));
            if !others.is_empty() {
                let others: Vec<_> = others.iter().map(Endpoint::to_string).collect();
                log(format_args!(
                    "agent {name} has {} tunnels, from {peer} and from {}: they share its calls",
                    others.len() + 1,
                    others.join(", ")
                ));
            }
        }
        GatewayEvent::Left { name, peer, end } => {
            let end = grpctunnel_cli::tunnel_end(&end);
            log(format_args!("agent {name} left ({peer}): {end}"));
        }
        GatewayEvent::Dialled { peer, identity } => {
            log(format_args!("forward tunnel from {peer} ({identity})"));
        }
        GatewayEvent::Dismissed {
            name,
            peer,
            identity,
        } => log(format_args!(
            "agent {name} may not serve this name any more ({peer}, {identity}); its tunnel drains"
        )),
        GatewayEvent::Refused(refused) => log(refused),
        GatewayEvent::TurnedAway { count, why } => turned_away(count, &why),
        _ => {}
    }
}

async fn agent(settings: AgentSettings, reload: Reload) -> Result<Ended, ExitCode> {
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
    started(&stop);
    agent.run(tell_agent, stop).await.map_err(failed)
}

fn tell_agent(event: AgentEvent) {
    match event {
        AgentEvent::Connected { gateway, name } => say(
            io::stdout(),
            format_args!("connected to {gateway} as {name}"),
        ),
        AgentEvent::Failed { gateway, why } => log(format_args!("{gateway}: {why}")),
        AgentEvent::Lost { gateway, why } => log(format_args!("{gateway}: lost the tunnel: {why}")),
        AgentEvent::Pausing { gateway, pause } => {
            let seconds = pause.as_secs_f64();
            log(format_args!("{gateway}: reconnecting in {seconds:.1} s"));
        }
        AgentEvent::Local { local, event } => match event {
            LocalEvent::Lost { why } => log(format_args!(
                "cannot hand calls to the local server {local}: {why}"
            )),
            LocalEvent::Back => log(format_args!("calls reach the local server {local} again")),
            _ => {}
        },
        _ => {}
    }
}

async fn dial(settings: PortSettings, delay: Duration, reload: Reload) -> Result<Ended, ExitCode> {
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
    listening(dial.endpoint());
    started(&stop);
    let tell = move |event| match event {
        DialEvent::Connected => say(io::stdout(), format_args!("connected to {server}")),
        DialEvent::Failed { why } => log(format_args!("{server}: {why}")),
        DialEvent::Lost { why } => log(format_args!("{server}: lost the tunnel: {why}")),
        DialEvent::Pausing { pause } => {
            let seconds = pause.as_secs_f64();
            log(format_args!("{server}: reconnecting in {seconds:.1} s"));
        }
        DialEvent::TurnedAway { count, why } => turned_away(count, &why),
        _ => {}
    };
    Ok(dial.run(tell, stop).await)
}

fn turned_away(count: u64, why: &str) {
    log(format_args!("connections turned away: {count}; {why}"));
}

fn listening(endpoint: &Endpoint) {
    say(io::stdout(), format_args!("listening on {endpoint}"));
}

fn cannot_listen(listen: &impl fmt::Display, error: &BindError) -> ExitCode {
    let code = match error {
        BindError::Trust(error) => failed(error),
        error => failed(format_args!("cannot listen on {listen}: {error}")),
    };
    match error {
        BindError::Io(_) => code,
        _ => WRONG.into(),
    }
}

/// Tells systemd, where it has started this.
fn started(stop: &Stop) {
    #[cfg(unix)]
    for socket in grpctunnel_cli::inherited::unused() {
        log(format_args!(
            "systemd passed a socket that nothing listens on, {socket}: --listen and the unit's \
             ListenStream must name the same address"
        ));
    }
    #[cfg(unix)]
    if let Err(error) = grpctunnel_cli::systemd::notify(stop) {
        log(format_args!("systemd cannot be told: {error}"));
    }
    #[cfg(not(unix))]
    let _ = stop;
}

fn stop_on_signals(delay: Duration) -> Result<Stop, ExitCode> {
    let stop = Stop::new();
    let on_signals = stop.on_signals(delay, |stage| match stage {
        Stage::Leaving(delay) => log(format_args!(
            "not ready any more, draining in {} s; once more to end at once",
            delay.as_secs()
        )),
        Stage::Draining => log("draining; once more to end at once"),
        Stage::Ending => log("ending"),
    });
    on_signals.map_err(failed)?;
    Ok(stop)
}

fn failed(why: impl fmt::Display) -> ExitCode {
    log(format_args!("error: {why}"));
    FAILED.into()
}

fn log(text: impl fmt::Display) {
    say(io::stderr(), format_args!("grpctunnel: {text}"));
}

/// Writes a line. That nobody reads it is no reason to stop.
fn say(mut to: impl Write, text: impl fmt::Display) {
    let _ = writeln!(to, "{text}");
}
