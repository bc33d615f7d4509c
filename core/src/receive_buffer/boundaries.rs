//! Where messages end: runs of equal envelopes, each in a few bytes where it must be queued.

use core::fmt;

use super::code::Code;
use super::ring::{Cell, Full, Ring};
use crate::Envelope;

/// A byte of the codes in which boundaries between messages are queued.
///
/// Messages with equal envelopes in a row are one run. A run takes 1 byte for one message of less
/// than 44 bytes or for up to 17 empty ones, and 10 bytes at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Boundary(pub(super) u8);

impl fmt::Debug for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Cell for Boundary {
    const EMPTY: Self = Self(0);
    const KEEP: usize = 64;

    /// An eighth more.
    fn room_for(needed: usize) -> usize {
        needed.saturating_add(needed / 8).max(Self::KEEP)
    }
}

/// Bytes of boundaries that may be queued beyond 2 for each byte of payload of their messages.
/// Messages of one byte and empty ones in turn take none of it; only empty messages that are
/// compressed and not compressed in turn, or whole hosts of them between messages of one or two
/// bytes, use it up.
pub(crate) const SPARE: usize = 4_096;

/// So many messages with this envelope, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) envelope: Envelope,
    pub(super) count: u32,
}

impl Run {
    const NONE: Self = Self {
        envelope: Envelope::new(0),
        count: 0,
    };

    fn payload(self) -> usize {
        let size = usize::try_from(self.envelope.size).unwrap_or(usize::MAX);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        size.saturating_mul(count)
    }
}

/// The envelopes of whole messages, oldest first. The run at either end is kept in place: a
/// reader that keeps up needs no memory for boundaries.
#[derive(Debug)]
pub(super) struct Boundaries<R> {
    /// Older than all in `queue`, which is older than `newest`. Each of the three may be empty.
    oldest: Run,
    queue: R,
    newest: Run,
    /// The most bytes by which the end of the queue, from any run on, is larger than twice its
    /// payload. So what is left of the queue never is by more, whatever the reader has taken.
    excess: usize,
}

impl<R: Ring<Boundary>> Boundaries<R> {
    pub(super) const EMPTY: Self = Self {
        oldest: Run::NONE,
        queue: R::EMPTY,
        newest: Run::NONE,
        excess: 0,
    };

    /// Adds a whole message. `Full` changes nothing.
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

    /// Queues the newest run. What a peer can send without credit has no end, so that what it
    /// costs is bound to payload.
    fn enqueue(&mut self) -> Result<(), Full> {
        let code = Code::of(self.newest);
        let code = code.as_slice();
        // What was taken since is counted no more.
        let excess = self.excess.min(self.queue.len()).saturating_add(code.len());
        let excess = excess.saturating_sub(self.newest.payload().saturating_mul(2));
        if excess > SPARE {
            return Err(Full);
        }
        self.queue.append(code)?;
        self.excess = excess;
        Ok(())
    }

    /// Takes the oldest message off.
    pub(super) fn pop(&mut self) -> Option<Envelope> {
        if self.oldest.count == 0 {
            self.oldest = if self.queue.is_empty() {
                core::mem::replace(&mut self.newest, Run::NONE)
            } else {
                let (run, len) = Code::read(self.queue.as_slices());
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

    /// Gives back the memory that no further message will need.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink();
    }

    /// Bytes of memory held, besides the two runs in place.
    pub(super) fn memory(&self) -> usize {
        self.queue.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive_buffer::FixedRing;

    #[test]
    fn a_run_that_is_too_long_for_its_count_goes_on_in_another() {
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
