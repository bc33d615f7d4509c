//! Receive windows that grow with what the link carries.
//!
//! The peer cannot send beyond its credit before it has heard of a grant. So the time from a
//! grant to the first byte beyond what was allowed before it is a round trip, or more, and never
//! less. If the peer got through all of that in about one round trip, the window was what held it
//! back, and it doubles. One grant at a time is watched in a tunnel: streams need no memory for
//! it.

use core::time::Duration;

use super::{Role, Tunnel};
use crate::error::Side;
use crate::limits::ReceiveWindowPolicy;
use crate::storage::Storage;
use crate::stream::{Flag, Stream};
use crate::time::Time;
use crate::types::Key;
use crate::wire::Revision;

/// After so long a round trip that did not come again is doubted.
const EPOCH: u64 = 30_000_000_000;
/// A watched grant of a stream that fell silent makes place for another's after four round trips,
/// but not before this.
const PATIENCE: u64 = 100_000_000;
/// The same while no round trip is known.
const FIRST_PATIENCE: u64 = 1_000_000_000;

/// A grant whose effect is waited for.
#[derive(Clone, Copy, Debug, Hash)]
struct Sample {
    stream: Key,
    since: Time,
    /// Bytes that the peer could send before it heard of the grant, and those still to come.
    allowed: u32,
    left: u32,
    /// Whether no more than half of the window was unread; not for the first window.
    kept_up: bool,
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
struct Route {
    /// The shortest round trip, in nanoseconds; 0 is unknown.
    round_trip: u64,
    /// Whether the peer was seen to wait for credit, rather than for its own application.
    peer_waited: bool,
    epoch_began: Time,
    /// The shortest of this epoch that a peer may have waited for.
    shortest: Option<u64>,
    /// The most bytes a second that a sample of this epoch, and of the one before, came at.
    rate: u64,
    rate_before: u64,
}

impl Route {
    /// A round trip took so long, or less, and `sample` came within it.
    fn measured(&mut self, now: Time, nanos: u64, sample: Option<&Sample>) {
        if let Some(sample) = sample {
            let bytes = u64::from(sample.allowed);
            let rate = bytes.saturating_mul(1_000_000_000) / nanos.max(1);
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

    /// A longer round trip is believed where less came than before: then the way is longer. Where
    /// as much came, it is a queue on a full link that made it longer, which more credit would
    /// only feed.
    fn next_epoch(&mut self, now: Time) {
        if let Some(shortest) = self.shortest
            && self.rate < self.rate_before / 4 * 3
        {
            self.round_trip = shortest;
        }
        self.epoch_began = now;
        self.shortest = None;
        self.rate_before = core::mem::take(&mut self.rate);
    }
}

/// What all windows of a tunnel share.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Growth {
    /// Bytes by which windows have grown.
    in_use: u64,
    /// When the settings left, until a frame comes: no client sends one before it has them.
    settings_left: Option<Time>,
    sample: Option<Sample>,
    /// Whose growth has not left yet. What follows that grant shows how the old window did; what
    /// follows the next one, how the new one does.
    just_grown: Option<Key>,
    route: Route,
}

impl Growth {
    pub(super) const fn settings_left(&mut self, now: Time) {
        self.settings_left = Some(now);
    }

    pub(super) fn frame_came(&mut self, now: Time) {
        if let Some(left) = self.settings_left {
            self.settings_left = None;
            self.took(now, left, None);
        }
    }

    /// Notes a round trip, and returns its nanoseconds. A clock that stands still measures
    /// nothing.
    fn took(&mut self, now: Time, since: Time, sample: Option<&Sample>) -> Option<u64> {
        let nanos = now.as_nanos().saturating_sub(since.as_nanos());
        if nanos == 0 {
            return None;
        }
        self.route.measured(now, nanos, sample);
        Some(nanos)
    }

