//! How large windows are to be for the way to the peer, as samples show it.
//!
//! A window that was used up in about one round trip, and whose reader kept up, was what held the
//! peer back: it doubles. Where the sample took hardly longer than a round trip, no queue has built
//! up, so the link carries more, perhaps much more: then the window grows to four times what came
//! in that time. So it is there in a few round trips, however far that is. Up to two round trips a
//! sample may take, because a window must outlast jitter and the grants that are held back; beyond
//! that it is the link that is full, and more credit would only feed its queue. So a window ends
//! between two and four times what the link carries in a round trip, and nothing that is sampled
//! later makes it larger on the same link.

use crate::time::Time;
use crate::types::Key;

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// After so long a round trip that did not come again is doubted.
const EPOCH: u64 = 30_000_000_000;
/// A watched grant of a stream that fell silent makes place for another's after four round trips,
/// but not before this.
const PATIENCE: u64 = 100_000_000;
/// The same while no round trip is known.
const FIRST_PATIENCE: u64 = 1_000_000_000;

/// A grant whose effect is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) stream: Key,
    pub(super) since: Time,
    /// Bytes that had come on all streams by then.
    pub(super) arrived: u64,
    /// Bytes that the peer could send before it heard of the grant, and those still to come.
    pub(super) allowed: u32,
    pub(super) left: u32,
    /// Whether no more than half of the window was unread; not for the first window.
    pub(super) kept_up: bool,
}

impl Sample {
    /// Whether the peer may have stopped for lack of credit. A chunk that crosses the old limit was
    /// sent by one who had heard of the grant before.
    const fn may_have_stopped(&self) -> bool {
        self.kept_up && self.left == 0
    }
}

/// What is known of the way to the peer and back.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Route {
    /// The shortest round trip, in nanoseconds; 0 is unknown.
    pub(super) round_trip: u64,
    /// Whether the peer was seen to wait for credit, rather than for its own application.
    peer_waited: bool,
    epoch_began: Time,
    /// The shortest of this epoch that a peer may have waited for.
    shortest: Option<u64>,
    /// The most bytes a second that came on all streams in a sample of this epoch, and of the one
    /// before.
    rate: u64,
    rate_before: u64,
    /// The largest window that a sample of this epoch, and of the one before, asked for; and the
    /// larger one of both.
    asked: u32,
    asked_before: u32,
    pub(super) learned: u32,
}

impl Route {
    /// A round trip took so long, or less, and `sample` and other bytes came within it.
    pub(super) fn measured(&mut self, now: Time, nanos: u64, sample: Option<(&Sample, u64)>) {
        if let Some((sample, bytes)) = sample {
            let rate = bytes.saturating_mul(SECOND) / nanos.max(1);
            self.rate = self.rate.max(rate);
            if sample.may_have_stopped() {
                self.peer_waited = true;
                self.shortest = Some(self.shortest.map_or(nanos, |known| known.min(nanos)));
            }
        }
        if self.round_trip == 0 || nanos <= self.round_trip {
            self.round_trip = nanos;
        }
        let passed = now.as_nanos().saturating_sub(self.epoch_began.as_nanos());
        if passed >= EPOCH {
            self.next_epoch(now);
        }
    }

    /// Nanoseconds for which a sampled stream may be silent before another one gets its turn.
    pub(super) fn patience(&self) -> u64 {
        match self.round_trip {
            0 => FIRST_PATIENCE,
            round_trip => round_trip.saturating_mul(4).max(PATIENCE),
        }
    }

    /// What a window of `size` is to be after a sample that took so long, or zero if it is not known
    /// whether the peer ever waits for credit. It is noted for other streams.
    pub(super) fn target(&mut self, size: u32, sample: &Sample, nanos: u64) -> u32 {
        let allowed = u64::from(sample.allowed);
        let target = if !self.peer_waited {
            0
        } else if nanos <= self.round_trip.saturating_add(self.round_trip / 8) {
            u64::from(size)
                .saturating_mul(2)
                .max(allowed.saturating_mul(4))
        } else if nanos <= self.round_trip.saturating_mul(2) {
            u64::from(size).saturating_mul(2)
        } else {
            // Twice what came in a round trip, which is less than it is.
            allowed.saturating_mul(self.round_trip) / nanos * 2
        };
        let target = u32::try_from(target).unwrap_or(u32::MAX);
        self.asked = self.asked.max(target);
        self.learned = self.asked.max(self.asked_before);
        target
    }

    /// A longer round trip is believed where less came than before: then the way is longer. Where
    /// as much came, on however many streams, it is a queue on a full link that made it longer,
    /// which more credit would only feed.
    fn next_epoch(&mut self, now: Time) {
        if let Some(shortest) = self.shortest
            && self.rate < self.rate_before / 4 * 3
        {
            self.round_trip = shortest;
        }
        self.epoch_began = now;
        self.shortest = None;
        self.rate_before = core::mem::take(&mut self.rate);
        self.asked_before = core::mem::take(&mut self.asked);
        self.learned = self.asked_before;
    }
}
