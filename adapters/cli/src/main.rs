//! The `grpctunnel` program; see `grpctunnel --help`.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use grpctunnel_cli::{
    agent::{Agent, AgentEvent, LocalEvent},
    args::{Cli, Command},
    demo,
    dial::{Dial, DialEvent, DialSettings},
    gateway::{Gateway, GatewayEvent, GatewaySettings},
    listener::{BindError, Endpoint},
    stop::{Ended, Stop},
};

const FAILED: u8 = 1;
const WRONG_COMMAND_LINE: u8 = 2;
const CUT_OFF: u8 = 3;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format_args!("cannot start: {error}")),
    };
    let ended = runtime.block_on(async {
        match command {
            Command::Demo(args) => demo::run(u64::from(args.upload) << 20)
                .await
                .map(|()| Ended::Finished)
                .map_err(failed),
            Command::Gateway(args) => gateway(args.settings()).await,
            Command::Agent(args) => agent(args.settings()).await,
            Command::Dial(args) => dial(args.settings()).await,
            Command::Forward(args) => dial(args.settings()).await,
        }
    });
    match ended {
        Ok(Ended::Finished) => ExitCode::SUCCESS,
        Ok(Ended::CutOff) => {
            log("ended before every call had finished");
            CUT_OFF.into()
        }
        Err(code) => code,
    }
}

async fn gateway(settings: GatewaySettings) -> Result<Ended, ExitCode> {
    let listen = settings.listen.clone();
    let gateway = Gateway::bind(settings, tell_gateway).await;
    let gateway = gateway.map_err(|error| cannot_listen(&listen, &error))?;
    let stop = stop_on_signals()?;
    listening(gateway.endpoint());
    Ok(gateway.run(stop).await)
}

fn tell_gateway(event: GatewayEvent) {
    match event {
        GatewayEvent::Joined {
            name,
            named,
            peer,
            others,
        } => {
            let unnamed = if named { "" } else { " (it gave no name)" };
            log(format_args!("agent {name} joined from {peer}{unnamed}"));
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
        GatewayEvent::TurnedAway { count, why } => turned_away(count, &why),
        _ => {}
    }
}

async fn agent(agent: Agent) -> Result<Ended, ExitCode> {
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

async fn dial(settings: DialSettings) -> Result<Ended, ExitCode> {
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
    let code = failed(format_args!("cannot listen on {listen}: {error}"));
    match error {
        BindError::Exposed(_) => WRONG_COMMAND_LINE.into(),
        _ => code,
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
