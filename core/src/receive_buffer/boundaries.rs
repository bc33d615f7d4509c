//! The boundaries between the messages in a receive buffer, as a queue of runs.

use super::ring::{Full, Ring};
use super::run::{Boundary, Run};
use crate::types::Envelope;

/// Bytes that queued boundaries may take in addition to two for each byte of payload.
///
/// Alternating messages of one byte and of none take none of it. Empty messages that alternate between
/// compressed and uncompressed use it up, and so do two or more of them between messages of one byte.
pub(crate) const SPARE: usize = 4_096;

/// The envelopes of complete messages, oldest first. The oldest and the newest run are not encoded,
/// so a reader that keeps up needs no memory for boundaries.
#[derive(Debug)]
pub(super) struct Boundaries<R> {
    /// Precedes all runs in `queue`, which precede `newest`. Each of the three may be empty.
    oldest: Run,
    queue: R,
    newest: Run,
    /// The maximum, over all suffixes of the queue, of the bytes by which the suffix exceeds twice
    /// its payload. So it bounds what is left of the queue, however much of it the reader takes.
    excess: usize,
}

impl<R: Ring<Boundary>> Boundaries<R> {
    pub(super) const EMPTY: Self = Self {
        oldest: Run::NONE,
        queue: R::EMPTY,
        newest: Run::NONE,
        excess: 0,
    };

    /// Adds a complete message. Nothing changes on error.
    pub(super) fn push(&mut self, envelope: Envelope) -> Result<(), Full> {
        if self.newest.count > 0 && self.newest.count < u32::MAX && self.newest.envelope == envelope
        {
            self.newest.count += 1;
            return Ok(());
        }
        if self.newest.count > 0 {
            if self.oldest.count == 0 && self.queue.is_empty() {
                self.oldest = self.newest;
            } else {
                self.enqueue()?;
            }
        }
        self.newest = Run { envelope, count: 1 };
        Ok(())
    }

    /// Moves the newest run to the queue. A peer can send empty messages without credit, so the
    /// memory for boundaries is limited by the payload.
    fn enqueue(&mut self) -> Result<(), Full> {
        let encoded = self.newest.encode();
        let allowed = self.newest.payload().saturating_mul(2);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        // What the reader has taken since does not count.
        let excess = self.excess.min(self.queue.len());
        let excess = excess.saturating_add(encoded.len()).saturating_sub(allowed);
        if excess > SPARE {
            return Err(Full);
        }
        self.queue.append(&encoded)?;
        self.excess = excess;
        Ok(())
    }

    /// Removes the oldest message.
    pub(super) fn pop(&mut self) -> Option<Envelope> {
        if self.oldest.count == 0 {
            self.oldest = if self.queue.is_empty() {
                core::mem::replace(&mut self.newest, Run::NONE)
            } else {
                let (run, len) = Run::decode(self.queue.as_slices());
                self.queue.drop_front(len);
                run
            };
        }
        self.oldest.count = self.oldest.count.checked_sub(1)?;
        Some(self.oldest.envelope)
    }

    pub(super) fn clear(&mut self) {
        self.oldest = Run::NONE;
        self.newest = Run::NONE;
        self.queue.truncate(0);
    }

    /// Frees memory, after the last message was added.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink();
    }

    /// Bytes of memory held for the queue.
    pub(super) fn memory(&self) -> usize {
        self.queue.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive_buffer::ring::FixedRing;

    #[test]
    fn a_run_that_exceeds_its_counter_continues_in_another() {
        let mut boundaries = Boundaries::<FixedRing<Boundary, 16>>::EMPTY;
        // Between two others, so that the long run is queued.
        assert_eq!(boundaries.push(Envelope::new(1)), Ok(()));
        assert_eq!(boundaries.push(Envelope::new(0)), Ok(()));
        boundaries.newest.count = u32::MAX - 2;
        for _ in 0..10 {
            assert_eq!(boundaries.push(Envelope::new(0)), Ok(()));
        }
        assert_eq!(boundaries.push(Envelope::new(2)), Ok(()));

        assert_eq!(boundaries.pop(), Some(Envelope::new(1)));
        assert_eq!(boundaries.pop(), Some(Envelope::new(0)));
        assert_eq!(boundaries.oldest.count, u32::MAX - 1);
        boundaries.oldest.count = 1;
        for _ in 0..9 {
            assert_eq!(boundaries.pop(), Some(Envelope::new(0)));
        }
        assert_eq!(boundaries.pop(), Some(Envelope::new(2)));
        assert_eq!(boundaries.pop(), None);
    }
}
