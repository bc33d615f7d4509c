//! The `grpctunnel` program; see `grpctunnel --help`.

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use grpctunnel_cli::{
    admin::{Admin, AdminError, AdminSettings, Drained, Panel},
    agent::AgentEvent,
    args::{
        AgentSettings, CheckArgs, Command, ConfigCommand, DrainAgentArgs, InitArgs, LsArgs,
        PortSettings,
    },
    check::{Finding, Step},
    config::{self, ConfigError, Reload},
    demo,
    dial::{Dial, DialEvent},
    files,
    gateway::{Gateway, GatewaySettings},
    init,
    listener::{BindError, Endpoint},
    log,
    ls::{AskError, Asked},
    metrics::Recorder,
    shell,
    stop::{Ended, Stage, Stop},
};

/// Memory that a gateway has for each connection.
const CONNECTION: usize = 128 << 10;
/// The most connections, whatever memory there is.
const MAX_CONNECTIONS: usize = 65_536;
/// Files that are not connections.
const OTHER_FILES: usize = 64;

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
    let observe = parsed.cli.command.observe().cloned();
    if let Some(observe) = &observe {
        log::init(observe.log());
    }
    let admin = observe.and_then(|observe| observe.admin());
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
                gateway(args.settings(), admin, delay, reload).await
            }
            Command::Agent(args) => agent(args.settings(), admin, reload).await,
            Command::Dial(args) => {
                let delay = args.port.delay.delay();
                dial("dial", args.settings(), admin, delay, reload).await
            }
            Command::Forward(args) => {
                let delay = args.port.delay.delay();
                dial("forward", args.settings(), admin, delay, reload).await
            }
            Command::Ls(args) => ls(args).await,
            Command::Drain(args) => drain(args).await,
            Command::Check(args) => check(args).await,
            Command::Config(command) => configuration(command, parsed.cli.config),
            Command::Init(args) => init(&args),
            Command::Completions(args) => print(&shell::completions(args.shell)),
            Command::Man(args) => man(args.dir),
        }
    });
    match ended {
        Ok(Ended::Finished) => ExitCode::SUCCESS,
        Ok(Ended::Refused) => {
            log::error(
                "gave up: the gateway does not accept the credentials; --token-file, or --cert and --key",
            );
            REFUSED.into()
        }
        Ok(Ended::CutOff) => {
            log::warn("ended before every call had finished");
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
    log::error(why);
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

async fn ls(args: LsArgs) -> Result<Ended, ExitCode> {
    let credentials = args.ask.credentials();
    let asked = Asked::new(args.ask.admin, &credentials).map_err(wrong_setup)?;
    match asked.ls(args.json, args.watch).await {
        // Whoever wanted to read it has read enough.
        Ok(()) | Err(AskError::Unread) => Ok(Ended::Finished),
        Err(error) => Err(failed(error)),
    }
}

async fn drain(args: DrainAgentArgs) -> Result<Ended, ExitCode> {
    let credentials = args.ask.credentials();
    let asked = Asked::new(args.ask.admin, &credentials).map_err(wrong_setup)?;
    let (drained, name) = match args.undo {
        true => (Drained::Admit, args.name),
        false => (Drained::Drain, args.name),
    };
    let tunnels = asked.change(&name, drained).await.map_err(failed)?;
    match drained {
        Drained::Drain => say(
            io::stdout(),
            format_args!("{name} drains, tunnels: {tunnels}; --undo takes it again"),
        ),
        Drained::Admit => say(io::stdout(), format_args!("{name} is taken again")),
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
        if let Err(error) = reload.run(apply, log::reloaded).await {
            log::warn(format_args!(
                "changes of the configuration go unnoticed: {error}"
            ));
        }
    });
}

async fn check(args: CheckArgs) -> Result<Ended, ExitCode> {
    let is_json = args.json;
    let mut failed = None;
    let mut reports = Vec::new();
    for check in args.checks().map_err(wrong_setup)? {
        if !is_json {
            let name = check.name().map(|name| format!(" as {name}"));
            let name = name.unwrap_or_default();
            say(io::stdout(), format_args!("{}{name}", check.gateway()));
        }
        let tell = |finding: &Finding| {
            if !is_json {
                say(io::stdout(), finding);
            }
        };
        let report = check.run(tell).await;
        failed = failed.or_else(|| report.failed());
        reports.push(report.json());
    }
    if is_json {
        say(io::stdout(), serde_json::Value::from(reports));
    }
    match failed {
        None => Ok(Ended::Finished),
        Some(Step::Credentials) => Err(REFUSED.into()),
        Some(_) => Err(FAILED.into()),
    }
}

async fn gateway(
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

async fn agent(
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

async fn dial(
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

fn stop_on_signals(delay: Duration) -> Result<Stop, ExitCode> {
    let stop = Stop::new();
    let on_signals = stop.on_signals(delay, |stage| match stage {
        Stage::Leaving(delay) => log::info(format_args!(
            "not ready any more, draining in {} s; once more to end at once",
            delay.as_secs()
        )),
        Stage::Draining => log::info("draining; once more to end at once"),
        Stage::Ending => log::info("ending"),
    });
    on_signals.map_err(failed)?;
    Ok(stop)
}

fn failed(why: impl fmt::Display) -> ExitCode {
    log::error(why);
    FAILED.into()
}

/// Writes a line. That nobody reads it is no reason to stop.
fn say(mut to: impl Write, text: impl fmt::Display) {
    let _ = writeln!(to, "{text}");
}
