//! One launch: two processes, and the figures that they say.

use std::env;
use std::io;
use std::time::Duration;

use tokio::process::Command;

use super::args::{Args, Mode};
use super::load::Workload;
use crate::interop::Process;

/// How much longer than its measurements a launch may take.
const SLACK: Duration = Duration::from_secs(30);

/// Runs one launch and returns its figures.
pub(super) async fn launch(args: &Args, mode: Mode) -> io::Result<Vec<(Workload, f64)>> {
    let (listening, connecting) = match mode {
        Mode::Direct | Mode::Forward => ("callee", "caller"),
        Mode::Reverse => ("caller", "callee"),
    };
    let mut first = start(args, listening, mode, None)?;
    let address = first.line("listening ", SLACK).await?;
    let second = start(args, connecting, mode, Some(&address))?;
    let (caller, _callee) = match mode {
        Mode::Direct | Mode::Forward => (second, first),
        Mode::Reverse => (first, second),
    };
    figures(&caller.success(SLACK + 8 * args.time()).await?)
}

fn start(args: &Args, role: &str, mode: Mode, connect: Option<&str>) -> io::Result<Process> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg("--seconds")
        .arg(args.time().as_secs_f64().to_string());
    command.args([role, "--mode", mode.name()]);
    command.args(
        connect
            .map(|address| ["--connect", address])
            .into_iter()
            .flatten(),
    );
    Process::start(&mut command)
}

fn figures(said: &str) -> io::Result<Vec<(Workload, f64)>> {
    let mut figures = Vec::new();
    for workload in Workload::ALL {
        let figure = said.lines().find_map(|line| {
            let rest = line.strip_prefix("measured ")?;
            let (name, value) = rest.split_once(' ')?;
            (name == workload.name()).then(|| value.parse().ok())?
        });
        let missing = || io::Error::other(format!("no figure {}: {said}", workload.name()));
        figures.push((workload, figure.ok_or_else(missing)?));
    }
    Ok(figures)
}
