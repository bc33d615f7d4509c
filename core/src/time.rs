//! Points in time on the caller's clock.

use core::time::Duration;

/// A point on the caller's monotonic clock, in nanoseconds since an origin that the caller chooses.
///
/// The core never reads a clock: every method that depends on the time takes a `Time`. It must not
/// go backwards from one call to the next. If it does, timers fire late; nothing else happens. All
/// arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin of the caller's clock.
    pub const ZERO: Self = Self(0);
    /// Later than every deadline.
    pub const MAX: Self = Self(u64::MAX);

    /// The time `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The time `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self + duration`, or [`Time::MAX`] on overflow.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Whether a timer set to this time is due at `now`. One set to [`Time::MAX`] never is.
    #[must_use]
    pub(crate) fn is_due(self, now: Self) -> bool {
        self <= now && self != Self::MAX
    }

    /// Nanoseconds left until this time, for fingerprints: an expired timer has wrapped.
    #[cfg(feature = "search")]
    pub(crate) fn nanos_left(self, now: Self) -> u64 {
        if self == Self::MAX {
            u64::MAX
        } else {
            self.0.wrapping_sub(now.0)
        }
    }

    /// The time elapsed since `earlier`, or zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
