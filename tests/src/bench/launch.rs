//! One launch: two processes, and the figures that they say.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::process::Command;

use super::args::Args;
use super::column::Column;
use super::noise::{Usage, cpu_time};
use super::pin;
use super::proxy::{self, DELAY, Link};
use super::row::{Load, Row};
use super::words::End;
use crate::interop::Process;

/// How much longer than its measurement a launch may take.
const SLACK: Duration = Duration::from_secs(60);
/// CPUs that other processes may take beside a launch.
const TOLERATED: f64 = 0.1;

/// What a launch said.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) figures: Vec<(String, f64)>,
    /// CPUs that other processes took meanwhile.
    pub(super) others: f64,
}

impl Measured {
    /// Whether others took part of what was measured.
    pub(super) fn disturbed(&self) -> bool {
        self.others > TOLERATED
    }
}

/// Runs one launch.
pub(super) async fn launch(args: &Args, row: &Row, column: &Column) -> io::Result<Measured> {
    let (caller, callee, link) = start_both(args, row, column).await?;
    let measured = measure(args, row, caller, callee).await;
    drop(link);
    measured
}

/// Starts both ends, and the link between them if the row has one, which lasts as long as its value.
async fn start_both(
    args: &Args,
    row: &Row,
    column: &Column,
) -> io::Result<(Process, Process, Option<Link>)> {
    let end = |is_caller: bool| End {
        is_caller,
        way: column.way,
        rows: vec![*row],
        time: args.time(row),
        connect: None,
    };
    let (caller, callee) = (end(true), end(false));
    let (listens, mut connects) = if caller.connects() {
        (callee, caller)
    } else {
        (caller, callee)
    };
    let mut first = start(args, column, &listens)?;
    let address = first.line("listening ", SLACK).await?;
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let link = if row.has_link() {
        Some(proxy::delay(address, DELAY).await?)
    } else {
        None
    };
    connects.connect = Some(link.as_ref().map_or(address, |link| link.address));
    let second = start(args, column, &connects)?;
    Ok(if connects.is_caller {
        (second, first, link)
    } else {
        (first, second, link)
    })
}

/// Waits for what both ends measure.
async fn measure(
    args: &Args,
    row: &Row,
    mut caller: Process,
    callee: Process,
) -> io::Result<Measured> {
    let limit = SLACK + 3 * args.time(row);
    caller.line("measuring ", limit).await?;
    let own: Vec<u32> = [caller.id(), callee.id(), Some(std::process::id())]
        .into_iter()
        .flatten()
        .collect();
    let before = Usage::now(&own);
    let used = [caller.id(), callee.id()].map(cpu_time);
    let said = caller
        .line(&format!("measured {}", row.name), limit)
        .await?;
    let used_then = [caller.id(), callee.id()].map(cpu_time);
    let others = Usage::now(&own).others_since(&before);
    let (took, mut all) = figures(&said)?;
    let ends = ["caller's", "callee's"].into_iter();
    for (end, (before, then)) in ends.zip(used.iter().zip(&used_then)) {
        let figure = cpu_figure(end, then - before, took, &all);
        all.extend(figure);
    }
    let mut measured = Measured {
        figures: all,
        others,
    };
    if row.load == Load::Idle {
        let mut callee = callee;
        let said = callee
            .line(&format!("measured {}", row.name), limit)
            .await?;
        measured.figures.extend(figures(&said)?.1);
    }
    Ok(measured)
}

fn start(args: &Args, column: &Column, end: &End) -> io::Result<Process> {
    let program = column.program(args);
    let program =
        program.ok_or_else(|| io::Error::other(format!("no program of {}", column.name)))?;
    let idle = end.rows.iter().any(|row| row.load == Load::Idle);
    let mut command = if idle {
        let mut command = Command::new(program.with_file_name("bench-idle"));
        command.arg(args.connections().to_string());
        command
    } else {
        Command::new(program)
    };
    command.args(end.words());
    // One thread does the work of a runtime; Go's collector is its own.
    command
        .env("ASYNC_STD_THREAD_COUNT", "1")
        .env("SMOL_THREADS", "1");
    pin::on_cpu(usize::from(!end.is_caller), || Process::start(&mut command))
}

/// What of a CPU an end takes for each call, or for each MiB: it depends less on what else the
/// machine does than how long that takes.
fn cpu_figure(end: &str, used: f64, took: f64, figures: &[(String, f64)]) -> Option<(String, f64)> {
    figures.iter().find_map(|(name, rate)| {
        let unit = name.strip_suffix("/s")?.rsplit(' ').next()?;
        let unit = if unit == "calls" { "call" } else { unit };
        Some((
            format!("{end} CPU a {unit}, us"),
            used * 1e6 / (rate * took),
        ))
    })
}

/// The seconds and the figures of a line `SECONDS NAME=VALUE;NAME=VALUE`.
fn figures(said: &str) -> io::Result<(f64, Vec<(String, f64)>)> {
    let parse = || {
        let (took, figures) = said.split_once(' ')?;
        let figures = figures.split(';').map(|figure| {
            let (name, value) = figure.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Some((took.parse().ok()?, figures.collect::<Option<_>>()?))
    };
    parse().ok_or_else(|| io::Error::other(format!("not figures: {said}")))
}
