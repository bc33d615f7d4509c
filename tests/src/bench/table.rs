//! Medians, side by side.

use std::collections::BTreeMap;
use std::fmt;

use super::args::Mode;
use super::load::Workload;
use super::pin;

/// The figures of all launches.
#[derive(Clone, Debug, Default)]
pub struct Table(BTreeMap<(Workload, Mode), Vec<f64>>);

impl Table {
    pub(super) fn add(&mut self, workload: Workload, mode: Mode, value: f64) {
        self.0.entry((workload, mode)).or_default().push(value);
    }

    /// The median and half the spread between the quartiles, as a share of the median.
    fn summary(&self, workload: Workload, mode: Mode) -> (f64, f64) {
        let mut values = self.0.get(&(workload, mode)).cloned().unwrap_or_default();
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            let index = values.len().saturating_sub(1) * quarter / 4;
            values.get(index).copied().unwrap_or(f64::NAN)
        };
        (at(2), (at(3) - at(1)) / 2.0 / at(2))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !pin::enough() {
            writeln!(
                formatter,
                "only one CPU: nothing is pinned, the figures are of little use"
            )?;
        }
        if cfg!(debug_assertions) {
            writeln!(formatter, "not a release build: the figures are of no use")?;
        }
        write!(formatter, "{:<34}", "median (± half the quartiles' spread)")?;
        for mode in Mode::ALL {
            write!(formatter, "{mode:>18}")?;
        }
        for mode in Mode::ALL.into_iter().skip(1) {
            write!(formatter, "{:>16}", format!("{mode}/direct"))?;
        }
        for workload in Workload::ALL {
            write!(formatter, "\n{:<37}", workload.title())?;
            for mode in Mode::ALL {
                let (median, spread) = self.summary(workload, mode);
                write!(formatter, "{median:>11.0} ±{:>4.1}%", spread * 100.0)?;
            }
            let (direct, _) = self.summary(workload, Mode::Direct);
            for mode in Mode::ALL.into_iter().skip(1) {
                let (median, _) = self.summary(workload, mode);
                write!(formatter, "{:>16.2}", median / direct)?;
            }
        }
        Ok(())
    }
}