    /// Whether the watched stream has been silent for so long that another one gets its turn.
    fn is_stale(&self, now: Time, sample: &Sample) -> bool {
        let patience = match self.route.round_trip {
            0 => FIRST_PATIENCE,
            round_trip => round_trip.saturating_mul(4).max(PATIENCE),
        };
        now.as_nanos().saturating_sub(sample.since.as_nanos()) > patience
    }
}

/// Bytes by which a window is larger than it began.
fn grown(stream: &Stream, policy: ReceiveWindowPolicy) -> u32 {
    match stream.revision {
        Revision::One => stream.receive.size().saturating_sub(policy.initial),
        Revision::Zero => 0,
    }
}

fn may_grow(stream: &Stream) -> bool {
    stream.revision == Revision::One
        && stream.ended.is_none()
        && !stream.has(Flag::PeerDone)
        && !stream.discards()
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// A grant leaves, and was not added yet; or the `new_stream` that grants the first window.
    pub(super) fn watch_grant(&mut self, now: Time, slot: u32, first: bool) {
        let max = self.limits.receive_window.max;
        let grows = |stream: &&Stream| may_grow(stream) && stream.receive.size() < max;
        let watched = self.growth.sample.as_ref().is_some_and(|sample| {
            let other = sample.stream.slot != slot;
            self.slab.find(sample.stream).is_some_and(may_grow)
                && !(other && self.growth.is_stale(now, sample))
        });
        let Some(stream) = self.slab.get(slot).filter(grows) else {
            return;
        };
        let key = self.slab.key(slot);
        if self.growth.just_grown == Some(key) {
            self.growth.just_grown = None;
            return;
        }
        if watched || (first && self.growth.route.round_trip != 0) {
            return;
        }
        let window = &stream.receive;
        let allowed = if first { 0 } else { window.available() };
        self.growth.sample = Some(Sample {
            stream: key,
            since: now,
            allowed,
            left: allowed,
            kept_up: !first && window.unread() <= window.size() / 2,
        });
    }

    /// Bytes of a stream came, and were taken from its window.
    #[inline]
    pub(super) fn watch_data(&mut self, now: Time, slot: u32, bytes: u32) {
        let Some(sample) = &mut self.growth.sample else {
            return;
        };
        if sample.stream.slot != slot {
            return;
        }
        match sample.left.checked_sub(bytes) {
            Some(left) => sample.left = left,
            None => self.judge_sample(now, slot, bytes),
        }
    }

    /// The first bytes beyond the watched stream's allowance came.
    #[cold]
    fn judge_sample(&mut self, now: Time, slot: u32, bytes: u32) {
        let key = self.slab.key(slot);
        let Some(sample) = self.growth.sample.take().filter(|it| it.stream == key) else {
            return;
        };
        let Some(nanos) = self.growth.took(now, sample.since, Some(&sample)) else {
            return;
        };
        let route = &self.growth.route;
        let in_time = route.peer_waited && nanos <= route.round_trip.saturating_mul(2);
        if sample.kept_up && in_time {
            self.grow(slot, bytes);
        }
    }

    /// Doubles a window, as far as its limit and the budget go. `bytes` have just come, and their
    /// reader had no chance yet.
    fn grow(&mut self, slot: u32, bytes: u32) {
        let policy = self.limits.receive_window;
        let budget = policy.growth_budget.saturating_sub(self.growth.in_use);
        let Some(stream) = self.slab.get_mut(slot).filter(|stream| may_grow(stream)) else {
            return;
        };
        let size = stream.receive.size();
        // By now a reader that keeps up has read what was there when the grant left.
        if stream.receive.unread().saturating_sub(bytes) > size / 4 {
            return;
        }
        let by = size
            .min(policy.max.saturating_sub(size))
            .min(u32::try_from(budget).unwrap_or(u32::MAX));
        if by == 0 || stream.receive.grow(by).is_err() {
            return;
        }
        let due = stream.grant_is_due();
        self.growth.in_use = self.growth.in_use.saturating_add(u64::from(by));
        self.growth.just_grown = Some(self.slab.key(slot));
        if due {
            self.control.push_back(&mut self.slab, slot);
        }
    }

    /// A stream has ended: it gives its growth back, but for what its reader has still to read.
    pub(super) fn end_growth(&mut self, slot: u32, held: bool) {
        let policy = self.limits.receive_window;
        let Some(stream) = self.slab.get_mut(slot) else {
            return;
        };
        let grown = grown(stream, policy);
        let kept = if held {
            grown.min(stream.receive.unread().saturating_sub(policy.initial))
        } else {
            0
        };
        if stream.revision == Revision::One {
            stream.receive.settle(kept);
        }
        self.give_growth_back(grown.saturating_sub(kept));
    }

    /// A stream that has ended is released: nothing of it is held any more.
    pub(super) fn release_growth(&mut self, slot: u32) {
        let Some(stream) = self.slab.get(slot) else {
            return;
        };
        if stream.revision == Revision::One && stream.ended.is_some() {
            self.give_growth_back(stream.receive.size());
        }
    }

    fn give_growth_back(&mut self, bytes: u32) {
        self.growth.in_use = self.growth.in_use.saturating_sub(u64::from(bytes));
    }

    /// Bytes of a stream's receive window: what the peer may send before any of it is consumed.
    /// `None` without flow control, and for a stream that has ended or never was.
    #[must_use]
    pub fn receive_window(&self, stream: Key) -> Option<u32> {
        let stream = self.slab.find(stream)?;
        let live = stream.revision == Revision::One && stream.ended.is_none();
        live.then(|| stream.receive.size())
    }

    /// Bytes by which all receive windows have grown, out of
    /// [`growth_budget`](ReceiveWindowPolicy::growth_budget).
    #[must_use]
    pub const fn receive_growth(&self) -> u64 {
        self.growth.in_use
    }

    /// The shortest time that the way to the peer and back took lately, as far as payload shows
    /// it; the truth is no longer, unless the route has just changed. `None` before anything was
    /// measured.
    #[must_use]
    pub fn shortest_round_trip(&self) -> Option<Duration> {
        let nanos = self.growth.route.round_trip;
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// The settings leave, and nothing of the peer can have crossed them.
    pub(super) fn watch_settings(&mut self, now: Time) {
        if R::SIDE == Side::Server {
            self.growth.settings_left(now);
        }
    }
}
