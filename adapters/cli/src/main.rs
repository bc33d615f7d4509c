//! The `grpctunnel` program; see `grpctunnel --help`.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use grpctunnel_cli::{
    agent::{Agent, AgentEvent},
    args::{AgentArgs, Cli, Command, GatewayArgs},
    demo,
    gateway::{Gateway, GatewayEvent},
    stop::{Ended, Stop},
};

const FAILED: u8 = 1;
const CUT_OFF: u8 = 3;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format_args!("cannot start: {error}")),
    };
    runtime.block_on(async {
        match command {
            Command::Demo(args) => match demo::run(u64::from(args.upload) << 20).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => failed(failure),
            },
            Command::Gateway(args) => gateway(args).await,
            Command::Agent(args) => agent(args).await,
        }
    })
}

async fn gateway(args: GatewayArgs) -> ExitCode {
    let gateway = match Gateway::bind(&args.listen, tell_gateway).await {
        Ok(gateway) => gateway,
        Err(error) => return failed(format_args!("cannot listen on {}: {error}", args.listen)),
    };
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(error),
    };
    say(
        io::stdout(),
        format_args!("listening on {}", gateway.address()),
    );
    code_of(gateway.run(args.drain.limit(), stop).await)
}

fn tell_gateway(event: GatewayEvent) {
    match event {
        GatewayEvent::Joined { name, peer } => log(format_args!("agent {name} joined from {peer}")),
        GatewayEvent::Left { name, peer, end } => {
            log(format_args!("agent {name} left ({peer}): {end}"));
        }
        _ => {}
    }
}

async fn agent(args: AgentArgs) -> ExitCode {
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(error),
    };
    let agent = Agent {
        gateway: args.gateway,
        name: args.name,
        local: args.local,
        retry_limit: Duration::from_secs(args.retry_limit),
        drain_limit: args.drain.limit(),
    };
    let (gateway, name) = (agent.gateway.clone(), agent.name.clone());
    let tell = move |event| match event {
        AgentEvent::Connected => say(
            io::stdout(),
            format_args!("connected to {gateway} as {name}"),
        ),
        AgentEvent::Failed { why } => log(format_args!("cannot connect to {gateway}: {why}")),
        AgentEvent::Lost { why } => log(format_args!("lost the tunnel to {gateway}: {why}")),
        AgentEvent::Pausing { pause } => {
            log(format_args!(
                "connecting anew in {:.1} s",
                pause.as_secs_f64()
            ));
        }
        _ => {}
    };
    code_of(agent.run(tell, stop).await)
}

fn stop_on_signals() -> io::Result<Stop> {
    let stop = Stop::new();
    stop.on_signals(|number| match number {
        1 => log("draining; once more to end at once"),
        _ => log("ending"),
    })?;
    Ok(stop)
}

fn code_of(ended: Ended) -> ExitCode {
    match ended {
        Ended::Finished => ExitCode::SUCCESS,
        Ended::CutOff => {
            log("ended before every call had finished");
            CUT_OFF.into()
        }
    }
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
