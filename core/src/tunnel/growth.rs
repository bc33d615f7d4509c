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
//! How large a window is to be after a sample is decided in [`route`].
//!
//! # Other streams
//!
//! What a sample shows is true of the link, not of one stream. So the largest window that a sample
//! asked for lately is granted to every other stream whose reader keeps up, with its next grant: a
//! new stream gets it for the first bytes that are read, when the peer has hardly begun to use up
//! its first window. A tunnel client's new stream need not wait for that, but for the first frame of
//! its message: earlier, a Go server that shuts down and has refused the stream would take the
//! grant for a frame on an id that was never used, and end the tunnel. Each time, a stream takes at
//! most the free budget divided by the open streams and one more, so that something is left for
//! those to come.

mod route;

use core::time::Duration;

use super::{Role, Tunnel};
use crate::code::Side;
use crate::limits::ReceiveWindowPolicy;
use crate::storage::Storage;
use crate::streams::{Flag, Slot, Stream};
use crate::time::Time;
use crate::types::Key;
use crate::wire::Revision;
use route::{Route, Sample};

/// Streams that are sampled at once.
const SAMPLES: usize = 4;

/// What all windows of a tunnel share.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth {
    /// Bytes by which windows have grown.
    in_use: u64,
    /// Bytes that have come on all streams, modulo 2^64.
    arrived: u64,
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
        let came = sample.map(|sample| (sample, self.arrived.wrapping_sub(sample.arrived)));
        self.route.measured(now, nanos, came);
        Some(nanos)
    }

    /// Bytes of some stream came, and were taken from its window.
    #[inline(always)]
    pub(super) const fn count(&mut self, bytes: u32) {
        self.arrived = self.arrived.wrapping_add(bytes as u64);
    }

    /// Writes what decides the future, with its points in time as they are: where windows grow,
    /// fewer states are alike.
    #[cfg(feature = "search")]
    pub(super) fn fingerprint<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;

        let Self {
            in_use,
            arrived: now_arrived,
            settings_left,
            samples,
            route,
        } = self;
        (in_use, settings_left, route).hash(state);
        for sample in samples {
            let sample = sample.map(|sample| {
                let Sample {
                    stream,
                    since,
                    arrived,
                    allowed,
                    left,
                    kept_up,
                } = sample;
                let came = now_arrived.wrapping_sub(arrived);
                (stream, since, came, allowed, left, kept_up)
            });
            sample.hash(state);
        }
    }

    /// Whether a sampled stream has been silent for so long that another one gets its turn.
    fn is_stale(&self, now: Time, sample: &Sample) -> bool {
        let silent = now.as_nanos().saturating_sub(sample.since.as_nanos());
        silent > self.route.patience()
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
        && !stream.has_ended()
        && !stream.has(Flag::PeerDone)
        && !stream.discards()
}

