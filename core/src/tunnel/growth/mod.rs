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
mod state;

use core::time::Duration;

use super::{Role, Tunnel};
use crate::code::Side;
use crate::limits::ReceiveWindowPolicy;
use crate::storage::Storage;
use crate::streams::{Mark, Slot, Stream};
use crate::time::Time;
use crate::types::Key;
use crate::wire::Revision;
pub(super) use state::Growth;
use state::Watched;

/// Bytes by which a window is larger than it began.
fn grown(stream: &Stream, policy: ReceiveWindowPolicy) -> u32 {
    match stream.revision {
        Revision::One => stream
            .receive
            .window()
            .size()
            .saturating_sub(policy.initial),
        Revision::Zero => 0,
    }
}

fn may_grow(stream: &Stream) -> bool {
    stream.revision == Revision::One
        && !stream.has_ended()
        && !stream.receive.is_finished()
        && !stream.discards()
}

/// Whether its reader has read half of what the window allows.
fn keeps_up(stream: &Stream) -> bool {
    stream.receive.window().unread() <= stream.receive.window().size() / 2
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// A grant leaves, and was not added yet; or the `new_stream` that grants the first window.
    pub(super) fn watch_grant(&mut self, now: Time, slot: Slot, first: bool) {
        let max = self.limits.receive_window.max;
        let key = self.streams.key(slot);
        let stream = self.streams.get_mut(slot);
        if !may_grow(stream) || stream.receive.window().size() >= max {
            return;
        }
        // What follows the grant of its growth shows how the old window did; what follows the next
        // one, how the new one does.
        let passed = stream.marks.take(Mark::HasGrown) || stream.has(Mark::Sampled);
        if passed || (first && self.growth.knows_round_trip()) {
            return;
        }
        let allowed = if first {
            0
        } else {
            stream.receive.window().available()
        };
        let kept_up = !first && keeps_up(stream);
        if !self.growth.has_room() && !self.drop_sample(now) {
            return;
        }
        self.growth.watch(now, key, allowed, kept_up);
        self.streams.get_mut(slot).marks.set(Mark::Sampled);
    }

    /// Drops a sample that tells nothing any more. False: there is none.
    #[cold]
    fn drop_sample(&mut self, now: Time) -> bool {
        let streams = &self.streams;
        let live = |stream| streams.find(stream).is_some_and(may_grow);
        let Some(stream) = self.growth.drop_useless(now, live) else {
            return false;
        };
        if let Some(slot) = self.streams.slot(stream) {
            self.streams.get_mut(slot).marks.take(Mark::Sampled);
        }
        true
    }

    /// Bytes of a sampled stream came, and were taken from its window.
    pub(super) fn watch_data(&mut self, now: Time, slot: Slot, bytes: u32) {
        let key = self.streams.key(slot);
        if self.growth.data(key, bytes) == Watched::Beyond {
            self.judge_sample(now, slot, key, bytes);
        }
    }

    /// The first bytes beyond the sampled stream's allowance came.
    #[cold]
    fn judge_sample(&mut self, now: Time, slot: Slot, key: Key, bytes: u32) {
        let stream = self.streams.get_mut(slot);
        stream.marks.take(Mark::Sampled);
        // By now a reader that keeps up has read what was there when the grant left; of what has
        // just come it had no chance yet.
        let window = stream.receive.window();
        let (size, unread) = (window.size(), window.unread());
        let keeps_up = unread.saturating_sub(bytes) <= size / 4;
        if let Some(target) = self.growth.judge(now, key, size, keeps_up) {
            self.grow(slot, target, self.free_growth());
        }
    }

    /// A frame of the stream leaves that its peer may hear a grant behind: its window becomes as
    /// large as another stream's was seen to be used, within its share of the free budget.
    #[inline(always)]
    pub(super) fn grow_as_learned(&mut self, slot: Slot) {
        // Nothing, on most tunnels.
        if self.growth.learned() != 0 {
            self.grow_to_learned(slot);
        }
    }

    #[inline(never)]
    fn grow_to_learned(&mut self, slot: Slot) {
        let learned = self.growth.learned();
        let stream = self.streams.get(slot);
        if stream.receive.window().size() < learned && keeps_up(stream) {
            let streams = u64::from(self.streams.active()).saturating_add(1);
            self.grow(slot, learned, self.free_growth() / streams);
        }
    }

    /// Bytes by which windows may still grow.
    fn free_growth(&self) -> u64 {
        self.growth.free(self.limits.receive_window.growth_budget)
    }

    /// Makes a window as large as `target`, as far as its limit and `most` more bytes go.
    #[cold]
    fn grow(&mut self, slot: Slot, target: u32, most: u64) {
        let max = self.limits.receive_window.max;
        let stream = self.streams.get_mut(slot);
        if !may_grow(stream) {
            return;
        }
        let window = stream.receive.window_mut();
        let wanted = target.min(max).saturating_sub(window.size());
        let by = wanted.min(u32::try_from(most).unwrap_or(u32::MAX));
        if by == 0 || window.grow(by).is_err() {
            return;
        }
        stream.marks.set(Mark::HasGrown);
        self.growth.take(by);
        self.streams.queue_control(slot);
    }

    /// A stream has ended: it gives its growth back, but for what its reader has still to read.
    pub(super) fn end_growth(&mut self, slot: Slot, held: bool) {
        let policy = self.limits.receive_window;
        let stream = self.streams.get_mut(slot);
        let grown = grown(stream, policy);
        let kept = if held {
            grown.min(
                stream
                    .receive
                    .window()
                    .unread()
                    .saturating_sub(policy.initial),
            )
        } else {
            0
        };
        if stream.revision == Revision::One {
            stream.receive.window_mut().settle(kept);
        }
        self.growth.give_back(grown.saturating_sub(kept));
    }

    /// A stream that has ended is released: nothing of it is held any more.
    pub(super) fn release_growth(&mut self, slot: Slot) {
        let stream = self.streams.get(slot);
        if stream.revision == Revision::One && stream.has_ended() {
            self.growth.give_back(stream.receive.window().size());
        }
    }

    /// Bytes by which all receive windows have grown, out of
    /// [`growth_budget`](ReceiveWindowPolicy::growth_budget).
    #[must_use]
    pub const fn receive_growth(&self) -> u64 {
        self.growth.in_use()
    }

    /// From now on windows grow only while [`receive_growth`](Self::receive_growth) is below `bytes`,
    /// and within the growth budget as ever. What has grown stays. For a bound that several tunnels
    /// share.
    pub const fn limit_growth(&mut self, bytes: u64) {
        self.growth.limit(bytes);
    }

    /// The shortest time that the way to the peer and back took lately, as far as payload shows
    /// it; the truth is no longer, unless the route has just changed. `None` before anything was
    /// measured.
    #[must_use]
    pub fn shortest_round_trip(&self) -> Option<Duration> {
        self.growth.round_trip()
    }

    /// The settings leave, and nothing of the peer can have crossed them.
    pub(super) fn watch_settings(&mut self, now: Time) {
        if R::SIDE == Side::Server {
            self.growth.settings_left(now);
        }
    }
}
