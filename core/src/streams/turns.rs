//! Whose turn it is to send data: one quantum a stream, round after round.

use super::queue::{self, Joined, StreamQueue};
use super::send::{Next, Whole};
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

    /// Adds the stream of this record. `None`: it has a turn to come; else
    /// [`link_up`](Self::link_up) has to follow.
    #[inline(always)]
    pub(crate) fn join(&mut self, stream: &mut Stream, slot: u32) -> Option<Joined> {
        self.queue.join(stream, slot)
    }

    /// See [`StreamQueue::link_up`].
    #[inline(always)]
    pub(crate) fn link_up<S: Storage>(&mut self, slab: &mut Slab<S>, joined: Joined) {
        self.queue.link_up(slab, joined);
    }

    /// Takes the stream out; the next one starts with a whole quantum.
    #[inline(always)]
    pub(crate) fn remove<S: Storage>(&mut self, slab: &mut Slab<S>, slot: u32) {
        if self.queue.front() == Some(slot) {
            self.spent = 0;
        }
        self.queue.remove(slab, slot);
    }

    /// Whose turn it is.
    #[inline(always)]
    pub(crate) fn front(&self) -> Option<u32> {
        self.queue.front()
    }

    /// The stream whose turn it is has nothing to send, and leaves.
    #[inline(always)]
    pub(crate) fn leave<S: Storage>(&mut self, slab: &mut Slab<S>) {
        self.queue.pop_front(slab);
        self.spent = 0;
    }

    /// How many bytes the turn allows; `None`: it is over. A turn that has just begun allows
    /// something of everything.
    #[inline(always)]
    pub(crate) fn allows(&self, next: Next) -> Option<u32> {
        let left = QUANTUM.saturating_sub(self.spent);
        let fresh = self.spent == 0;
        match next {
            Next::Chunk(ready) => {
                let wanted = ready.min(MAX_CHUNK);
                let bytes = if fresh { wanted } else { wanted.min(left) };
                (bytes == wanted || bytes >= MIN_CUT).then_some(bytes)
            }
            Next::Whole(Whole::Head(len)) => (fresh || len <= left).then_some(len),
            Next::Whole(Whole::HalfClose | Whole::Close(_)) => Some(0),
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
