//! What the demo shows: live on a terminal, plain lines anywhere else.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use console::{Emoji, style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const LABEL_WIDTH: usize = 16;
const TICK: Duration = Duration::from_millis(80);
const DONE: Emoji<'_, '_> = Emoji("✔", "ok");
const FAILED: Emoji<'_, '_> = Emoji("✘", "failed");

/// Standard output, and what it can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    live: bool,
}

/// What a [`Meter`] counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Things, by their number.
    Steps,
    /// Bytes, shown with their rate.
    Bytes,
}

impl Screen {
    /// Standard output as it is now.
    pub(super) fn stdout() -> Self {
        Self {
            live: io::stdout().is_terminal(),
        }
    }

    /// Writes one line.
    pub(super) fn line(self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{text}")
    }

    /// Whether this is a terminal.
    pub(super) const fn is_live(self) -> bool {
        self.live
    }

    /// Writes the title.
    pub(super) fn title(self, text: &'static str) -> io::Result<()> {
        self.line(style(text).bold())
    }

    /// Begins a step that has no measure.
    pub(super) fn begin(self, label: &'static str) -> Meter {
        let style = "  {spinner:.cyan} {prefix} {wide_msg:.dim}";
        self.meter(label, ProgressBar::no_length(), style, None)
    }

    /// Begins a step of `total` units.
    pub(super) fn measure(self, label: &'static str, total: u64, unit: Unit) -> Meter {
        let style = match unit {
            Unit::Steps => "  {spinner:.cyan} {prefix} {bar:32.cyan/dim} {pos} of {len}",
            Unit::Bytes => {
                "  {spinner:.cyan} {prefix} {bar:32.cyan/dim} {binary_bytes} of \
                 {binary_total_bytes}, {decimal_bytes_per_sec}"
            }
        };
        self.meter(label, ProgressBar::new(total), style, Some(unit))
    }

    fn meter(
        self,
        label: &'static str,
        bar: ProgressBar,
        template: &str,
        unit: Option<Unit>,
    ) -> Meter {
        if self.live {
            bar.set_draw_target(ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.set_prefix(format!("{label:LABEL_WIDTH$}"));
            bar.enable_steady_tick(TICK);
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Meter {
            screen: self,
            label,
            bar,
            unit,
            begun: Instant::now(),
        }
    }
}

/// One step of the demo while it runs. Clones show the same step.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    screen: Screen,
    label: &'static str,
    bar: ProgressBar,
    unit: Option<Unit>,
    begun: Instant,
}

impl Meter {
    /// The name of the step.
    pub(super) const fn label(&self) -> &'static str {
        self.label
    }

    /// Counts `by` more units. Where nothing can be drawn, each quarter is a line.
    pub(super) fn advance(&self, by: u64) {
        let before = self.quarters();
        self.bar.inc(by);
        let after = self.quarters();
        if !self.screen.live && before != after && after < 4 {
            // Progress that cannot be written is no reason to stop the step.
            let _ = self.screen.line(format_args!(
                "  ..  {:LABEL_WIDTH$} {}",
                self.label,
                self.position()
            ));
        }
    }

    /// Ends the step well.
    pub(super) fn done(&self, text: impl fmt::Display) -> io::Result<()> {
        self.bar.finish_and_clear();
        let took = Took(self.begun.elapsed());
        if self.screen.live {
            let took = style(format!("({took})")).dim();
            let mark = style(DONE).green();
            let label = style(format!("{:LABEL_WIDTH$}", self.label)).bold();
            self.screen
                .line(format_args!("  {mark} {label} {text} {took}"))
        } else {
            self.screen.line(format_args!(
                "  ok  {:LABEL_WIDTH$} {text} ({took})",
                self.label
            ))
        }
    }

    /// Ends the step badly; the reason is told elsewhere.
    pub(super) fn failed(&self) -> io::Result<()> {
        self.bar.finish_and_clear();
        if self.screen.live {
            let mark = style(FAILED).red();
            let label = style(self.label).bold();
            self.screen.line(format_args!("  {mark} {label}"))
        } else {
            self.screen.line(format_args!("  failed  {}", self.label))
        }
    }

    fn quarters(&self) -> u64 {
        let total = self.bar.length().unwrap_or(0).max(1);
        self.bar.position().saturating_mul(4) / total
    }

    fn position(&self) -> String {
        let (at, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        match self.unit {
            Some(Unit::Bytes) => format!("{} of {}", MiB(at), MiB(total)),
            _ => format!("{at} of {total}"),
        }
    }
}

/// A number of bytes in MiB, with one place unless it is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct MiB(pub(super) u64);

impl fmt::Display for MiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ONE: u64 = 1 << 20;
        if self.0.is_multiple_of(ONE) {
            write!(f, "{} MiB", self.0 / ONE)
        } else {
            write!(f, "{:.1} MiB", self.0 as f64 / ONE as f64)
        }
    }
}

/// A time, in the unit that suits it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took(pub(super) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_millis(1) {
            write!(f, "{} us", self.0.as_micros())
        } else if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{:.2} s", self.0.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_mib() {
        assert_eq!(MiB(64 << 20).to_string(), "64 MiB");
        assert_eq!(MiB((1 << 20) + (1 << 19)).to_string(), "1.5 MiB");
        assert_eq!(MiB(0).to_string(), "0 MiB");
    }

    #[test]
    fn times_have_a_fitting_unit() {
        assert_eq!(Took(Duration::from_micros(999)).to_string(), "999 us");
        assert_eq!(Took(Duration::from_millis(1)).to_string(), "1 ms");
        assert_eq!(Took(Duration::from_millis(1500)).to_string(), "1.50 s");
    }
}
