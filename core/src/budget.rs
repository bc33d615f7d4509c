//! The one place where everything is charged that a peer can do for free.

use crate::error::Reason;
use crate::limits::{Bucket, Limits};
use crate::time::Time;

const NANOS: u64 = 1_000_000_000;

/// A [`Bucket`] in use.
#[derive(Clone, Debug)]
struct Tokens {
    bucket: Bucket,
    left: u32,
    /// Up to when the tokens that come with time were counted.
    filled: Time,
}

impl Tokens {
    const fn new(bucket: Bucket, now: Time) -> Self {
        Self {
            bucket,
            left: bucket.capacity,
            filled: now,
        }
    }

    fn add(&mut self, tokens: u32) {
        self.left = self.left.saturating_add(tokens).min(self.bucket.capacity);
    }

    fn earn(&mut self) {
        self.add(self.bucket.per_earned);
    }

    /// Takes one token; false if there is none.
    fn take(&mut self, now: Time) -> bool {
        if self.left == 0 {
            self.refill(now);
        }
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }

    fn refill(&mut self, now: Time) {
        let passed = now.as_nanos().saturating_sub(self.filled.as_nanos());
        let per_second = u64::from(self.bucket.per_second);
        let Some(token) = NANOS.checked_div(per_second) else {
            return;
        };
        let tokens = passed / token.max(1);
        if tokens >= u64::from(self.bucket.capacity) {
            self.filled = now;
            self.left = self.bucket.capacity;
            return;
        }
        // The remainder of a token is kept, so that frequent charges do not lose it.
        let counted = tokens.saturating_mul(token);
        self.filled = Time::from_nanos(self.filled.as_nanos().saturating_add(counted));
        self.add(u32::try_from(tokens).unwrap_or(u32::MAX));
    }
}

/// What a peer did that costs it something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    /// A frame that means nothing.
    Useless,
    /// Data of so many bytes for a stream that has ended. Free while it was in flight when this
    /// end closed the stream early.
    LateData(u32),
    /// A `window_update` on a stream.
    WindowUpdate,
    /// The heartbeat: `window_update` on stream -1. Free once a second.
    Heartbeat,
    /// A stream that this end closed for a protocol error.
    ProtocolError,
    /// A refusal, with so many waiting already.
    Rejection(u32),
}

/// What a peer or this end did that earns the peer something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Earned {
    /// A useful frame came.
    UsefulFrame,
    /// A data frame went out.
    DataFrame,
    /// A stream was opened.
    Stream,
    /// A stream was ended early with so much credit outstanding.
    Outstanding(u32),
}

/// The budgets of one tunnel.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    useless: Tokens,
    window_updates: Tokens,
    protocol_errors: Tokens,
    pending_rejections: u32,
    /// Bytes that may still arrive for streams that this end ended early.
    late: u64,
    last_heartbeat: Option<Time>,
}

impl Budget {
    pub(crate) const fn new(limits: &Limits, now: Time) -> Self {
        Self {
            useless: Tokens::new(limits.useless_frames, now),
            window_updates: Tokens::new(limits.window_updates, now),
            protocol_errors: Tokens::new(limits.protocol_errors, now),
            pending_rejections: limits.pending_rejections,
            late: 0,
            last_heartbeat: None,
        }
    }

    /// Charges the peer; an overdraft ends the tunnel with the reason returned.
    pub(crate) fn charge(&mut self, now: Time, charge: Charge) -> Result<(), Reason> {
        let (paid, reason) = match charge {
            Charge::Useless => (self.useless.take(now), Reason::TooManyUselessFrames),
            Charge::LateData(bytes) => {
                let price = u64::from(bytes.max(1));
                if let Some(rest) = self.late.checked_sub(price) {
                    self.late = rest;
                    return Ok(());
                }
                (self.useless.take(now), Reason::TooManyUselessFrames)
            }
            Charge::WindowUpdate => (self.window_updates.take(now), Reason::TooManyWindowUpdates),
            Charge::Heartbeat => {
                let free = self.last_heartbeat.is_none_or(|last| {
                    now.saturating_since(last) >= core::time::Duration::from_secs(1)
                });
                if free {
                    self.last_heartbeat = Some(now);
                    return Ok(());
                }
                (self.window_updates.take(now), Reason::TooManyWindowUpdates)
            }
            Charge::ProtocolError => (
                self.protocol_errors.take(now),
                Reason::TooManyProtocolErrors,
            ),
            Charge::Rejection(waiting) => {
                (waiting < self.pending_rejections, Reason::TooManyRejections)
            }
        };
        if paid { Ok(()) } else { Err(reason) }
    }

    /// Credits the peer.
    pub(crate) fn earn(&mut self, earned: Earned) {
        match earned {
            Earned::UsefulFrame => self.useless.earn(),
            Earned::DataFrame => self.window_updates.earn(),
            Earned::Stream => self.window_updates.add(2),
            Earned::Outstanding(bytes) => self.late = self.late.saturating_add(u64::from(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_with_time_and_with_use() {
        let limits = Limits::default();
        let mut budget = Budget::new(&limits, Time::ZERO);
        for _ in 0..10_000 {
            budget.charge(Time::ZERO, Charge::Useless).unwrap();
        }
        assert_eq!(
            budget.charge(Time::ZERO, Charge::Useless),
            Err(Reason::TooManyUselessFrames)
        );
        let second = Time::from_millis(1_000);
        for _ in 0..100 {
            budget.charge(second, Charge::Useless).unwrap();
        }
        assert!(budget.charge(second, Charge::Useless).is_err());
        budget.earn(Earned::UsefulFrame);
        for _ in 0..8 {
            budget.charge(second, Charge::Useless).unwrap();
        }
        assert!(budget.charge(second, Charge::Useless).is_err());
    }

    #[test]
    fn late_data_is_free_while_it_was_in_flight() {
        let mut limits = Limits::default();
        limits.useless_frames.capacity = 0;
        limits.useless_frames.per_second = 0;
        let mut budget = Budget::new(&limits, Time::ZERO);
        budget.earn(Earned::Outstanding(100));
        budget.charge(Time::ZERO, Charge::LateData(99)).unwrap();
        budget.charge(Time::ZERO, Charge::LateData(0)).unwrap();
        assert!(budget.charge(Time::ZERO, Charge::LateData(1)).is_err());
    }

    #[test]
    fn a_heartbeat_a_second_is_free() {
        let mut limits = Limits::default();
        limits.window_updates.capacity = 0;
        limits.window_updates.per_second = 0;
        let mut budget = Budget::new(&limits, Time::ZERO);
        for second in 0..1_000 {
            let now = Time::from_millis(second * 1_000);
            budget.charge(now, Charge::Heartbeat).unwrap();
        }
        let soon = Time::from_millis(999_500);
        assert!(budget.charge(soon, Charge::Heartbeat).is_err());
    }
}
