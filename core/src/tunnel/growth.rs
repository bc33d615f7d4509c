//! Receive windows that grow with what the link carries.
//!
//! # What is measured
//!
//! Known peers answer no question about the link, so its measure is in the payload. The peer
//! cannot send beyond its credit before it has heard of a grant. So the time from a grant to the
//! first byte beyond what was allowed before it is a round trip, or more, and never less; and in
//! that time the peer got through what it was allowed. Such a sample costs no frame. A few streams
//! are sampled at once, each by one grant at a time: those that fall silent must not keep the
//! others waiting, and streams need no memory for it. The shortest round trip is kept; a queue, a
//! slow application or jitter only make a sample longer.
//!
//! # What follows
//!
//! A window that was used up in about one round trip, and whose reader kept up, was what held the
//! peer back: it doubles. Where the sample took hardly longer than a round trip, no queue has built
//! up, so the link carries more, perhaps much more: then the window grows to four times what came
//! in that time. So it is there in a few round trips, however far that is. Up to two round trips a
//! sample may take, because a window must outlast jitter and the grants that are held back; beyond
//! that it is the link that is full, and more credit would only feed its queue. So a window ends
//! between two and four times what the link carries in a round trip, and nothing that is sampled
//! later makes it larger on the same link.
//!
//! What the fastest stream got through in a round trip is true of the link, not of that stream.
//! Any other stream whose reader keeps up is granted twice that with its next grant, which it gets
//! for the first bytes that are read, and a tunnel client's new stream behind the first frame of
//! its message: earlier, a Go server that shuts down and has refused the stream would take it for
//! a frame on an id that was never used, and end the tunnel. No stream takes more than its share
//! of the free budget in this way, so that many can.

use core::time::Duration;

use super::{Role, Tunnel};
use crate::error::Side;
use crate::limits::ReceiveWindowPolicy;
use crate::storage::Storage;
use crate::stream::{Flag, Stream};
use crate::time::Time;
use crate::types::Key;
use crate::wire::Revision;

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// After so long a round trip that did not come again is doubted.
const EPOCH: u64 = 30_000_000_000;
/// A watched grant of a stream that fell silent makes place for another's after four round trips,
/// but not before this.
const PATIENCE: u64 = 100_000_000;
/// The same while no round trip is known.
const FIRST_PATIENCE: u64 = 1_000_000_000;

/// Streams that are sampled at once.
const SAMPLES: usize = 4;

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
    /// The largest window that a sample of this epoch, and of the one before, asked for; and the
    /// larger one of both.
    asked: u32,
    asked_before: u32,
    learned: u32,
}

