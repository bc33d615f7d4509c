//! The ways to call that are compared.

use std::env;
use std::path::PathBuf;

use super::args::Args;
use super::row::{Load, Row};
use super::words::Way;

/// A way to call, and who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    /// Its name on the command line and in the table.
    pub name: &'static str,
    /// What the help says.
    pub title: &'static str,
    /// How the callee is reached.
    pub way: Way,
    runtime: Runtime,
}

/// Whose ends they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Runtime {
    Tokio,
    AsyncStd,
    Go,
}

impl Column {
    /// All columns, the one to compare with first.
    pub const ALL: &'static [Self] = &[
        column(
            "direct",
            "tonic on a connection of its own, with the HTTP/2 settings of tunnels",
            Way::Direct,
            Runtime::Tokio,
        ),
        column(
            "stock",
            "tonic on a connection of its own, with its default settings",
            Way::Stock,
            Runtime::Tokio,
        ),
        column(
            "forward",
            "a tunnel that the caller opens",
            Way::Forward,
            Runtime::Tokio,
        ),
        column(
            "reverse",
            "a tunnel that the callee opens",
            Way::Reverse,
            Runtime::Tokio,
        ),
        column(
            "async-std-forward",
            "a tunnel that the caller opens, on async-std",
            Way::Forward,
            Runtime::AsyncStd,
        ),
        column(
            "async-std-reverse",
            "a tunnel that the callee opens, on async-std",
            Way::Reverse,
            Runtime::AsyncStd,
        ),
        column(
            "go-direct",
            "grpc-go without a tunnel",
            Way::Direct,
            Runtime::Go,
        ),
        column(
            "go-forward",
            "a tunnel of the Go module that the caller opens",
            Way::Forward,
            Runtime::Go,
        ),
        column(
            "go-reverse",
            "a tunnel of the Go module that the callee opens",
            Way::Reverse,
            Runtime::Go,
        ),
        column(
            "tcp",
            "bytes on a TCP connection, no calls",
            Way::Tcp,
            Runtime::Tokio,
        ),
    ];

    /// The column of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = Self::ALL.iter();
        all.copied().find(|column| column.name == name)
    }

    /// Whether the row can be measured this way.
    #[must_use]
    pub fn has(&self, row: &Row) -> bool {
        match row.load {
            Load::Tcp(_) => self.way == Way::Tcp,
            Load::Idle => {
                self.runtime == Runtime::Tokio && matches!(self.way, Way::Direct | Way::Reverse)
            }
            Load::Cold(_) | Load::Fresh => self.runtime == Runtime::Tokio && self.way != Way::Tcp,
            _ => self.way != Way::Tcp,
        }
    }

    /// The program of both ends, if it is there.
    #[must_use]
    pub fn program(&self, args: &Args) -> Option<PathBuf> {
        match self.runtime {
            Runtime::Tokio => env::current_exe().ok(),
            Runtime::AsyncStd => args.async_std.clone(),
            Runtime::Go => args.go.clone(),
        }
    }
}

const fn column(name: &'static str, title: &'static str, way: Way, runtime: Runtime) -> Column {
    Column {
        name,
        title,
        way,
        runtime,
    }
}
