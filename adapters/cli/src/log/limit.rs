//! Lines that peers can cause at will.

use std::{
    num::NonZeroU32,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use governor::{DefaultDirectRateLimiter, Quota};

use crate::metrics;

/// Lines a second of one kind.
const RATE: NonZeroU32 = match NonZeroU32::new(20) {
    Some(rate) => rate,
    None => NonZeroU32::MIN,
};

/// Limits lines of one kind.
pub(super) struct Limit {
    rate: LazyLock<DefaultDirectRateLimiter>,
    left_out: AtomicU64,
}

impl Limit {
    pub(super) const fn new() -> Self {
        Self {
            rate: LazyLock::new(|| DefaultDirectRateLimiter::direct(Quota::per_second(RATE))),
            left_out: AtomicU64::new(0),
        }
    }

    /// How many were left out that no line tells of yet.
    #[cfg(test)]
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Whether a line may be logged; how many were left out before it.
    pub(super) fn admit(&self) -> Option<u64> {
        if self.rate.check().is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        metrics::left_out();
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}
