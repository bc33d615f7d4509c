//! What the processes of a launch are told, and what they say.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::load::{self, WARM_UP};
use super::row::{Load, Row};
use crate::interop::Outcome;
use crate::services::Caller;

/// How the callee is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// On a connection of its own, with the HTTP/2 settings of tunnels.
    Direct,
    /// On a connection of its own, with the settings that its HTTP/2 has by default.
    Stock,
    /// Through a tunnel that the caller has opened.
    Forward,
    /// Through a tunnel that the callee has opened.
    Reverse,
    /// Bytes on a TCP connection, no calls.
    Tcp,
}

impl Way {
    const ALL: [Self; 5] = [
        Self::Direct,
        Self::Stock,
        Self::Forward,
        Self::Reverse,
        Self::Tcp,
    ];

    /// Its name where one process is told by another.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Stock => "stock",
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::Tcp => "tcp",
        }
    }
}

/// One end of a launch. Who has no address to connect to listens.
#[derive(Clone, Debug)]
pub struct End {
    /// The end that makes the calls and measures.
    pub is_caller: bool,
    /// How the callee is reached.
    pub way: Way,
    /// What the caller measures, in this order.
    pub rows: Vec<Row>,
    /// How long it measures each.
    pub time: Duration,
    /// Where the other end listens.
    pub connect: Option<SocketAddr>,
}

impl End {
    /// The words for a process that plays it: `caller|callee WAY ROW,ROW SECONDS [ADDRESS]`.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let rows: Vec<&str> = self.rows.iter().map(|row| row.name).collect();
        let mut words = vec![
            if self.is_caller { "caller" } else { "callee" }.to_owned(),
            self.way.name().to_owned(),
            rows.join(","),
            self.time.as_secs_f64().to_string(),
        ];
        words.extend(self.connect.map(|address| address.to_string()));
        words
    }

    /// The end of such words; `None` where they are not of one.
    ///
    /// # Errors
    /// If the words after the first are wrong.
    pub fn parse(words: &[String]) -> Result<Option<Self>, Box<dyn Error>> {
        let is_caller = match words.first().map(String::as_str) {
            Some("caller") => true,
            Some("callee") => false,
            _ => return Ok(None),
        };
        let [_, way, rows, seconds, rest @ ..] = words else {
            return Err("expected caller|callee WAY ROW,ROW SECONDS [ADDRESS]".into());
        };
        let way = Way::ALL.into_iter().find(|known| known.name() == way);
        let rows = rows
            .split(',')
            .map(|name| Row::named(name).ok_or_else(|| format!("{name}: no such row")));
        Ok(Some(Self {
            is_caller,
            way: way.ok_or("no such way")?,
            rows: rows.collect::<Result<_, _>>()?,
            time: Duration::try_from_secs_f64(seconds.parse()?)?,
            connect: rest.first().map(|address| address.parse()).transpose()?,
        }))
    }

    /// Whether this end opens the connection.
    #[must_use]
    pub fn connects(&self) -> bool {
        self.is_caller != (self.way == Way::Reverse)
    }
}

/// Measures the rows, each after a warm-up, and says what came out of it.
///
/// # Errors
/// If a call fails.
pub async fn measure(end: &End, channel: impl Caller) -> Outcome {
    for row in &end.rows {
        // What is measured from cold must not be warm.
        if !matches!(row.load, Load::Cold(_) | Load::Fresh) {
            load::run(row.load, channel.clone(), WARM_UP).await?;
        }
        begins(row);
        let start = Instant::now();
        let figures = load::run(row.load, channel.clone(), end.time).await?;
        say(row, start.elapsed(), &figures);
    }
    Ok(())
}

/// Says that a row is being measured, so that others can be watched meanwhile.
pub(super) fn begins(row: &Row) {
    println!("measuring {}", row.name);
}

/// Says how long a row was measured, and its figures.
pub(super) fn say(row: &Row, took: Duration, figures: &[(String, f64)]) {
    let figures: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let took = took.as_secs_f64();
    println!("measured {} {took} {}", row.name, figures.join(";"));
}
