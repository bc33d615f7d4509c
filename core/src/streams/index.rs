//! A map from the ids of open streams to their slots.
//!
//! Ids only increase, so entries are appended to a sorted list. It needs no hashing, so no choice of
//! ids by a peer can make it slow.
//!
//! A stream that ends leaves its entry behind. Such entries are removed together, when the list is
//! full and they are at least a third of it. So at most two entries are moved for each stream that
//! ends, in whatever order streams end.
//!
//! For that the list has room for half as many entries again as there are streams, which are kept
//! small for it: see [`entry`](super::entry).

use super::entry::{Entry, NONE, Words, low_bits};
use super::slab::Slab;
use crate::storage::{List, Storage};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Index<S: Storage> {
    words: S::Streams<Words>,
    /// Number of entries. Those behind them are vacant, or of ended streams.
    len: usize,
    /// Position of the first entry of an open stream, if there is one.
    head: usize,
    /// Number of open streams.
    open: usize,
    /// The id of the entry at `head`.
    first: i64,
    /// The id of the last entry.
    last: i64,
    /// Whether low bits are unambiguous for the ids from `first` to `last`.
    narrow: bool,
}

impl<S: Storage> Index<S> {
    pub(crate) fn new() -> Self {
        Self {
            words: S::Streams::default(),
            len: 0,
            head: 0,
            open: 0,
            first: 0,
            last: 0,
            narrow: true,
        }
    }

    /// Bytes that a stream takes here, with its share of the spare room.
    pub(crate) const STREAM: usize = size_of::<Words>();

    /// Bytes held on the heap.
    pub(crate) fn heap(&self) -> usize {
        self.words.heap()
    }

    #[inline]
    fn entries(&self) -> &[[u32; 2]] {
        let (entries, _) = self.words.as_slice().as_flattened().as_chunks();
        entries.get(..self.len).unwrap_or_default()
    }

    /// All entries that there is memory for, vacant ones included.
    fn places(&mut self) -> &mut [[u32; 2]] {
        let (places, _) = self.words.as_mut_slice().as_flattened_mut().as_chunks_mut();
        places
    }

