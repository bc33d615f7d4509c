//! The `grpctunnel` program; see `grpctunnel --help`.

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use grpctunnel_cli::{
    agent::{AgentEvent, LocalEvent},
    args::{AgentSettings, BenchArgs, CheckArgs, Command, ConfigCommand, InitArgs, PortSettings},
    bench::{BenchError, BenchServer},
    check::{Finding, Step},
    config::{self, ConfigError, Reload, Reloaded},
    demo,
    dial::{Dial, DialEvent},
    files,
    gateway::{Gateway, GatewayEvent, GatewaySettings},
    init,
    listener::{BindError, Endpoint},
    stop::{Ended, Stop},
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
            Command::Demo(args) => demo::run(u64::from(args.upload) << 20)
                .await
                .map(|()| Ended::Finished)
                .map_err(failed),
            Command::Gateway(args) => gateway(args.settings(), reload).await,
            Command::Agent(args) => agent(args.settings(), reload).await,
            Command::Dial(args) => dial(args.settings(), reload).await,
            Command::Forward(args) => dial(args.settings(), reload).await,
            Command::Check(args) => check(args).await,
            Command::Bench(args) => bench(args).await,
            Command::Config(command) => configuration(command, parsed.cli.config),
            Command::Init(args) => init(&args),
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
    Ok(Ended::Finished)
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

async fn gateway(settings: GatewaySettings, reload: Reload) -> Result<Ended, ExitCode> {
    let listen = settings.listen.clone();
    allow_files(settings.memory);
    let gateway = Gateway::bind(settings, tell_gateway).await;
    let gateway = gateway.map_err(|error| cannot_listen(&listen, &error))?;
    let stop = stop_on_signals()?;
    let control = gateway.control();
    keep_current(reload, move |command| match command {
        Command::Gateway(args) => {
            let trusted = control.trust(&args.settings().trust);
            trusted.map_err(|error| error.to_string())
        }
        _ => Ok(()),
    });
    listening(gateway.endpoint());
    Ok(gateway.run(stop).await)
}

async fn bench(args: BenchArgs) -> Result<Ended, ExitCode> {
    let (is_json, insecure, listen) = (args.json, args.insecure, args.listen.clone());
    if let Some(listen) = listen {
        let server = BenchServer::bind(&listen, insecure).await;
        let server = server.map_err(|error| cannot_listen(&listen, &error))?;
        let stop = stop_on_signals()?;
        listening(server.endpoint());
        server.run(stop).await;
        return Ok(Ended::Finished);
    }
    let Some(bench) = args.bench().map_err(wrong_setup)? else {
        return Err(wrong_setup("add --gateway URL and --name NAME"));
    };
    match bench.run().await {
        Ok(table) if is_json => say(io::stdout(), table.json()),
        Ok(table) => say(io::stdout(), table.to_string().trim_end()),
        Err(error @ BenchError::Refused(_)) => {
            failed(error);
            return Err(REFUSED.into());
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(Ended::Finished)
}

/// Has the system allow a file for each connection that there is memory for.
fn allow_files(memory: usize) {
    let wanted = (memory / CONNECTION).min(MAX_CONNECTIONS) + OTHER_FILES;
    let allowed = files::raise_limit(wanted);
    if allowed < wanted {
        log(format_args!(
            "only {allowed} files may be open, so there may be fewer connections than --memory has \
             room for; raise the limit to {wanted} (ulimit -n, LimitNOFILE=)"
        ));
    }
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
    let stop = stop_on_signals()?;
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

async fn dial(settings: PortSettings, reload: Reload) -> Result<Ended, ExitCode> {
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
    let stop = stop_on_signals()?;
    listening(dial.endpoint());
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

fn stop_on_signals() -> Result<Stop, ExitCode> {
    let stop = Stop::new();
    let on_signals = stop.on_signals(|number| match number {
        1 => log("draining; once more to end at once"),
        _ => log("ending"),
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
