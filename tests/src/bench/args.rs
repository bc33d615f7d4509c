//! The command line of the benchmark.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Compares tunnels with a direct connection: unary calls a second (16 bytes each way) with 1 and
/// with 64 in flight, and throughput up and down of one stream of 16 KiB messages.
///
/// Caller and callee are two processes with one thread each, on a CPU of their own. Launches of the
/// three ways to call take turns; medians are shown.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench")]
pub struct Args {
    /// Seconds that each figure is measured for in each launch [default: 1, with --quick 0.2].
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Launches of each way to call [default: 7, with --quick 5].
    #[arg(long, value_name = "N")]
    launches: Option<usize>,
    /// A quick look, of figures that vary more.
    #[arg(long)]
    quick: bool,
    /// What a process that the benchmark itself has started does.
    #[command(subcommand)]
    pub role: Option<Role>,
}

impl Args {
    /// How long each figure is measured in each launch.
    #[must_use]
    pub fn time(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.2 } else { 1.0 });
        Duration::from_secs_f64(seconds.clamp(0.01, 600.0))
    }

    /// How often each way to call is launched.
    #[must_use]
    pub fn launches(&self) -> usize {
        self.launches
            .unwrap_or(if self.quick { 5 } else { 7 })
            .max(1)
    }
}

/// A role in one launch. Whoever has no address to connect to listens.
#[derive(Clone, Debug, Subcommand)]
pub enum Role {
    /// Makes the calls and measures.
    #[command(hide = true)]
    Caller(End),
    /// Handles the calls.
    #[command(hide = true)]
    Callee(End),
}

/// One end of a launch.
#[derive(Clone, Debug, clap::Args)]
pub struct End {
    /// The way to call.
    #[arg(long, value_enum)]
    pub mode: Mode,
    /// Where the other end listens.
    #[arg(long, value_name = "ADDR")]
    pub connect: Option<SocketAddr>,
}

/// The ways to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Mode {
    /// tonic on a connection of its own.
    Direct,
    /// Through a tunnel that the caller has opened.
    Forward,
    /// Through a tunnel that the callee has opened.
    Reverse,
}

impl Mode {
    /// All of them, the one to compare with first.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Forward, Self::Reverse];

    /// Its name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
