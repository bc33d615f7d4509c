//! The command line of the benchmark.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::column::Column;
use super::row::{Load, Row};

/// Compares tunnels with direct connections.
///
/// Caller and callee are two processes, each on a CPU of its own. For each row the columns take
/// turns, launch by launch; medians are shown, their spread, and all launches. A launch beside which
/// other processes took more than a tenth of a CPU is repeated, up to --repeats times, and marked
/// with an asterisk if it still was disturbed.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", after_help = help())]
pub struct Args {
    /// Measures these rows only.
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = row)]
    only: Vec<Row>,
    /// Measures these columns only. A column whose program is not given is left out by itself.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', value_parser = column)]
    columns: Vec<Column>,
    /// Shows in about two minutes that everything works. The figures are of no use.
    #[arg(long)]
    quick: bool,
    /// Seconds that each figure is measured for in each launch [default: 1, with --quick 0.1].
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Launches of each column [default: 7, with --quick 1].
    #[arg(long, value_name = "N")]
    launches: Option<usize>,
    /// How often a launch that was disturbed is repeated [default: 2, with --quick 0].
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// The program of the columns of async-std.
    #[arg(long, value_name = "FILE")]
    pub async_std: Option<PathBuf>,
    /// The program of the columns of Go.
    #[arg(long, value_name = "FILE")]
    pub go: Option<PathBuf>,
}

fn row(name: &str) -> Result<Row, String> {
    Row::named(name).ok_or_else(|| format!("expected one of {}", names(Row::ALL, |row| row.name)))
}

fn column(name: &str) -> Result<Column, String> {
    Column::named(name).ok_or_else(|| {
        format!(
            "expected one of {}",
            names(Column::ALL, |column| column.name)
        )
    })
}

fn names<T>(all: &[T], name: impl Fn(&T) -> &'static str) -> String {
    let names: Vec<&str> = all.iter().map(name).collect();
    names.join(", ")
}

fn help() -> String {
    let mut help = "Rows:\n".to_owned();
    for row in Row::ALL {
        help += &format!("  {:<20} {}\n", row.name, row.title);
    }
    help += "\nColumns:\n";
    for column in Column::ALL {
        help += &format!("  {:<20} {}\n", column.name, column.title);
    }
    help
}

impl Args {
    /// The rows to measure.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let rows = Row::ALL.iter().copied();
        rows.filter(|row| self.only.is_empty() || self.only.contains(row))
            .collect()
    }

    /// The columns of a row.
    #[must_use]
    pub fn columns(&self, row: &Row) -> Vec<Column> {
        let columns = Column::ALL.iter().copied();
        columns
            .filter(|column| self.columns.is_empty() || self.columns.contains(column))
            .filter(|column| column.has(row) && column.program(self).is_some())
            .collect()
    }

    /// How long a row is measured in each launch.
    #[must_use]
    pub fn time(&self, row: &Row) -> Duration {
        let seconds = match row.load {
            Load::Cold(_) | Load::Fresh if self.quick => 1.0,
            Load::Cold(_) | Load::Fresh => 6.0,
            _ => self.seconds.unwrap_or(if self.quick { 0.1 } else { 1.0 }),
        };
        Duration::from_secs_f64(seconds.clamp(0.01, 600.0))
    }

    /// Connections of the row that measures idle ones.
    #[must_use]
    pub const fn connections(&self) -> usize {
        if self.quick { 100 } else { 1_000 }
    }

    /// How often each column is launched.
    #[must_use]
    pub fn launches(&self) -> usize {
        let launches = self.launches.unwrap_or(if self.quick { 1 } else { 7 });
        launches.max(1)
    }

    /// How often a launch that was disturbed is repeated.
    #[must_use]
    pub fn repeats(&self) -> usize {
        self.repeats.unwrap_or(if self.quick { 0 } else { 2 })
    }
}
