//! What was measured, for people and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::{
    Bench, Load,
    measure::{Answers, Figures},
};

/// The percentiles that are told, with their names in JSON.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// What was measured, way beside way.
#[derive(Clone, Debug)]
pub struct Table {
    gateway: String,
    name: String,
    load: Load,
    ways: Vec<(&'static str, Figures)>,
    notes: Vec<String>,
}

impl Table {
    pub(super) fn new(bench: &Bench) -> Self {
        Self {
            gateway: bench.gateway.to_string(),
            name: bench.name.to_string(),
            load: bench.load,
            ways: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, way: &'static str, figures: Figures) {
        if figures.answers == Answers::Status {
            self.note(format!(
                "{way}: small calls that its server answers with a status. For throughput, too, let \
                 `grpctunnel bench --listen` be that server"
            ));
        }
        self.ways.push((way, figures));
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The same as JSON. Latencies are in milliseconds, of calls one after the other.
    #[must_use]
    pub fn json(&self) -> Value {
        let ways = self.ways.iter().map(|(way, figures)| {
            let mut latency = serde_json::Map::new();
            for (name, percentile) in PERCENTILES {
                let value = millis(figures.latencies.value_at_percentile(percentile));
                latency.insert(name.to_owned(), value.into());
            }
            latency.insert("max".to_owned(), millis(figures.latencies.max()).into());
            json!({
                "to": way,
                "answered_by": match figures.answers {
                    Answers::Echo => "echo",
                    Answers::Status => "status",
                },
                "calls": figures.latencies.len(),
                "latency_ms": latency,
                "calls_per_second": figures.rate,
                "mib_per_second": figures.throughput,
            })
        });
        json!({
            "gateway": self.gateway,
            "name": self.name,
            "seconds": self.load.time.as_secs_f64(),
            "in_flight": self.load.in_flight,
            "ways": ways.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    fn row(
        &self,
        f: &mut fmt::Formatter<'_>,
        title: &str,
        value: impl Fn(&Figures) -> String,
    ) -> fmt::Result {
        write!(f, "{title:<34}")?;
        for (_, figures) in &self.ways {
            write!(f, "{:>12}", value(figures))?;
        }
        writeln!(f)
    }
}

fn millis(micros: u64) -> f64 {
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1e3
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load {
            time, in_flight, ..
        } = self.load;
        writeln!(
            f,
            "{}, agent {}; {} s for each figure",
            self.gateway,
            self.name,
            time.as_secs_f64()
        )?;
        write!(f, "{:<34}", "")?;
        for (way, _) in &self.ways {
            write!(f, "{way:>12}")?;
        }
        writeln!(f)?;
        for (name, percentile) in PERCENTILES {
            let value = |figures: &Figures| {
                let micros = figures.latencies.value_at_percentile(percentile);
                format!("{:.2}", millis(micros))
            };
            self.row(f, &format!("latency of a call, {name}, ms"), value)?;
        }
        let title = format!("calls a second, {in_flight} at once");
        self.row(f, &title, |figures| format!("{:.0}", figures.rate))?;
        let throughput = |figures: &Figures| match figures.throughput {
            Some(mib) => format!("{mib:.1}"),
            None => "-".to_owned(),
        };
        self.row(f, "throughput there and back, MiB/s", throughput)?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}
