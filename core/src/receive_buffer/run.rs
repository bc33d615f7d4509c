//! Equal envelopes in a row, and the bytes in which they are queued.

use super::ring::Cell;
use crate::Envelope;
use crate::wire::{Fields, put_varint};

/// Consecutive messages with the same envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) envelope: Envelope,
    pub(super) count: u32,
}

/// A byte of a queued run.
///
/// A run is one varint, as protobuf writes them: the size of each message, shifted by two bits
/// for the flags [`COMPRESSED`] and [`COUNTED`]. With `COUNTED` a second one follows, the number of
/// messages; without it there is one.
///
/// Two numbers of four bytes each would be simpler. But messages of one byte and empty ones in turn
/// would take 16 bytes for each byte that the window counts, where they take two, and the bound on the
/// memory of a stream would be more than five times as large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary(u8);

const COUNTED: u64 = 1;
const COMPRESSED: u64 = 1 << 1;

impl Cell for Boundary {
    const EMPTY: Self = Self(0);
    const KEEP: usize = 64;

    /// An eighth more.
    fn room_for(needed: usize) -> usize {
        needed.saturating_add(needed / 8).max(Self::KEEP)
    }
}

/// Bytes of the longest run: two varints of at most 34 bits.
const LONGEST: usize = 10;

impl Run {
    pub(super) const NONE: Self = Self {
        envelope: Envelope::new(0),
        count: 0,
    };

    /// Bytes of all its messages.
    pub(super) const fn payload(self) -> u64 {
        // Two factors of 32 bits.
        self.envelope.size as u64 * self.count as u64
    }

    /// The run as it is queued.
    pub(super) fn encode(self) -> heapless::Vec<Boundary, LONGEST> {
        let mut first = u64::from(self.envelope.size) << 2;
        if self.envelope.compressed {
            first |= COMPRESSED;
        }
        let mut bytes = heapless::Vec::<u8, LONGEST>::new();
        // There is room for any two.
        if self.count == 1 {
            let _ = put_varint(&mut bytes, first);
        } else {
            let _ = put_varint(&mut bytes, first | COUNTED)
                .and_then(|()| put_varint(&mut bytes, self.count.into()));
        }
        bytes.into_iter().map(Boundary).collect()
    }

    /// The oldest run of a queue, and how many bytes it takes there. What is cut off or was never
    /// encoded is no message.
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

    /// Read back from a ring that wraps anywhere, with others behind it.
    fn assert_is_read(run: Run) {
        let code = run.encode();
        let mut behind = [Boundary(0xff); LONGEST + 3];
        behind[..code.len()].copy_from_slice(&code);
        for at in 0..=behind.len() {
            assert_eq!(Run::decode(behind.split_at(at)), (run, code.len()));
        }
    }

    #[test]
    fn each_run_at_an_edge_is_read_back() {
        let edges = (0..32).map(|bit| 1_u32 << bit);
        let edges = edges.flat_map(|edge| [edge - 1, edge, edge.saturating_add(1), u32::MAX]);
        for size in edges.clone() {
            for count in edges.clone().filter(|count| *count > 0) {
                assert_is_read(run(size, false, count));
                assert_is_read(run(size, true, count));
            }
        }
    }

    #[test]
    fn small_messages_take_a_byte_and_all_others_no_more_than_eight() {
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
        fn any_run_is_read_back(size: u32, compressed: bool, count in 1..u32::MAX) {
            assert_is_read(run(size, compressed, count));
        }
    }
}
