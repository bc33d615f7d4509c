//! Windows that grow while readers keep up, within a bound that connections share.

use std::time::{Duration, Instant};

use crate::budget::{Reserved, WindowBudget};
use crate::settings::Settings;

/// Readers that take a stream's window in less than this are held up by it on links whose round
/// trip takes as long.
const KEEPS_UP: Duration = Duration::from_millis(250);

/// The windows of one connection.
#[derive(Debug)]
pub(crate) struct Windows {
    stream: u32,
    connection: u32,
    max: u32,
    budget: Option<WindowBudget>,
    /// What it took out of the budget, at most once for each time that it doubled.
    reserved: Vec<Reserved>,
    /// What readers had taken when the present measurement began, and when that was.
    mark: usize,
    since: Instant,
}

impl Windows {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        let (stream, connection, max) = settings.windows();
        Self {
            stream,
            connection,
            max,
            budget: settings.window_budget.clone(),
            reserved: Vec::new(),
            mark: 0,
            since: now,
        }
    }

    /// Those of the connection and of its streams.
    pub(crate) const fn sizes(&self) -> (u32, u32) {
        (self.connection, self.stream)
    }

    /// Makes the windows at least these. Whether they change.
    pub(crate) fn raise(&mut self, stream: u32, connection: u32) -> bool {
        let before = self.sizes();
        self.stream = self.stream.max(stream);
        self.connection = self.connection.max(connection);
        self.sizes() != before
    }

    /// Whether the windows change. `consumed` is what readers took since the connection began; it
    /// wraps.
    pub(crate) fn grow(&mut self, consumed: usize, now: Instant) -> bool {
        if self.connection >= self.max {
            return false;
        }
        if consumed.wrapping_sub(self.mark) < self.stream as usize {
            return false;
        }
        let quick = now.saturating_duration_since(self.since) <= KEEPS_UP;
        self.mark = consumed;
        self.since = now;
        if !quick {
            return false;
        }
        let connection = self.connection.saturating_mul(2).min(self.max);
        let more = (connection - self.connection) as usize;
        if let Some(budget) = &self.budget {
            let Some(reserved) = budget.reserve(more) else {
                return false;
            };
            self.reserved.push(reserved);
        }
        let stream = u64::from(self.stream) * u64::from(connection) / u64::from(self.connection);
        self.stream = u32::try_from(stream).unwrap_or(self.stream);
        self.connection = connection;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Windows;
    use crate::budget::WindowBudget;
    use crate::settings::Settings;

    const KIB: usize = 1 << 10;
    const MIB: u32 = 1 << 20;

    #[test]
    fn windows_grow_while_readers_keep_up_and_give_back_what_they_took() {
        let budget = WindowBudget::new(2 << 20);
        let mut settings = Settings::calls();
        settings.window_budget = Some(budget.clone());
        let start = Instant::now();
        let mut windows = Windows::new(&settings, start);

        assert!(!windows.grow(255 * KIB, start), "not a window yet");
        assert!(windows.grow(256 * KIB, start + Duration::from_millis(250)));
        assert_eq!(windows.sizes(), (2 * MIB, MIB / 2));
        assert_eq!(budget.left(), 1 << 20);

        let slow = start + Duration::from_secs(5);
        assert!(!windows.grow(1024 * KIB, slow), "a slow reader");
        let full = windows.grow(2048 * KIB, slow);
        assert!(!full, "2 MiB more than the budget has");
        assert!(!windows.raise(MIB / 4, 2 * MIB), "they are that large");
        assert!(windows.raise(16 * MIB, MIB));
        assert_eq!(windows.sizes(), (2 * MIB, 16 * MIB));
        drop(windows);
        assert_eq!(budget.left(), 2 << 20);
    }
}
