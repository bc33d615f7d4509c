//! The timers of streams: a binary heap of slots, with one entry for each stream that has a timer.

use super::links::NO_SLOT;
use super::slab::Slab;
use crate::storage::{List, Storage};
use crate::time::Time;

/// A binary min-heap of the streams that have a timer. Each record has its position in the heap.
#[derive(Clone, Debug)]
pub(crate) struct TimerHeap<S: Storage> {
    pub(super) slots: S::Streams<u32>,
}

impl<S: Storage> TimerHeap<S> {
    pub(crate) fn new() -> Self {
        Self {
            slots: S::Streams::default(),
        }
    }

    /// Bytes that a stream takes here.
    pub(crate) const STREAM: usize = size_of::<u32>();

    /// Bytes held on the heap.
    pub(crate) fn heap(&self) -> usize {
        self.slots.heap()
    }

    fn at(&self, slab: &Slab<S>, position: usize) -> Option<Time> {
        let slot = *self.slots.as_slice().get(position)?;
        Some(slab.get(slot).fires_at())
    }

    /// The earliest timer: its time, and its slot.
    pub(crate) fn earliest(&self, slab: &Slab<S>) -> Option<(Time, u32)> {
        let slot = *self.slots.as_slice().first()?;
        Some((slab.get(slot).fires_at(), slot))
    }

    /// Takes the earliest timer out if it is due: its slot.
    pub(crate) fn pop_due(&mut self, slab: &mut Slab<S>, now: Time) -> Option<u32> {
        let (time, slot) = self.earliest(slab)?;
        if time > now {
            return None;
        }
        slab.get_mut(slot).timer = NO_SLOT;
        self.remove(slab, 0);
        Some(slot)
    }

    /// Adds, moves, or removes the entry of a stream whose record has changed.
    pub(crate) fn update(&mut self, slab: &mut Slab<S>, slot: u32) {
        let stream = slab.get_mut(slot);
        let wanted = stream.fires_at() != Time::MAX && !stream.has_ended();
        let position = stream.timer;
        match (wanted, position) {
            (false, NO_SLOT) => {}
            (false, position) => {
                stream.timer = NO_SLOT;
                self.remove(slab, position as usize);
            }
            (true, NO_SLOT) => {
                let position = self.slots.as_slice().len();
                // The storage has room for as many entries as records.
                if self.slots.push(slot).is_ok() {
                    self.place(slab, position, slot);
                    self.sift_up(slab, position);
                }
            }
            (true, position) => {
                let position = self.sift_up(slab, position as usize);
                self.sift_down(slab, position);
            }
        }
    }

    fn remove(&mut self, slab: &mut Slab<S>, position: usize) {
        let Some(last) = self.slots.pop() else {
            return;
        };
        if position < self.slots.as_slice().len() {
            self.place(slab, position, last);
            let position = self.sift_up(slab, position);
            self.sift_down(slab, position);
        }
    }

    fn place(&mut self, slab: &mut Slab<S>, position: usize, slot: u32) {
        if let Some(entry) = self.slots.as_mut_slice().get_mut(position) {
            *entry = slot;
        }
        slab.get_mut(slot).timer = u32::try_from(position).unwrap_or(NO_SLOT);
    }

    fn swap(&mut self, slab: &mut Slab<S>, left: usize, right: usize) {
        let slots = self.slots.as_slice();
        if let (Some(a), Some(b)) = (slots.get(left).copied(), slots.get(right).copied()) {
            self.place(slab, left, b);
            self.place(slab, right, a);
        }
    }

    fn sift_up(&mut self, slab: &mut Slab<S>, mut position: usize) -> usize {
        while position > 0 {
            let parent = position.saturating_sub(1) / 2;
            if self.at(slab, position) >= self.at(slab, parent) {
                break;
            }
            self.swap(slab, position, parent);
            position = parent;
        }
        position
    }

    fn sift_down(&mut self, slab: &mut Slab<S>, mut position: usize) {
        loop {
            let left = position.saturating_mul(2).saturating_add(1);
            let right = left.saturating_add(1);
            let Some(at_left) = self.at(slab, left) else {
                return;
            };
            let child = match self.at(slab, right) {
                Some(at_right) if at_right < at_left => right,
                _ => left,
            };
            if self.at(slab, position) <= self.at(slab, child) {
                return;
            }
            self.swap(slab, position, child);
            position = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Fixed;
    use crate::streams::stream::Stream;
    use crate::wire::Revision;

    type Store = Fixed<64, 1>;

    #[test]
    fn the_earliest_timer_comes_first_after_any_change() {
        let mut slab = Slab::<Store>::new();
        let mut heap = TimerHeap::<Store>::new();
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        for id in 0..64 {
            let stream = Stream::new(id, Revision::One, 0, 0);
            assert!(slab.insert(stream).is_some());
        }
        for _ in 0..5_000 {
            let slot = u32::try_from(random() % 64).unwrap();
            let stream = slab.get_mut(slot);
            stream.deadline = match random() % 4 {
                0 => Time::MAX,
                _ => Time::from_nanos(random() % 1_000),
            };
            heap.update(&mut slab, slot);
            let expected = slab
                .slots_from(0)
                .map(|slot| slab.get(slot).fires_at())
                .filter(|time| *time != Time::MAX)
                .min();
            assert_eq!(heap.earliest(&slab).map(|(time, _)| time), expected);
        }
    }

    #[test]
    #[cfg(feature = "alloc")]
    fn attack_a23_an_expiry_among_many_moves_no_more_than_the_depth_of_the_heap() {
        use crate::storage::Growing;

        const STREAMS: u32 = 100_000;
        // 2^17 is the first power of two beyond.
        const LEVELS: usize = 17;
        let mut slab = Slab::<Growing>::new();
        let mut heap = TimerHeap::<Growing>::new();
        for id in 0..STREAMS {
            let mut stream = Stream::new(id.into(), Revision::One, 0, 0);
            // Half of them at the same time, each of the others before all that are there.
            stream.deadline = Time::from_nanos(if id % 2 == 0 {
                1
            } else {
                (STREAMS - id).into()
            });
            let slot = slab.insert(stream).unwrap().slot;
            heap.update(&mut slab, slot);
        }
        let (mut last, mut most) = (Time::ZERO, 0);
        for left in (0..STREAMS as usize).rev() {
            let (time, slot) = heap.earliest(&slab).unwrap();
            assert!(last <= time);
            last = time;
            slab.get_mut(slot).deadline = Time::MAX;
            // To look at all of them each time would take longer than everything else.
            let before = (left % 500 == 0).then(|| heap.slots.clone());
            heap.update(&mut slab, slot);
            if let Some(before) = before {
                let pairs = heap.slots.iter().zip(&before);
                most = most.max(pairs.filter(|(now, before)| now != before).count());
            }
        }
        assert!(heap.earliest(&slab).is_none());
        assert!((1..=LEVELS).contains(&most), "{most}");
    }
}
