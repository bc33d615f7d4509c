//! Commands that end by themselves.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use grpctunnel_cli::{
    admin::Drained,
    args::{BenchArgs, CheckArgs, ConfigCommand, DrainAgentArgs, InitArgs, LsArgs},
    bench::{BenchError, BenchServer},
    check::{Finding, Step},
    config, init,
    ls::{AskError, Asked},
    shell,
    stop::Ended,
};

use crate::{
    FAILED, REFUSED, cannot_listen, failed, listening, say, stop_on_signals, wrong, wrong_setup,
};

pub(crate) fn configuration(
    command: ConfigCommand,
    path: Option<PathBuf>,
) -> Result<Ended, ExitCode> {
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

pub(crate) async fn ls(args: LsArgs) -> Result<Ended, ExitCode> {
    let credentials = args.ask.credentials();
    let asked = Asked::new(args.ask.admin, &credentials).map_err(wrong_setup)?;
    match asked.ls(args.json, args.watch).await {
        // Whoever wanted to read it has read enough.
        Ok(()) | Err(AskError::Unread) => Ok(Ended::Finished),
        Err(error) => Err(failed(error)),
    }
}

pub(crate) async fn drain(args: DrainAgentArgs) -> Result<Ended, ExitCode> {
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

pub(crate) fn init(args: &InitArgs) -> Result<Ended, ExitCode> {
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

pub(crate) fn man(directory: Option<PathBuf>) -> Result<Ended, ExitCode> {
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
pub(crate) fn print(text: &[u8]) -> Result<Ended, ExitCode> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(Ended::Finished),
    }
}

pub(crate) async fn check(args: CheckArgs) -> Result<Ended, ExitCode> {
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

pub(crate) async fn bench(args: BenchArgs) -> Result<Ended, ExitCode> {
    let (is_json, insecure, listen) = (args.json, args.insecure, args.listen.clone());
    if let Some(listen) = listen {
        let server = BenchServer::bind(&listen, insecure).await;
        let server = server.map_err(|error| cannot_listen(&listen, &error))?;
        let stop = stop_on_signals(Duration::ZERO)?;
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
