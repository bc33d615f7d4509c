//! How many calls may be made again: a server that fails most of the time is not asked even more.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// gRPC's token bucket of retries.
#[derive(Debug)]
pub(super) struct Budget {
    most: f64,
    ratio: f64,
    left: Mutex<f64>,
}

impl Budget {
    pub(super) fn new(tokens: u32, ratio: f64) -> Self {
        let most = f64::from(tokens);
        Self {
            most,
            ratio,
            left: Mutex::new(most),
        }
    }

    fn left(&self) -> MutexGuard<'_, f64> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt failed.
    pub(super) fn failed(&self) {
        let mut left = self.left();
        *left = (*left - 1.0).max(0.0);
    }

    /// An attempt succeeded.
    pub(super) fn succeeded(&self) {
        let mut left = self.left();
        *left = (*left + self.ratio).min(self.most);
    }

    /// Whether a call may be made again.
    pub(super) fn allows_more(&self) -> bool {
        *self.left() > self.most / 2.0
    }
}