    /// The slots of open streams, by ascending id.
    #[cfg(any(feature = "search", test))]
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries()
            .iter()
            .filter_map(|entry| Entry(*entry).slot())
    }

    /// To be called when `first` or `last` has changed.
    const fn update_narrow(&mut self) {
        self.narrow = self.last.wrapping_sub(self.first) < 1 << 31;
    }

    /// The position of `id` if every id from `first` on still has its entry. Most clients number
    /// their streams consecutively, so this is nearly always right.
    #[inline]
    fn guess(&self, id: i64) -> usize {
        let distance = id.wrapping_sub(self.first).cast_unsigned();
        let distance = usize::try_from(distance).unwrap_or(usize::MAX);
        self.head.wrapping_add(distance)
    }

    /// Whether the entry at the guessed position, whose second word is `low`, is that of `id`.
    ///
    /// If `id` is at least `first`, the id of that entry is at least `id`, so it is enough to compare
    /// the low bits. If `id` is less, the position is before `head`, or beyond the list.
    #[inline]
    const fn is_guessed(&self, low: u32, id: i64) -> bool {
        low == low_bits(id) && self.narrow
    }

    /// The slot of an open stream.
    #[inline(always)]
    pub(crate) fn get(&self, slab: &Slab<S>, id: i64) -> Option<u32> {
        let (places, _) = self.words.as_slice().as_flattened().as_chunks();
        match places.get(self.guess(id)) {
            Some(&[slot, low]) if self.is_guessed(low, id) => Some(slot),
            _ => self.search(slab, id),
        }
    }

    #[inline(never)]
    fn search(&self, slab: &Slab<S>, id: i64) -> Option<u32> {
        self.find(slab, id).map(|(_, slot)| slot)
    }

    /// The position of an open stream, and its slot.
    fn find(&self, slab: &Slab<S>, id: i64) -> Option<(usize, u32)> {
        if id < self.first || id > self.last {
            return None;
        }
        let (places, _) = self.words.as_slice().as_flattened().as_chunks();
        let entries = places.get(self.head..self.len)?;
        let (position, is_same) = if self.narrow {
            let first = low_bits(self.first);
            let wanted = low_bits(id).wrapping_sub(first);
            let position = entries.partition_point(|[_, low]| low.wrapping_sub(first) < wanted);
            (position, true)
        } else {
            let position = entries.partition_point(|entry| Entry(*entry).id(slab) < id);
            let entry = entries.get(position)?;
            (position, Entry(*entry).id(slab) == id)
        };
        match entries.get(position) {
            Some(&[slot, low]) if low == low_bits(id) && is_same => {
                Some((self.head.saturating_add(position), slot))
            }
            _ => None,
        }
    }

    /// The position of an open stream.
    fn position(&self, slab: &Slab<S>, id: i64) -> Option<usize> {
        let guess = self.guess(id);
        match self.entries().get(guess) {
            Some(&[_, low]) if self.is_guessed(low, id) => Some(guess),
            _ => self.find(slab, id).map(|(position, _)| position),
        }
    }

    /// Adds a stream whose id is higher than all before. Returns false if there is no room. There
    /// always is while fewer streams are open than the storage can hold.
    pub(crate) fn push(&mut self, id: i64, slot: u32) -> bool {
        if self.len == self.places().len() {
            let ended = self.len.saturating_sub(self.open);
            if ended.saturating_mul(3) >= self.len.max(1) || self.words.push([NONE; 3]).is_err() {
                self.compact();
            }
        }
        let at = self.len;
        let Some(place) = self.places().get_mut(at) else {
            return false;
        };
        *place = Entry::open(id, slot).0;
        self.len = self.len.saturating_add(1);
        if self.open == 0 {
            self.head = at;
            self.first = id;
        }
        self.open = self.open.saturating_add(1);
        self.last = id;
        self.update_narrow();
        true
    }

    /// Removes a stream. Its record must still have its id.
    pub(crate) fn remove(&mut self, slab: &Slab<S>, id: i64) {
        let Some(position) = self.position(slab, id) else {
            return;
        };
        let Some(place) = self.places().get_mut(position) else {
            return;
        };
        *place = Entry::ended(id).0;
        self.open = self.open.saturating_sub(1);
        let rest = self.entries().get(self.head..).unwrap_or_default();
        let ended = rest
            .iter()
            .take_while(|entry| Entry(**entry).slot().is_none())
            .count();
        self.head = self.head.saturating_add(ended);
        match self.entries().get(self.head) {
            Some(entry) => self.first = Entry(*entry).id(slab),
            None => (self.len, self.head) = (0, 0),
        }
        self.update_narrow();
    }

    /// Removes the entries of ended streams.
    fn compact(&mut self) {
        let (head, len) = (self.head, self.len);
        let places = self.places();
        let mut kept = 0;
        for from in head..len {
            let Some(entry) = places.get(from).copied() else {
                break;
            };
            if Entry(entry).slot().is_some()
                && let Some(to) = places.get_mut(kept)
            {
                *to = entry;
                kept = kept.saturating_add(1);
            }
        }
        if let Some(removed) = places.get_mut(kept..len) {
            removed.fill([NONE; 2]);
        }
        self.head = 0;
        self.len = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Fixed;
    use crate::streams::stream::Stream;
    use crate::wire::Revision;

    const STREAMS: usize = 512;

    /// An index with its records, and the streams that should be found.
    struct Streams<S: Storage> {
        slab: Slab<S>,
        index: Index<S>,
        open: std::vec::Vec<(i64, u32)>,
        last: i64,
        moved: usize,
    }

    impl<S: Storage> Streams<S> {
        fn new() -> Self {
            Self {
                slab: Slab::new(),
                index: Index::new(),
                open: std::vec::Vec::new(),
                last: -1,
                moved: 0,
            }
        }

        fn open(&mut self, distance: i64) {
            self.last += distance;
            let stream = Stream::new(self.last, Revision::One, 0, 0);
            let slot = self.slab.insert(stream).unwrap().slot;
            let before = self.index.entries().to_vec();
            assert!(self.index.push(self.last, slot));
            let after = self.index.entries().iter().zip(&before);
            self.moved += after.filter(|(after, before)| after != before).count();
            self.open.push((self.last, slot));
        }

        fn end(&mut self, position: usize) {
            let (id, slot) = self.open.remove(position);
            let before = self.index.entries().to_vec();
            self.index.remove(&self.slab, id);
            self.slab.remove(slot);
            let after = self.index.entries().iter().zip(&before);
            // Its own entry changes and moves nothing.
            let changed = after.filter(|(after, before)| after != before).count();
            self.moved += changed.saturating_sub(1);
            assert_eq!(self.index.get(&self.slab, id), None);
        }

        fn assert_found(&self) {
            let open = self.open.iter().map(|(_, slot)| *slot);
            assert!(self.index.slots().eq(open));
            for (id, slot) in &self.open {
                assert_eq!(self.index.get(&self.slab, *id), Some(*slot));
            }
            for missing in [-1, self.last.saturating_add(1), i64::MIN, i64::MAX] {
                assert_eq!(self.index.get(&self.slab, missing), None);
            }
            // As far from open ones as makes their low bits alike, or their places.
            for (id, _) in &self.open {
                for distance in [i64::MIN, 1 << 31, 1 << 32, 1 << 33] {
                    for other in [id.wrapping_add(distance), id.wrapping_sub(distance)] {
                        let open = self.open.iter().find(|(id, _)| *id == other);
                        let found = self.index.get(&self.slab, other);
                        assert_eq!(found, open.map(|(_, slot)| *slot), "{other}");
                    }
                }
            }
        }
    }

    /// Random numbers, the same in every run.
    fn random() -> impl FnMut(usize) -> usize {
        let mut seed = 1_u64;
        move |below| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        }
    }

    fn finds_what_is_open<S: Storage>(distances: &[i64]) {
        let mut streams = Streams::<S>::new();
        let mut random = random();
        for round in 0..4_000 {
            if streams.open.len() == 8 || !streams.open.is_empty() && random(3) == 0 {
                streams.end(random(streams.open.len()));
            } else {
                streams.open(distances[random(distances.len())]);
            }
            streams.assert_found();
            if round % 500 == 0 {
                while !streams.open.is_empty() {
                    streams.end(streams.open.len() - 1);
                }
                streams.assert_found();
            }
        }
    }

    /// Ids in a row, with gaps, and so far apart that their low bits are alike.
    const DISTANCES: [&[i64]; 4] = [&[1], &[1, 7], &[1, (1 << 31) - 1], &[1, 1 << 31, 1 << 33]];

    #[test]
    fn open_streams_are_found_and_no_others_in_place() {
        DISTANCES
            .into_iter()
            .for_each(finds_what_is_open::<Fixed<8, 1>>);
    }

    #[test]
    #[cfg(feature = "alloc")]
    fn open_streams_are_found_and_no_others_on_the_heap() {
        DISTANCES
            .into_iter()
            .for_each(finds_what_is_open::<crate::storage::Growing>);
    }

    #[test]
    fn storage_of_any_size_is_used_up() {
        fn fill<const N: usize>() {
            let mut streams = Streams::<Fixed<N, 1>>::new();
            for _ in 0..20 {
                while streams.open.len() < N {
                    streams.open(1);
                }
                streams.assert_found();
                assert!(
                    streams
                        .slab
                        .insert(Stream::new(-1, Revision::One, 0, 0))
                        .is_none()
                );
                streams.end(N / 2);
            }
        }
        fill::<1>();
        fill::<2>();
        fill::<3>();
        fill::<4>();
        fill::<5>();
    }

    /// Ends one stream and opens another, again and again with all storage in use: the moved
    /// entries for each ended stream.
    fn moved<S: Storage>(distance: i64, mut choose: impl FnMut(usize) -> usize) -> f64 {
        const ROUNDS: u32 = 4_000;
        let mut streams = Streams::<S>::new();
        for _ in 0..STREAMS {
            streams.open(distance);
        }
        streams.moved = 0;
        for _ in 0..ROUNDS {
            streams.end(choose(streams.open.len()));
            streams.open(distance);
        }
        streams.assert_found();
        streams.moved as f64 / f64::from(ROUNDS)
    }

    fn moves_little<S: Storage>() {
        for distance in [1, 1 << 33] {
            let mut random = random();
            assert!(moved::<S>(distance, |_| 0) <= 2.0, "the oldest");
            assert!(moved::<S>(distance, |_| 1) <= 2.0, "the second oldest");
            assert!(
                moved::<S>(distance, |open| open / 2) <= 2.0,
                "one in the middle"
            );
            assert!(moved::<S>(distance, |open| open - 1) <= 2.0, "the youngest");
            assert!(moved::<S>(distance, &mut random) <= 2.0, "any");
            let mut turn = 0;
            let in_turn = |open: usize| {
                turn += 1;
                if turn % 2 == 0 { 1 } else { open - 1 }
            };
            assert!(
                moved::<S>(distance, in_turn) <= 2.0,
                "old and young in turn"
            );
        }
    }

    #[test]
    fn attack_a14_a_full_index_moves_two_entries_for_each_ended_stream_in_place() {
        moves_little::<Fixed<STREAMS, 1>>();
    }

    #[test]
    #[cfg(feature = "alloc")]
    fn attack_a14_a_full_index_moves_two_entries_for_each_ended_stream_on_the_heap() {
        moves_little::<crate::storage::Growing>();
    }
}
