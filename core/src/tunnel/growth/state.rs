//! What a tunnel knows about how its windows grow.

use core::time::Duration;

use super::route::{Route, Sample};
use crate::time::Time;
use crate::types::Key;

/// Streams that are sampled at once.
const SAMPLES: usize = 4;

/// Where bytes of a sampled stream lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// Within what was allowed before the grant, or of a stream that is not sampled.
    Within,
    /// Beyond it: the peer has heard of the grant.
    Beyond,
}

/// What all windows of a tunnel share.
#[derive(Clone, Debug, Default)]
pub(in crate::tunnel) struct Growth {
    /// Bytes by which windows have grown.
    in_use: u64,
    /// Beyond so many of them they do not grow, whatever the budget; `None` is no limit.
    most: Option<u64>,
    /// Bytes that have come on all streams, modulo 2^64.
    arrived: u64,
    /// When the settings left, until a frame comes: no client sends one before it has them.
    settings_left: Option<Time>,
    samples: [Option<Sample>; SAMPLES],
    route: Route,
}

impl Growth {
    pub(in crate::tunnel) const fn settings_left(&mut self, now: Time) {
        self.settings_left = Some(now);
    }

    pub(in crate::tunnel) fn frame_came(&mut self, now: Time) {
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
    pub(in crate::tunnel) const fn count(&mut self, bytes: u32) {
        self.arrived = self.arrived.wrapping_add(bytes as u64);
    }

    /// Writes what decides the future, with its points in time as they are: where windows grow,
    /// fewer states are alike.
    #[cfg(feature = "search")]
    pub(in crate::tunnel) fn fingerprint<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;

        let Self {
            in_use,
            most,
            arrived: now_arrived,
            settings_left,
            samples,
            route,
        } = self;
        (in_use, most, settings_left, route).hash(state);
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

    /// Bytes by which windows have grown.
    pub(in crate::tunnel) const fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Bytes by which they may still grow, out of a budget.
    pub(super) fn free(&self, budget: u64) -> u64 {
        let budget = self.most.map_or(budget, |most| most.min(budget));
        budget.saturating_sub(self.in_use)
    }

    /// From now on windows grow only below so many bytes.
    pub(super) const fn limit(&mut self, bytes: u64) {
        self.most = Some(bytes);
    }

    /// A window grows by so many bytes.
    pub(super) fn take(&mut self, bytes: u32) {
        self.in_use = self.in_use.saturating_add(u64::from(bytes));
    }

    /// A window gives back so many bytes by which it had grown.
    pub(super) fn give_back(&mut self, bytes: u32) {
        self.in_use = self.in_use.saturating_sub(u64::from(bytes));
    }

    /// The largest window that another stream was seen to use; 0: none.
    #[inline(always)]
    pub(super) const fn learned(&self) -> u32 {
        self.route.learned
    }

    pub(super) const fn knows_round_trip(&self) -> bool {
        self.route.round_trip != 0
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        let nanos = self.route.round_trip;
        self.knows_round_trip().then(|| Duration::from_nanos(nanos))
    }

    /// Whether another stream can be sampled.
    pub(super) fn has_room(&self) -> bool {
        self.samples.iter().any(Option::is_none)
    }

    /// Samples a stream, if there is room. The peer may send `allowed` bytes before it hears of the
    /// grant.
    pub(super) fn watch(&mut self, now: Time, stream: Key, allowed: u32, kept_up: bool) {
        let sample = Sample {
            stream,
            since: now,
            arrived: self.arrived,
            allowed,
            left: allowed,
            kept_up,
        };
        if let Some(place) = self.samples.iter_mut().find(|it| it.is_none()) {
            *place = Some(sample);
        }
    }

    /// Drops a sample that tells nothing any more: of a stream that is not `live`, or that has been
    /// silent for so long that another one gets its turn. Whose it was.
    pub(super) fn drop_useless(&mut self, now: Time, live: impl Fn(Key) -> bool) -> Option<Key> {
        let patience = self.route.patience();
        let mut samples = self.samples.iter().flatten();
        let useless = samples.find(|sample| {
            let silent = now.as_nanos().saturating_sub(sample.since.as_nanos());
            !live(sample.stream) || silent > patience
        });
        let stream = useless?.stream;
        self.take_sample(stream);
        Some(stream)
    }

    /// Bytes of a sampled stream came.
    pub(super) fn data(&mut self, stream: Key, bytes: u32) -> Watched {
        let mut samples = self.samples.iter_mut().flatten();
        let Some(sample) = samples.find(|sample| sample.stream == stream) else {
            return Watched::Within;
        };
        match sample.left.checked_sub(bytes) {
            Some(left) => {
                sample.left = left;
                Watched::Within
            }
            None => Watched::Beyond,
        }
    }

    /// The sample of a stream is over: what a window of `size` is to be, if its reader keeps up.
    pub(super) fn judge(
        &mut self,
        now: Time,
        stream: Key,
        size: u32,
        keeps_up: bool,
    ) -> Option<u32> {
        let sample = self.take_sample(stream)?;
        let nanos = self.took(now, sample.since, Some(&sample))?;
        (sample.kept_up && keeps_up).then(|| self.route.target(size, &sample, nanos))
    }

    /// The sample of a stream, which is taken no further.
    fn take_sample(&mut self, stream: Key) -> Option<Sample> {
        let of = |sample: &mut Sample| sample.stream == stream;
        self.samples.iter_mut().find_map(|place| place.take_if(of))
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
        let changes: [fn(&mut Growth); 9] = [
            |it| it.in_use += 1,
            |it| it.most = Some(1),
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