impl Route {
    /// A round trip took so long, or less, and `sample` came within it.
    fn measured(&mut self, now: Time, nanos: u64, sample: Option<&Sample>) {
        if let Some(sample) = sample {
            let bytes = u64::from(sample.allowed);
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

    /// What a window of `size` is to be after a sample that took so long, or zero if it is not known
    /// whether the peer ever waits for credit. It is noted for other streams.
    fn target(&mut self, size: u32, sample: &Sample, nanos: u64) -> u32 {
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
        self.asked_before = core::mem::take(&mut self.asked);
        self.learned = self.asked_before;
    }
}

/// What all windows of a tunnel share.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Growth {
    /// Bytes by which windows have grown.
    in_use: u64,
    /// When the settings left, until a frame comes: no client sends one before it has them.
    settings_left: Option<Time>,
    samples: [Option<Sample>; SAMPLES],
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

    /// Whether a sampled stream has been silent for so long that another one gets its turn.
    fn is_stale(&self, now: Time, sample: &Sample) -> bool {
        let patience = match self.route.round_trip {
            0 => FIRST_PATIENCE,
            round_trip => round_trip.saturating_mul(4).max(PATIENCE),
        };
        now.as_nanos().saturating_sub(sample.since.as_nanos()) > patience
    }

    /// The sample of a stream, which is taken no further.
    fn take_sample(&mut self, stream: Key) -> Option<Sample> {
        let of = |sample: &mut Sample| sample.stream == stream;
        self.samples.iter_mut().find_map(|place| place.take_if(of))
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

/// Whether its reader has read half of what the window allows.
fn keeps_up(stream: &Stream) -> bool {
    stream.receive.unread() <= stream.receive.size() / 2
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// A grant leaves, and was not added yet; or the `new_stream` that grants the first window.
    pub(super) fn watch_grant(&mut self, now: Time, slot: u32, first: bool) {
        let max = self.limits.receive_window.max;
        let grows = |stream: &&mut Stream| may_grow(stream) && stream.receive.size() < max;
        let Some(stream) = self.slab.get_mut(slot).filter(grows) else {
            return;
        };
        // What follows the grant of its growth shows how the old window did; what follows the next
        // one, how the new one does.
        let passed = stream.flags.take(Flag::HasGrown) || stream.has(Flag::Sampled);
        if passed || (first && self.growth.route.round_trip != 0) {
            return;
        }
        let allowed = if first { 0 } else { stream.receive.available() };
        let sample = Sample {
            stream: Key {
                slot,
                generation: stream.generation,
            },
            since: now,
            allowed,
            left: allowed,
            kept_up: !first && keeps_up(stream),
        };
        if !self.growth.samples.iter().any(Option::is_none) && !self.drop_sample(now) {
            return;
        }
        if let Some(place) = self.growth.samples.iter_mut().find(|it| it.is_none())
            && let Some(stream) = self.slab.get_mut(slot)
        {
            *place = Some(sample);
            stream.flags.set(Flag::Sampled);
        }
    }

    /// Drops a sample that tells nothing any more. False: there is none.
    #[cold]
    fn drop_sample(&mut self, now: Time) -> bool {
        let mut samples = self.growth.samples.iter().flatten();
        let useless = samples.find(|sample| {
            let live = self.slab.find(sample.stream).is_some_and(may_grow);
            !live || self.growth.is_stale(now, sample)
        });
        let Some(stream) = useless.map(|sample| sample.stream) else {
            return false;
        };
        self.growth.take_sample(stream);
        if let Some(stream) = self.slab.find_mut(stream) {
            stream.flags.clear(Flag::Sampled);
        }
        true
    }

    /// Bytes of a sampled stream came, and were taken from its window.
    pub(super) fn watch_data(&mut self, now: Time, stream: Key, bytes: u32) {
        let mut samples = self.growth.samples.iter_mut().flatten();
        let Some(sample) = samples.find(|sample| sample.stream == stream) else {
            return;
        };
        match sample.left.checked_sub(bytes) {
            Some(left) => sample.left = left,
            None => self.judge_sample(now, stream, bytes),
        }
    }

    /// The first bytes beyond the sampled stream's allowance came.
    #[cold]
    fn judge_sample(&mut self, now: Time, key: Key, bytes: u32) {
        let Some(stream) = self.slab.find_mut(key) else {
            return;
        };
        stream.flags.clear(Flag::Sampled);
        // By now a reader that keeps up has read what was there when the grant left; of what has
        // just come it had no chance yet.
        let (size, unread) = (stream.receive.size(), stream.receive.unread());
        let keeps_up = unread.saturating_sub(bytes) <= size / 4;
        let Some(sample) = self.growth.take_sample(key) else {
            return;
        };
        let Some(nanos) = self.growth.took(now, sample.since, Some(&sample)) else {
            return;
        };
        if sample.kept_up && keeps_up {
            let target = self.growth.route.target(size, &sample, nanos);
            self.grow(key.slot, target, self.free_growth());
        }
    }

    /// A frame of the stream leaves that its peer may hear a grant behind: its window becomes as
    /// large as another stream's was seen to be used, within its share of the free budget.
    #[inline(always)]
    pub(super) fn grow_as_learned(&mut self, slot: u32) {
        // Nothing, on most tunnels.
        if self.growth.route.learned != 0 {
            self.grow_to_learned(slot);
        }
    }

    #[inline(never)]
    fn grow_to_learned(&mut self, slot: u32) {
        let learned = self.growth.route.learned;
        let smaller = |stream: &Stream| stream.receive.size() < learned && keeps_up(stream);
        if self.slab.get(slot).is_some_and(smaller) {
            let streams = u64::from(self.active).saturating_add(1);
            self.grow(slot, learned, self.free_growth() / streams);
        }
    }

    /// Bytes by which windows may still grow.
    fn free_growth(&self) -> u64 {
        let budget = self.limits.receive_window.growth_budget;
        budget.saturating_sub(self.growth.in_use)
    }

    /// Makes a window as large as `target`, as far as its limit and `most` more bytes go.
    #[cold]
    fn grow(&mut self, slot: u32, target: u32, most: u64) {
        let max = self.limits.receive_window.max;
        let Some(stream) = self.slab.get_mut(slot).filter(|stream| may_grow(stream)) else {
            return;
        };
        let wanted = target.min(max).saturating_sub(stream.receive.size());
        let by = wanted.min(u32::try_from(most).unwrap_or(u32::MAX));
        if by == 0 || stream.receive.grow(by).is_err() {
            return;
        }
        stream.flags.set(Flag::HasGrown);
        let due = stream.grant_is_due();
        self.growth.in_use = self.growth.in_use.saturating_add(u64::from(by));
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
