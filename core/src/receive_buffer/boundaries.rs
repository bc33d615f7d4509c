//! Where messages end: runs of equal envelopes, seven bytes for each run that must be queued.

use core::fmt;

use super::ring::{Cell, Full, Ring};
use crate::Envelope;

/// A run of messages with equal envelopes, packed: 32 bits of size, one of compression, 23 of
/// count.
///
/// Seven bytes leave room to grow by a seventh, so that a growing ring holds at most 8 bytes for
/// each boundary, unused room included.
#[derive(Clone, Copy)]
pub struct Boundary([u8; 7]);

impl fmt::Debug for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.run().fmt(f)
    }
}

impl Cell for Boundary {
    const EMPTY: Self = Self([0; 7]);
    const KEEP: usize = 16;

    /// A seventh more, for at most 8 bytes a boundary.
    fn room_for(needed: usize) -> usize {
        needed.saturating_add(needed / 7).max(Self::KEEP)
    }
}

impl Boundary {
    const fn run(self) -> Run {
        let [a, b, c, d, e, f, g] = self.0;
        let flags = u32::from_le_bytes([e, f, g, 0]);
        Run {
            envelope: Envelope {
                size: u32::from_le_bytes([a, b, c, d]),
                compressed: flags & 1 == 1,
            },
            count: flags >> 1,
        }
    }
}

/// So many messages with this envelope, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    envelope: Envelope,
    count: u32,
}

impl Run {
    const MOST: u32 = (1 << 23) - 1;

    const NONE: Self = Self {
        envelope: Envelope::new(0),
        count: 0,
    };

    const fn packed(self) -> Boundary {
        let [a, b, c, d] = self.envelope.size.to_le_bytes();
        let flags = (self.count << 1) | self.envelope.compressed as u32;
        let [e, f, g, _] = flags.to_le_bytes();
        Boundary([a, b, c, d, e, f, g])
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
}

impl<R: Ring<Boundary>> Boundaries<R> {
    pub(super) const EMPTY: Self = Self {
        oldest: Run::NONE,
        queue: R::EMPTY,
        newest: Run::NONE,
    };

    /// Adds a whole message. `Full` changes nothing.
    pub(super) fn push(&mut self, envelope: Envelope) -> Result<(), Full> {
        if self.newest.count > 0
            && self.newest.count < Run::MOST
            && self.newest.envelope == envelope
        {
            self.newest.count += 1;
            return Ok(());
        }
        if self.newest.count > 0 {
            if self.oldest.count == 0 && self.queue.is_empty() {
                self.oldest = self.newest;
            } else {
                self.queue.append(&[self.newest.packed()])?;
            }
        }
        self.newest = Run { envelope, count: 1 };
        Ok(())
    }

    /// Takes the oldest message off.
    pub(super) fn pop(&mut self) -> Option<Envelope> {
        if self.oldest.count == 0 {
            self.oldest = match self.queue.as_slices().0.first() {
                Some(boundary) => boundary.run(),
                None => core::mem::replace(&mut self.newest, Run::NONE),
            };
            self.queue.drop_front(1);
        }
        self.oldest.count = self.oldest.count.checked_sub(1)?;
        Some(self.oldest.envelope)
    }

    pub(super) fn clear(&mut self) {
        self.oldest = Run::NONE;
        self.newest = Run::NONE;
        self.queue.truncate(0);
    }

    /// Bytes of memory held, besides the two runs in place.
    pub(super) fn memory(&self) -> usize {
        self.queue.capacity().saturating_mul(size_of::<Boundary>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive_buffer::FixedRing;

    #[test]
    fn a_run_that_is_too_long_for_its_count_goes_on_in_another() {
        const COUNT: u32 = Run::MOST + 10;
        let mut boundaries = Boundaries::<FixedRing<Boundary, 2>>::EMPTY;
        // Between two others, so that the long run is queued.
        assert_eq!(boundaries.push(Envelope::new(1)), Ok(()));
        for _ in 0..COUNT {
            assert_eq!(boundaries.push(Envelope::new(0)), Ok(()));
        }
        assert_eq!(boundaries.push(Envelope::new(2)), Ok(()));

        assert_eq!(boundaries.pop(), Some(Envelope::new(1)));
        for _ in 0..COUNT {
            assert_eq!(boundaries.pop(), Some(Envelope::new(0)));
        }
        assert_eq!(boundaries.pop(), Some(Envelope::new(2)));
        assert_eq!(boundaries.pop(), None);
    }

    #[test]
    fn a_run_survives_packing() {
        for size in [0, 1, 0x1234_5678, u32::MAX] {
            for compressed in [false, true] {
                for count in [1, 2, 0x12_3456, Run::MOST] {
                    let run = Run {
                        envelope: Envelope { size, compressed },
                        count,
                    };
                    assert_eq!(run.packed().run(), run);
                }
            }
        }
    }
}
