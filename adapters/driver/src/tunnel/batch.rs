//! The buffer in which frames are gathered.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes that a tunnel without traffic keeps for its next frames.
const IDLE_CAPACITY: usize = 4 << 10;

/// Frames that were gathered and not taken.
///
/// Room is reserved for whole frames, so no byte is moved within the buffer, even while the HTTP
/// stack still holds what was taken before.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Buffers that had no room for the next frame.
    full: VecDeque<Bytes>,
    current: BytesMut,
    /// The size of the allocation that `current` is a part of, or more.
    allocated: usize,
}

impl Batch {
    /// The bytes of all frames.
    pub(crate) fn len(&self) -> usize {
        let full: usize = self.full.iter().map(Bytes::len).sum();
        full.saturating_add(self.current.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.current.is_empty()
    }

    /// A buffer with room for a frame of `len` bytes. `expected`: bytes that are expected to be
    /// gathered, this frame included.
    pub(crate) fn buffer(&mut self, len: usize, expected: usize) -> &mut BytesMut {
        let follows_others = !self.current.is_empty();
        let expected = expected.max(len);
        // The rest of an allocation is used only if it has room for all that is expected, so that
        // what is sent together is in few parts.
        let needed = if follows_others { len } else { expected };
        let room = self.current.capacity().saturating_sub(self.current.len());
        if room < needed {
            if follows_others {
                self.full.push_back(self.current.split().freeze());
            }
            let capacity = expected.max(IDLE_CAPACITY);
            if !self.current.try_reclaim(capacity) {
                self.current = BytesMut::with_capacity(capacity);
                self.allocated = capacity;
            }
        }
        &mut self.current
    }

    /// Takes the frames, or the first part of them. Empty: there are none.
    pub(crate) fn take(&mut self) -> Bytes {
        if let Some(full) = self.full.pop_front() {
            return full;
        }
        if self.current.len() < self.allocated / 4 {
            // A copy, so that a few bytes do not hold a large allocation.
            let frames = Bytes::copy_from_slice(&self.current);
            self.current.clear();
            return frames;
        }
        self.current.split().freeze()
    }

    /// Gives memory back when there is nothing to send.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.allocated > IDLE_CAPACITY {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_in_order_and_are_not_moved() {
        let mut batch = Batch::default();
        let mut taken = Vec::new();
        let mut expected = Vec::new();
        for round in 0..50_u8 {
            let len = usize::from(round) * 97;
            let buffer = batch.buffer(len, len * 2);
            let begin = buffer.as_ptr();
            buffer.extend_from_slice(&vec![round; len]);
            assert_eq!(begin, buffer.as_ptr());
            expected.extend_from_slice(&vec![round; len]);
            if round % 7 == 0 {
                assert_eq!(
                    batch.len() + taken.iter().map(Bytes::len).sum::<usize>(),
                    expected.len()
                );
                while !batch.is_empty() {
                    taken.push(batch.take());
                }
                batch.shrink();
            }
        }
        while !batch.is_empty() {
            taken.push(batch.take());
        }
        assert!(taken.concat() == expected);
    }
}
