//! Whose turn it is to send data: one quantum a stream, round and round.

use super::queue::{self, StreamQueue};
use super::send::Next;
use super::slab::Slab;
use super::stream::Stream;
use crate::storage::Storage;

/// Payload bytes of the largest chunk that known peers send, and that we do.
pub(crate) const MAX_CHUNK: u32 = 16_384;
/// Bytes that a stream sends before it is the next one's turn.
const QUANTUM: u32 = 16_384;
/// A chunk is not cut below this only because the quantum ends.
const MIN_CUT: u32 = 1_024;

/// The streams that have data to send, and how much of its quantum the first of them has used.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Turns {
    queue: StreamQueue<{ queue::DATA }>,
    /// Always less than a quantum.
    spent: u32,
}

impl Turns {
    pub(crate) const fn new() -> Self {
        Self {
            queue: StreamQueue::new(),
            spent: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.front().is_none()
    }

    /// Whether the stream of this record has a turn to come.
    #[inline(always)]
    pub(crate) const fn holds(&self, stream: &Stream) -> bool {
        self.queue.holds(stream)
    }

    /// Adds the stream, unless it has a turn to come.
    pub(crate) fn push<S: Storage>(&mut self, slab: &mut Slab<S>, slot: u32) {
        self.queue.push_back(slab, slot);
    }

    /// Takes the stream out; the next one starts with a whole quantum.
    #[inline(always)]
    pub(crate) fn remove<S: Storage>(&mut self, slab: &mut Slab<S>, slot: u32) {
        if self.queue.front() == Some(slot) {
            self.spent = 0;
        }
        self.queue.remove(slab, slot);
    }

    /// What is sent next: whose it is, what, and how many bytes of it.
    #[inline(always)]
    pub(crate) fn next<S: Storage>(&mut self, slab: &mut Slab<S>) -> Option<(u32, Next, u32)> {
        let (slot, next) = self.front(slab)?;
        if let Some(bytes) = self.allows(next) {
            return Some((slot, next, bytes));
        }
        self.end_turn(slab);
        let (slot, next) = self.front(slab)?;
        self.allows(next).map(|bytes| (slot, next, bytes))
    }

    /// The first stream that has something to send. Those before it leave.
    #[inline(always)]
    fn front<S: Storage>(&mut self, slab: &mut Slab<S>) -> Option<(u32, Next)> {
        loop {
            let slot = self.queue.front()?;
            if let Some(next) = slab.get(slot).next() {
                return Some((slot, next));
            }
            self.queue.pop_front(slab);
            self.spent = 0;
        }
    }

    /// How many bytes the turn allows; `None`: it is over. A turn that has just begun allows
    /// something of everything.
    #[inline(always)]
    fn allows(&self, next: Next) -> Option<u32> {
        let left = QUANTUM.saturating_sub(self.spent);
        let fresh = self.spent == 0;
        match next {
            Next::Chunk(ready) => {
                let wanted = ready.min(MAX_CHUNK);
                let bytes = if fresh { wanted } else { wanted.min(left) };
                (bytes == wanted || bytes >= MIN_CUT).then_some(bytes)
            }
            Next::Head(len) => (fresh || len <= left).then_some(len),
            Next::HalfClose | Next::Close(_) => Some(0),
        }
    }

    /// Counts a frame of the stream whose turn it is. True: its quantum is used up.
    #[inline(always)]
    pub(crate) const fn spend(&mut self, frame: u32) -> bool {
        self.spent = self.spent.saturating_add(frame);
        self.spent >= QUANTUM
    }

    /// It is the next one's turn.
    #[inline(always)]
    pub(crate) fn end_turn<S: Storage>(&mut self, slab: &mut Slab<S>) {
        self.spent = 0;
        self.queue.rotate(slab);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Fixed;
    use crate::streams::send::MessageRules;
    use crate::types::Envelope;
    use crate::wire::Revision;

    type Store = Fixed<4, 1>;

    fn begin(stream: &mut Stream, size: u32) {
        let rules = MessageRules {
            single: false,
            compressed: false,
        };
        let begun = stream.send.begin(Envelope::new(size), size, rules);
        assert_eq!(begun, Ok(()));
    }

    /// Streams with messages of these sizes, all of them at hand.
    fn streams(sizes: &[u32]) -> (Slab<Store>, Turns) {
        let (mut slab, mut turns) = (Slab::new(), Turns::new());
        for size in sizes {
            let mut stream = Stream::new(1, Revision::Zero, 0, 0);
            begin(&mut stream, *size);
            let slot = slab.insert(stream).unwrap().slot;
            turns.push(&mut slab, slot);
        }
        (slab, turns)
    }

    /// Sends all there is: whose chunks they are, and their sizes.
    fn chunks(slab: &mut Slab<Store>, turns: &mut Turns) -> std::vec::Vec<(u32, u32)> {
        let mut sent = std::vec::Vec::new();
        while let Some((slot, _, bytes)) = turns.next(slab) {
            slab.get_mut(slot).send.take_chunk(Revision::Zero, bytes);
            sent.push((slot, bytes));
            if turns.spend(bytes) {
                turns.end_turn(slab);
            }
        }
        sent
    }

    #[test]
    fn streams_take_turns_of_a_quantum() {
        let (mut slab, mut turns) = streams(&[40_000, 20_000]);
        let expected = [
            (0, 16_384),
            (1, 16_384),
            (0, 16_384),
            (1, 3_616),
            (0, 7_232),
        ];
        assert_eq!(chunks(&mut slab, &mut turns), expected);
        assert!(turns.is_empty());
    }

    #[test]
    fn a_chunk_is_not_cut_small_because_the_quantum_ends() {
        let (mut slab, mut turns) = streams(&[16_000, 5]);
        let (slot, _, bytes) = turns.next(&mut slab).unwrap();
        slab.get_mut(slot).send.take_chunk(Revision::Zero, bytes);
        assert!(!turns.spend(bytes));
        begin(slab.get_mut(slot), 2_000);
        assert_eq!(chunks(&mut slab, &mut turns), [(1, 5), (0, 2_000)]);
    }

    #[test]
    fn one_that_leaves_in_its_turn_leaves_a_whole_quantum() {
        let (mut slab, mut turns) = streams(&[10, 10]);
        assert!(!turns.spend(16_383));
        turns.remove(&mut slab, 0);
        assert_eq!(turns.next(&mut slab), Some((1, Next::Chunk(10), 10)));
    }
}
