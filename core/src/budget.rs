//! The one place where everything is charged that a peer can do for free.

use crate::limits::{Bucket, Budgets, Limits};
use crate::reason::TunnelReason;
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
        // Tokens that time brought to a full bucket are lost, so they must not wait for long; to
        // count them at each charge would be a division each time.
        let passed = now.as_nanos().saturating_sub(self.filled.as_nanos());
        if self.left == 0 || passed >= NANOS {
            self.refill(now);
        }
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }

    /// What is left at `now`.
    fn level(&self, now: Time) -> u32 {
        let mut level = self.clone();
        level.refill(now);
        level.left
    }

    fn refill(&mut self, now: Time) {
        let passed = now.as_nanos().saturating_sub(self.filled.as_nanos());
        let per_second = u64::from(self.bucket.per_second);
        let Some(token) = NANOS.checked_div(per_second) else {
            return;
        };
        let token = token.max(1);
        let tokens = passed / token;
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
    /// A frame without data for a stream that has ended. Free while it may have been in flight
    /// when this end ended a stream early.
    Late,
    /// Data of so many bytes for a stream that has ended. Free in the same way.
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
    /// This end refused a stream, or ended it early, with so much credit outstanding.
    EndedEarly(u32),
}

/// Frames without data that a peer may have in flight when this end ends a stream early. A tunnel
/// client's: `half_close`, `cancel`. A tunnel server's: `response_headers`, `close_stream`. The
/// Go module may send headers behind the first message too, and v0.1.0 sends `cancel` after every
/// call.
const LATE_FRAMES: u32 = 4;
/// Bytes for each stream that are remembered at most: the window that known peers use.
const LATE_BYTES: u64 = 65_536;

/// Frames that were in flight when this end ended their streams early. Their peer could not know
/// better, so they cost it nothing. Which streams those were is not remembered: a count for the
/// whole tunnel is enough, and takes no memory.
///
/// No attack gains by it. A peer earns what one stream may have in flight by having that stream
/// refused or ended, so there are never more free frames than streams that it opened could have
/// made useful; and what is earned and not used is capped.
#[derive(Clone, Debug)]
struct Late {
    /// Streams whose frames are remembered at most.
    streams: u32,
    frames: u32,
    bytes: u64,
}

impl Late {
    const fn new(limits: &Limits) -> Self {
        Self {
            streams: limits.late_streams,
            frames: 0,
            bytes: 0,
        }
    }

    fn earn(&mut self, bytes: u32) {
        let most = self.streams.saturating_mul(LATE_FRAMES);
        self.frames = self.frames.saturating_add(LATE_FRAMES).min(most);
        let most = u64::from(self.streams).saturating_mul(LATE_BYTES);
        self.bytes = self.bytes.saturating_add(u64::from(bytes)).min(most);
    }

    fn take_frame(&mut self) -> bool {
        let rest = self.frames.checked_sub(1);
        self.frames = rest.unwrap_or(0);
        rest.is_some()
    }

    /// Data costs its length, and at least one: an empty chunk is a frame too.
    fn take_data(&mut self, bytes: u32) -> bool {
        let rest = self.bytes.checked_sub(u64::from(bytes.max(1)));
        if let Some(rest) = rest {
            self.bytes = rest;
        }
        rest.is_some()
    }
}

/// The budgets of one tunnel.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    useless: Tokens,
    window_updates: Tokens,
    protocol_errors: Tokens,
    pending_rejections: u32,
    /// What may still arrive for streams that this end ended early.
    late: Late,
    /// Data frames sent that no `window_update` has answered yet. Known peers answer each, all of
    /// them perhaps after the last one has left, when the bucket has long been full.
    unanswered: u32,
    max_unanswered: u32,
    last_heartbeat: Option<Time>,
}

impl Budget {
    pub(crate) const fn new(limits: &Limits, now: Time) -> Self {
        Self {
            useless: Tokens::new(limits.useless_frames, now),
            window_updates: Tokens::new(limits.window_updates, now),
            protocol_errors: Tokens::new(limits.protocol_errors, now),
            pending_rejections: limits.pending_rejections,
            late: Late::new(limits),
            unanswered: 0,
            max_unanswered: limits.unanswered_frames,
            last_heartbeat: None,
        }
    }

    /// What is left at `now`, with so many refusals waiting.
    pub(crate) fn levels(&self, now: Time, waiting: u32) -> Budgets {
        Budgets {
            useless_frames: self.useless.level(now),
            window_updates: self.window_updates.level(now),
            protocol_errors: self.protocol_errors.level(now),
            pending_rejections: self.pending_rejections.saturating_sub(waiting),
            late_frames: self.late.frames,
            late_bytes: self.late.bytes,
            unanswered_frames: self.unanswered,
        }
    }