/// Whether its reader has read half of what the window allows.
fn keeps_up(stream: &Stream) -> bool {
    stream.receive.unread() <= stream.receive.size() / 2
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// A grant leaves, and was not added yet; or the `new_stream` that grants the first window.
    pub(super) fn watch_grant(&mut self, now: Time, slot: Slot, first: bool) {
        let max = self.limits.receive_window.max;
        let key = self.streams.key(slot);
        let stream = self.streams.get_mut(slot);
        if !may_grow(stream) || stream.receive.size() >= max {
            return;
        }
        // What follows the grant of its growth shows how the old window did; what follows the next
        // one, how the new one does.
        let passed = stream.flags.take(Flag::HasGrown) || stream.has(Flag::Sampled);
        if passed || (first && self.growth.route.round_trip != 0) {
            return;
        }
        let allowed = if first { 0 } else { stream.receive.available() };
        let sample = Sample {
            stream: key,
            since: now,
            arrived: self.growth.arrived,
            allowed,
            left: allowed,
            kept_up: !first && keeps_up(stream),
        };
        if !self.growth.samples.iter().any(Option::is_none) && !self.drop_sample(now) {
            return;
        }
        if let Some(place) = self.growth.samples.iter_mut().find(|it| it.is_none()) {
            *place = Some(sample);
            self.streams.get_mut(slot).flags.set(Flag::Sampled);
        }
    }

    /// Drops a sample that tells nothing any more. False: there is none.
    #[cold]
    fn drop_sample(&mut self, now: Time) -> bool {
        let mut samples = self.growth.samples.iter().flatten();
        let useless = samples.find(|sample| {
            let live = self.streams.find(sample.stream).is_some_and(may_grow);
            !live || self.growth.is_stale(now, sample)
        });
        let Some(stream) = useless.map(|sample| sample.stream) else {
            return false;
        };
        self.growth.take_sample(stream);
        if let Some(slot) = self.streams.slot(stream) {
            self.streams.get_mut(slot).flags.clear(Flag::Sampled);
        }
        true
    }

    /// Bytes of a sampled stream came, and were taken from its window.
    pub(super) fn watch_data(&mut self, now: Time, slot: Slot, bytes: u32) {
        let stream = self.streams.key(slot);
        let mut samples = self.growth.samples.iter_mut().flatten();
        let Some(sample) = samples.find(|sample| sample.stream == stream) else {
            return;
        };
        match sample.left.checked_sub(bytes) {
            Some(left) => sample.left = left,
            None => self.judge_sample(now, slot, stream, bytes),
        }
    }

    /// The first bytes beyond the sampled stream's allowance came.
    #[cold]
    fn judge_sample(&mut self, now: Time, slot: Slot, key: Key, bytes: u32) {
        let stream = self.streams.get_mut(slot);
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
            self.grow(slot, target, self.free_growth());
        }
    }

    /// A frame of the stream leaves that its peer may hear a grant behind: its window becomes as
    /// large as another stream's was seen to be used, within its share of the free budget.
    #[inline(always)]
    pub(super) fn grow_as_learned(&mut self, slot: Slot) {
        // Nothing, on most tunnels.
        if self.growth.route.learned != 0 {
            self.grow_to_learned(slot);
        }
    }

    #[inline(never)]
    fn grow_to_learned(&mut self, slot: Slot) {
        let learned = self.growth.route.learned;
        let smaller = |stream: &Stream| stream.receive.size() < learned && keeps_up(stream);
        if smaller(self.streams.get(slot)) {
            let streams = u64::from(self.streams.active()).saturating_add(1);
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
    fn grow(&mut self, slot: Slot, target: u32, most: u64) {
        let max = self.limits.receive_window.max;
        let stream = self.streams.get_mut(slot);
        if !may_grow(stream) {
            return;
        }
        let wanted = target.min(max).saturating_sub(stream.receive.size());
        let by = wanted.min(u32::try_from(most).unwrap_or(u32::MAX));
        if by == 0 || stream.receive.grow(by).is_err() {
            return;
        }
        stream.flags.set(Flag::HasGrown);
        self.growth.in_use = self.growth.in_use.saturating_add(u64::from(by));
        self.streams.queue_control(slot);
    }

    /// A stream has ended: it gives its growth back, but for what its reader has still to read.
    pub(super) fn end_growth(&mut self, slot: Slot, held: bool) {
        let policy = self.limits.receive_window;
        let stream = self.streams.get_mut(slot);
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
    pub(super) fn release_growth(&mut self, slot: Slot) {
        let stream = self.streams.get(slot);
        if stream.revision == Revision::One && stream.has_ended() {
            self.give_growth_back(stream.receive.size());
        }
    }

    fn give_growth_back(&mut self, bytes: u32) {
        self.growth.in_use = self.growth.in_use.saturating_sub(u64::from(bytes));
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

#[cfg(all(test, feature = "search"))]
mod tests {
    use core::hash::Hasher as _;
    use std::hash::DefaultHasher;

    use super::*;

    fn fingerprint(growth: &Growth) -> u64 {
        let mut state = DefaultHasher::new();
        growth.fingerprint(&mut state);
        state.finish()
    }

    fn growth() -> Growth {
        let sample = Sample {
            stream: Key {
                slot: 1,
                generation: 0,
            },
            since: Time::ZERO,
            arrived: 5,
            allowed: 7,
            left: 3,
            kept_up: true,
        };
        let mut growth = Growth {
            arrived: 10,
            ..Growth::default()
        };
        growth.samples[2] = Some(sample);
        growth
    }

    #[test]
    fn a_fingerprint_tells_what_decides_how_windows_grow() {
        let changes: [fn(&mut Growth); 8] = [
            |it| it.in_use += 1,
            |it| it.arrived += 1,
            |it| it.settings_left = Some(Time::ZERO),
            |it| it.route.round_trip += 1,
            |it| it.route.learned += 1,
            |it| it.samples[2] = None,
            |it| it.samples.iter_mut().flatten().for_each(|it| it.left -= 1),
            |it| it.samples.swap(1, 2),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut changed = growth();
            change(&mut changed);
            assert_ne!(fingerprint(&changed), fingerprint(&growth()), "{number}");
        }
    }

    /// Only what comes while a sample is taken counts.
    #[test]
    fn a_fingerprint_leaves_out_what_came_before_every_sample() {
        let mut later = growth();
        later.count(100);
        later.samples[2].as_mut().unwrap().arrived += 100;
        assert_eq!(fingerprint(&later), fingerprint(&growth()));
    }
}
