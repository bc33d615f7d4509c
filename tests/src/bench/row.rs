//! What is measured.

use std::fmt;

const KIB: usize = 1 << 10;

/// Which way the payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From caller to callee.
    Up,
    /// From callee to caller.
    Down,
}

/// One load, and the figures that it yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name on the command line, and where one process tells another.
    pub name: &'static str,
    /// What the table says.
    pub title: &'static str,
    /// What the processes do.
    pub load: Load,
}

/// What the processes of a launch do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Unary calls with 16 bytes each way.
    Unary {
        /// How many are made at once.
        in_flight: usize,
    },
    /// One stream of messages.
    Stream {
        /// Which way.
        direction: Direction,
        /// Bytes of a message's payload.
        size: usize,
    },
    /// One unary call after the other beside 32 uploads of 16 KiB messages.
    Beside,
    /// One stream on a new connection over a link of 50 ms, second by second.
    Cold(Direction),
    /// A request and a response of 4 MiB on fresh streams of a connection that was used, over a
    /// link of 50 ms.
    Fresh,
    /// Many connections that do nothing.
    Idle,
    /// Writes of this size to a TCP connection.
    Tcp(usize),
}

/// A figure of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Figure(pub String);

impl Figure {
    /// Whether less of it is better.
    #[must_use]
    pub fn lower_is_better(&self) -> bool {
        ["us", "ms", "bytes"]
            .iter()
            .any(|unit| self.0.ends_with(unit))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl Row {
    /// All rows, in the order of the table.
    pub const ALL: &'static [Self] = &[
        unary("unary-1", "unary 16 B, 1 in flight", 1),
        unary("unary-16", "unary 16 B, 16 in flight", 16),
        unary("unary-64", "unary 16 B, 64 in flight", 64),
        unary("unary-256", "unary 16 B, 256 in flight", 256),
        stream("up-1k", "stream up, 1 KiB", Direction::Up, KIB),
        stream("up-16k", "stream up, 16 KiB", Direction::Up, 16 * KIB),
        stream("up-1m", "stream up, 1 MiB", Direction::Up, 1024 * KIB),
        stream("down-1k", "stream down, 1 KiB", Direction::Down, KIB),
        stream("down-16k", "stream down, 16 KiB", Direction::Down, 16 * KIB),
        stream("down-1m", "stream down, 1 MiB", Direction::Down, 1024 * KIB),
        row(
            "beside",
            "a small call beside 32 uploads of 16 KiB messages",
            Load::Beside,
        ),
        row(
            "cold-up",
            "50 ms, an upload from cold",
            Load::Cold(Direction::Up),
        ),
        row(
            "cold-down",
            "50 ms, a download from cold",
            Load::Cold(Direction::Down),
        ),
        row(
            "fresh",
            "50 ms, 4 MiB on a fresh stream of a used connection",
            Load::Fresh,
        ),
        row("idle", "idle, each of 1,000", Load::Idle),
        row("tcp-64k", "bare TCP, writes of 64 KiB", Load::Tcp(64 * KIB)),
        row(
            "tcp-256k",
            "bare TCP, writes of 256 KiB",
            Load::Tcp(256 * KIB),
        ),
    ];

    /// The row of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.name == name).copied()
    }

    /// Whether it is measured over the delaying link.
    #[must_use]
    pub const fn has_link(&self) -> bool {
        matches!(self.load, Load::Cold(_) | Load::Fresh)
    }
}

const fn row(name: &'static str, title: &'static str, load: Load) -> Row {
    Row { name, title, load }
}

const fn unary(name: &'static str, title: &'static str, in_flight: usize) -> Row {
    row(name, title, Load::Unary { in_flight })
}

const fn stream(name: &'static str, title: &'static str, direction: Direction, size: usize) -> Row {
    row(name, title, Load::Stream { direction, size })
}
