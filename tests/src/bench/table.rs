//! Medians, side by side.

use std::fmt::Write as _;

use super::column::Column;
use super::launch::Measured;
use super::pin;
use super::row::{Figure, Row};

/// The figures of all launches.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(Row, Vec<Series>)>,
}

/// A figure of a row, of one column.
#[derive(Debug)]
struct Series {
    figure: Figure,
    column: Column,
    launches: Vec<Launch>,
}

#[derive(Clone, Copy, Debug)]
struct Launch {
    value: f64,
    disturbed: bool,
}

impl Series {
    /// The median, and half the spread between the quartiles as a share of it.
    fn summary(&self) -> (f64, f64) {
        let mut values: Vec<f64> = self.launches.iter().map(|launch| launch.value).collect();
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            let index = values.len().saturating_sub(1) * quarter / 4;
            values.get(index).copied().unwrap_or(f64::NAN)
        };
        (at(2), (at(3) - at(1)) / 2.0 / at(2))
    }
}

impl Table {
    pub(super) fn add(&mut self, row: &Row, column: &Column, measured: &Measured) {
        let index = self.rows.iter().position(|(known, _)| known == row);
        let index = index.unwrap_or_else(|| {
            self.rows.push((*row, Vec::new()));
            self.rows.len() - 1
        });
        let Some((_, all)) = self.rows.get_mut(index) else {
            return;
        };
        for (name, value) in &measured.figures {
            let launch = Launch {
                value: *value,
                disturbed: measured.disturbed(),
            };
            let known = all
                .iter_mut()
                .find(|series| series.figure.0 == *name && series.column == *column);
            match known {
                Some(series) => series.launches.push(launch),
                None => all.push(Series {
                    figure: Figure(name.clone()),
                    column: *column,
                    launches: vec![launch],
                }),
            }
        }
    }

    /// What is to be known about all of it.
    #[must_use]
    pub fn notes() -> String {
        let mut notes = String::new();
        if !pin::enough() {
            notes += "only one CPU: nothing is pinned, the figures are of little use\n";
        }
        if cfg!(debug_assertions) {
            notes += "not a release build: the figures are of no use\n";
        }
        notes
            + "each line: median, half the spread between the quartiles, the ratio to the first \
               column, all launches (* others took more than a tenth of a CPU meanwhile)\n"
    }

    /// A row with all its columns.
    pub(super) fn row(&self, row: &Row) -> String {
        let mut text = format!("\n{}: {}\n", row.name, row.title);
        let Some((_, all)) = self.rows.iter().find(|(known, _)| known == row) else {
            return text + "  no column";
        };
        let mut figures: Vec<&Figure> = Vec::new();
        for series in all {
            if !figures.contains(&&series.figure) {
                figures.push(&series.figure);
            }
        }
        for figure in figures {
            let lower = if figure.lower_is_better() {
                " (less is better)"
            } else {
                ""
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {figure}{lower}");
            let mut columns: Vec<&Series> = all
                .iter()
                .filter(|series| series.figure == *figure)
                .collect();
            columns.sort_by_key(|series| {
                let all = Column::ALL.iter();
                all.clone().position(|column| *column == series.column)
            });
            let reference = columns
                .first()
                .map_or(f64::NAN, |series| series.summary().0);
            for series in columns {
                let (median, spread) = series.summary();
                let _ = write!(
                    text,
                    "    {:<18} {median:>12.1} ±{:>5.1}% {:>7.2}  ",
                    series.column.name,
                    spread * 100.0,
                    median / reference
                );
                for launch in &series.launches {
                    let mark = if launch.disturbed { "*" } else { "" };
                    let _ = write!(text, " {:.1}{mark}", launch.value);
                }
                text.push('\n');
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}
