//! The `grpctunnel` program; see `grpctunnel --help`.

mod once;
mod serving;

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use grpctunnel_cli::{
    args::Command,
    config::{self, ConfigError, Reload},
    demo,
    listener::{BindError, Endpoint},
    log, shell,
    stop::{Ended, Stage, Stop},
};

use crate::{
    once::{bench, check, configuration, drain, init, ls, man, print},
    serving::{agent, dial, gateway},
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
            Command::Bench(args) => bench(args).await,
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
