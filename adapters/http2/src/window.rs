//! Windows that grow while readers keep up, within a bound that connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::settings::Settings;

/// Readers that take a stream's window in less than this are held up by it on links whose round
/// trip takes as long.
const KEEPS_UP: Duration = Duration::from_millis(250);

/// Bytes by which the windows of several connections may grow together.
///
/// What a connection took comes back when it ends.
#[derive(Clone, Debug)]
pub struct WindowBudget {
    left: Arc<AtomicUsize>,
}

impl WindowBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(bytes)),
        }
    }

    /// Bytes that no connection has taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            })
            .is_ok()
    }
}

/// The windows of one connection.
#[derive(Debug)]
pub(crate) struct Windows {
    stream: u32,
    connection: u32,
    max: u32,
    budget: Option<WindowBudget>,
    taken: usize,
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
            taken: 0,
            mark: 0,
            since: now,
        }
    }

    /// Makes the windows at least these. The result is as that of [`grow`](Self::grow).
    pub(crate) fn raise(&mut self, stream: u32, connection: u32) -> Option<(u32, u32)> {
        if stream <= self.stream && connection <= self.connection {
            return None;
        }
        self.stream = self.stream.max(stream);
        self.connection = self.connection.max(connection);
        Some((self.connection, self.stream))
    }

    /// The windows that the connection and its streams are to have from now on, if they change.
    /// `consumed` is what readers took since the connection began; it wraps.
    pub(crate) fn grow(&mut self, consumed: usize, now: Instant) -> Option<(u32, u32)> {
        if self.connection >= self.max {
            return None;
        }
        if consumed.wrapping_sub(self.mark) < self.stream as usize {
            return None;
        }
        let quick = now.saturating_duration_since(self.since) <= KEEPS_UP;
        self.mark = consumed;
        self.since = now;
        if !quick {
            return None;
        }
        let connection = self.connection.saturating_mul(2).min(self.max);
        let more = (connection - self.connection) as usize;
        if let Some(budget) = &self.budget {
            if !budget.take(more) {
                return None;
            }
            self.taken += more;
        }
        let stream = u64::from(self.stream) * u64::from(connection) / u64::from(self.connection);
        self.stream = u32::try_from(stream).unwrap_or(self.stream);
        self.connection = connection;
        Some((connection, self.stream))
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.left.fetch_add(self.taken, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{WindowBudget, Windows};
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

        assert_eq!(windows.grow(255 * KIB, start), None, "not a window yet");
        let grown = windows.grow(256 * KIB, start + Duration::from_millis(250));
        assert_eq!(grown, Some((2 * MIB, MIB / 2)));
        assert_eq!(budget.left(), 1 << 20);

        let slow = start + Duration::from_secs(5);
        assert_eq!(windows.grow(1024 * KIB, slow), None, "a slow reader");
        let full = windows.grow(2048 * KIB, slow);
        assert_eq!(full, None, "2 MiB more than the budget has");
        assert_eq!(windows.raise(MIB / 4, 2 * MIB), None, "they are that large");
        assert_eq!(windows.raise(16 * MIB, MIB), Some((2 * MIB, 16 * MIB)));
        drop(windows);
        assert_eq!(budget.left(), 2 << 20);
    }
}
