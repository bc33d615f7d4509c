//! The pauses between attempts to open a tunnel.

use std::time::Duration;

use fastrand::Rng;

/// How long a [`Supervisor`](crate::Supervisor) waits between two attempts to open a tunnel:
/// exponential backoff with full jitter. A pause is drawn evenly from zero to a bound, which begins
/// with `first` and doubles with each attempt up to `max`, so that ends which lost their tunnels
/// together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The bound of the first pause. Default: 250 ms.
    pub first: Duration,
    /// The largest bound. Default: 30 s.
    pub max: Duration,
    /// How long a tunnel must have been open for its loss to begin with `first` again. One that
    /// ended sooner counts as a failed attempt, so a peer that accepts tunnels and ends them at once
    /// is not asked in a tight loop. Default: 10 s.
    pub lived: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            max: Duration::from_secs(30),
            lived: Duration::from_secs(10),
        }
    }
}

/// The pauses of one tunnel.
#[derive(Debug)]
pub(crate) struct Pauses {
    backoff: Backoff,
    /// Failed attempts since a tunnel lived.
    failures: u32,
    random: Rng,
}

impl Pauses {
    pub(crate) const fn new(backoff: Backoff, random: Rng) -> Self {
        Self {
            backoff,
            failures: 0,
            random,
        }
    }

    /// Whether a tunnel that was open for so long lived.
    pub(crate) fn has_lived(&self, open: Duration) -> bool {
        open >= self.backoff.lived
    }

    /// A tunnel lived.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let bound = self.backoff.first.saturating_mul(doubled);
        let bound = bound.min(self.backoff.max);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.u64(..=nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(first: u64, max: u64) -> Backoff {
        Backoff {
            first: Duration::from_millis(first),
            max: Duration::from_millis(max),
            ..Backoff::default()
        }
    }

    #[test]
    fn pauses_are_drawn_from_zero_to_a_bound_that_doubles() {
        let mut longest = [Duration::ZERO; 40];
        let mut shortest = [Duration::MAX; 40];
        for seed in 0..2_000 {
            let mut pauses = Pauses::new(backoff(100, 5_000), Rng::with_seed(seed));
            for (longest, shortest) in longest.iter_mut().zip(&mut shortest) {
                let pause = pauses.next();
                *longest = pause.max(*longest);
                *shortest = pause.min(*shortest);
            }
        }
        for (attempt, (longest, shortest)) in longest.into_iter().zip(shortest).enumerate() {
            let doubled = 100_u64.saturating_mul(1 << attempt.min(20)).min(5_000);
            let bound = Duration::from_millis(doubled);
            assert!(longest <= bound, "{attempt}: {longest:?}");
            assert!(longest > bound.mul_f64(0.99), "{attempt}: {longest:?}");
            assert!(shortest < bound.mul_f64(0.01), "{attempt}: {shortest:?}");
        }
    }

    #[test]
    fn a_bound_may_be_anything() {
        for (first, max) in [
            (Duration::ZERO, Duration::MAX),
            (Duration::MAX, Duration::MAX),
        ] {
            let any = Backoff {
                first,
                max,
                ..Backoff::default()
            };
            let mut pauses = Pauses::new(any, Rng::with_seed(1));
            for _ in 0..100 {
                assert!(pauses.next() <= max);
            }
        }
        let mut none = Pauses::new(backoff(100, 0), Rng::with_seed(1));
        assert_eq!(none.next(), Duration::ZERO);
    }
}