    /// Charges the peer; an overdraft ends the tunnel with the reason returned.
    pub(crate) fn charge(&mut self, now: Time, charge: Charge) -> Result<(), TunnelReason> {
        let (paid, reason) = match charge {
            Charge::Useless => (self.useless.take(now), TunnelReason::TooManyUselessFrames),
            Charge::Late => (
                self.late.take_frame() || self.useless.take(now),
                TunnelReason::TooManyUselessFrames,
            ),
            Charge::LateData(bytes) => (
                self.late.take_data(bytes) || self.useless.take(now),
                TunnelReason::TooManyUselessFrames,
            ),
            Charge::WindowUpdate => {
                let answers = self.unanswered > 0;
                self.unanswered = self.unanswered.saturating_sub(1);
                (
                    answers || self.window_updates.take(now),
                    TunnelReason::TooManyWindowUpdates,
                )
            }
            Charge::Heartbeat => {
                let free = self.last_heartbeat.is_none_or(|last| {
                    now.saturating_since(last) >= core::time::Duration::from_secs(1)
                });
                if free {
                    self.last_heartbeat = Some(now);
                    return Ok(());
                }
                (
                    self.window_updates.take(now),
                    TunnelReason::TooManyWindowUpdates,
                )
            }
            Charge::ProtocolError => (
                self.protocol_errors.take(now),
                TunnelReason::TooManyProtocolErrors,
            ),
            Charge::Rejection(waiting) => (
                waiting < self.pending_rejections,
                TunnelReason::TooManyRejections,
            ),
        };
        if paid { Ok(()) } else { Err(reason) }
    }

    /// Credits the peer.
    pub(crate) fn earn(&mut self, earned: Earned) {
        match earned {
            Earned::UsefulFrame => self.useless.earn(),
            Earned::DataFrame => {
                self.window_updates.earn();
                let most = self.max_unanswered;
                self.unanswered = self.unanswered.saturating_add(1).min(most);
            }
            Earned::Stream => self.window_updates.add(2),
            Earned::EndedEarly(bytes) => self.late.earn(bytes),
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
            Err(TunnelReason::TooManyUselessFrames)
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

    /// Nothing useless is allowed.
    fn strict() -> Limits {
        let mut limits = Limits::default();
        limits.useless_frames.capacity = 0;
        limits.useless_frames.per_second = 0;
        limits
    }

    #[test]
    fn time_brings_no_more_than_a_bucket_holds() {
        let mut budget = Budget::new(&Limits::default(), Time::ZERO);
        let later = Time::from_millis(3_600_000);
        budget.charge(later, Charge::Useless).unwrap();
        let mut taken = 1;
        while budget.charge(later, Charge::Useless).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 10_000);
    }

    #[test]
    fn late_data_is_free_while_it_was_in_flight() {
        let mut budget = Budget::new(&strict(), Time::ZERO);
        budget.earn(Earned::EndedEarly(100));
        budget.charge(Time::ZERO, Charge::LateData(99)).unwrap();
        budget.charge(Time::ZERO, Charge::LateData(0)).unwrap();
        assert!(budget.charge(Time::ZERO, Charge::LateData(1)).is_err());
    }

    #[test]
    fn a_few_late_frames_are_free_for_each_stream_that_was_ended_early() {
        let mut budget = Budget::new(&strict(), Time::ZERO);
        for streams in 1..5 {
            for _ in 0..streams {
                budget.earn(Earned::EndedEarly(0));
            }
            for _ in 0..streams * LATE_FRAMES {
                budget.charge(Time::ZERO, Charge::Late).unwrap();
            }
            assert!(budget.charge(Time::ZERO, Charge::Late).is_err());
        }
    }

    #[test]
    fn what_may_be_late_is_not_saved_up_without_end() {
        let mut limits = strict();
        limits.late_streams = 3;
        let mut budget = Budget::new(&limits, Time::ZERO);
        for _ in 0..1_000 {
            budget.earn(Earned::EndedEarly(65_536));
        }
        let levels = budget.levels(Time::ZERO, 0);
        assert_eq!(levels.late_frames, 3 * LATE_FRAMES);
        assert_eq!(levels.late_bytes, 3 * 65_536);
    }

    #[test]
    fn each_data_frame_may_be_answered_however_late() {
        let limits = Limits {
            unanswered_frames: 100_000,
            ..Limits::default()
        };
        let mut budget = Budget::new(&limits, Time::ZERO);
        for _ in 0..1_000_000 {
            budget.earn(Earned::DataFrame);
        }
        let mut taken = 0;
        while budget.charge(Time::ZERO, Charge::WindowUpdate).is_ok() {
            taken += 1;
        }
        // What the bucket holds comes on top, and what was earned beyond the limit is lost.
        assert_eq!(taken, 101_000);
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
