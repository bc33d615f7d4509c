//! A run of messages with equal envelopes, encoded for the queue of boundaries.

use super::ring::Cell;
use crate::types::Envelope;
use crate::wire::{Fields, put_varint};

/// Consecutive messages with the same envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) envelope: Envelope,
    pub(super) count: u32,
}

/// A byte of a queued run.
///
/// A run starts with a varint, as in protobuf: the size of each message, shifted left by two bits for
/// the flags [`COMPRESSED`] and [`COUNTED`]. With `COUNTED`, the number of messages follows as another
/// varint; without it the number is one.
///
/// Two fixed-size integers would be simpler, but alternating messages of one byte and of none would
/// take 16 bytes for each byte of the window instead of two, and the bound on the memory of a stream
/// would be more than five times as large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary(u8);

const COUNTED: u64 = 1;
const COMPRESSED: u64 = 1 << 1;

impl Cell for Boundary {
    const EMPTY: Self = Self(0);
    const KEEP: usize = 64;

    /// One eighth more than needed.
    fn room_for(needed: usize) -> usize {
        needed.saturating_add(needed / 8).max(Self::KEEP)
    }
}

/// Bytes of the longest encoded run: two varints of at most 34 bits.
const LONGEST: usize = 10;

impl Run {
    pub(super) const NONE: Self = Self {
        envelope: Envelope::new(0),
        count: 0,
    };

    /// Total bytes of its messages.
    pub(super) const fn payload(self) -> u64 {
        // The product of two 32-bit numbers fits.
        self.envelope.size as u64 * self.count as u64
    }

    /// The run, encoded.
    pub(super) fn encode(self) -> heapless::Vec<Boundary, LONGEST> {
        let mut first = u64::from(self.envelope.size) << 2;
        if self.envelope.compressed {
            first |= COMPRESSED;
        }
        let mut bytes = heapless::Vec::<u8, LONGEST>::new();
        // `LONGEST` bytes hold any two.
        if self.count == 1 {
            let _ = put_varint(&mut bytes, first);
        } else {
            let _ = put_varint(&mut bytes, first | COUNTED)
                .and_then(|()| put_varint(&mut bytes, self.count.into()));
        }
        bytes.into_iter().map(Boundary).collect()
    }

    /// Decodes the first run in the two parts of a ring, and returns its length in bytes too. Bytes
    /// that are not a run are read as an empty run.
    pub(super) fn decode((head, tail): (&[Boundary], &[Boundary])) -> (Self, usize) {
        let bytes: heapless::Vec<u8, LONGEST> = head
            .iter()
            .chain(tail)
            .take(LONGEST)
            .map(|boundary| boundary.0)
            .collect();
        let mut varints = Fields::new(&bytes);
        let run = Self::read(&mut varints).unwrap_or(Self::NONE);
        (run, bytes.len().saturating_sub(varints.rest().len()))
    }

    fn read(varints: &mut Fields<'_>) -> Option<Self> {
        let first = varints.varint().ok()?;
        let count = match first & COUNTED {
            0 => 1,
            _ => u32::try_from(varints.varint().ok()?).ok()?,
        };
        let envelope = Envelope {
            size: u32::try_from(first >> 2).ok()?,
            compressed: first & COMPRESSED != 0,
        };
        Some(Self { envelope, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(size: u32, compressed: bool, count: u32) -> Run {
        let envelope = Envelope { size, compressed };
        Run { envelope, count }
    }

    /// Decodes from a ring that wraps at any position, with more bytes behind the run.
    fn assert_round_trips(run: Run) {
        let encoded = run.encode();
        let mut behind = [Boundary(0xff); LONGEST + 3];
        behind[..encoded.len()].copy_from_slice(&encoded);
        for at in 0..=behind.len() {
            assert_eq!(Run::decode(behind.split_at(at)), (run, encoded.len()));
        }
    }

    #[test]
    fn runs_of_edge_sizes_round_trip() {
        let edges = (0..32).map(|bit| 1_u32 << bit);
        let edges = edges.flat_map(|edge| [edge - 1, edge, edge.saturating_add(1), u32::MAX]);
        for size in edges.clone() {
            for count in edges.clone().filter(|count| *count > 0) {
                assert_round_trips(run(size, false, count));
                assert_round_trips(run(size, true, count));
            }
        }
    }

    #[test]
    fn a_single_message_takes_one_to_five_bytes() {
        let len = |size, count| run(size, true, count).encode().len();
        let lengths = [
            (0, 1),
            (31, 1),
            (32, 2),
            (4_095, 2),
            (4_096, 3),
            ((1 << 19) - 1, 3),
            (1 << 19, 4),
            ((1 << 26) - 1, 4),
            (1 << 26, 5),
            (u32::MAX, 5),
        ];
        for (size, bytes) in lengths {
            assert_eq!(len(size, 1), bytes);
            assert_eq!(len(size, 2), bytes + 1);
        }
        assert_eq!(len(u32::MAX, u32::MAX), LONGEST);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_run_round_trips(size: u32, compressed: bool, count in 1..u32::MAX) {
            assert_round_trips(run(size, compressed, count));
        }
    }
}
