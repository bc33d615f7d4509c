//! The pauses between attempts to connect.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A connection that lasted so long makes the pauses begin again with the first.
const STEADY: Duration = Duration::from_secs(10);

/// Pauses that double, from a quarter of a second to a limit, each longer by chance.
#[derive(Debug)]
pub(crate) struct Pauses {
    limit: Duration,
    next: ExponentialBackoff,
}

impl Pauses {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            next: backoff(limit),
        }
    }

    /// Begins again with the first pause if what began then lasted.
    pub(crate) fn lasted_since(&mut self, begun: Instant) {
        if begun.elapsed() >= STEADY {
            self.next = backoff(self.limit);
        }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        self.next.next().unwrap_or(self.limit)
    }
}

fn backoff(limit: Duration) -> ExponentialBackoff {
    let half = limit / 2;
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE.min(half))
        .with_max_delay(half)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_never_end() {
        for limit in [1, 10].map(Duration::from_secs) {
            let mut pauses = Pauses::new(limit);
            let pauses: Vec<_> = (0..50).map(|_| pauses.pause()).collect();
            let is_within = |pause: &Duration| (FIRST_PAUSE..=limit).contains(pause);
            assert!(pauses.iter().all(is_within), "{pauses:?}");
            assert!(pauses[49] >= limit / 2, "{pauses:?}");
        }
    }
}
