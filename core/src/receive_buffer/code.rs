//! The code of one run of messages, in the fewest bytes that are quick to read.
//!
//! The first byte has two flags, [`COMPRESSED`] and [`COUNTED`], and six bits of this:
//!
//! | value | size of each message | how many |
//! | --- | --- | --- |
//! | 0 to 43 | the value | see below |
//! | 44 to 59 | 0 | the value less 42: 2 to 17; never with `COUNTED` |
//! | 60 to 63 | in the value less 59 bytes that follow: 1 to 4 | see below |
//!
//! With `COUNTED` a number follows, which is the count: one byte up to 251, or 252 to 255 before
//! 1 to 4 bytes. Without it there is one message. Numbers have their lowest byte first.

use super::boundaries::{Boundary, Run};
use crate::Envelope;

const COMPRESSED: u8 = 0x80;
const COUNTED: u8 = 0x40;

/// Sizes below it are in the first byte.
const SHORT: u32 = 44;
/// The least number of empty messages that has a first byte of its own, and the largest.
const FEW: u32 = 2;
const MANY: u32 = FEW + LONG - SHORT - 1;
/// The first value that says how many bytes of size follow, less one.
const LONG: u32 = 60;
/// The first byte that says how many bytes of a count follow, less one.
const LONG_COUNT: u32 = 252;

/// A run as bytes.
pub(super) struct Code {
    bytes: [Boundary; Self::MOST],
    len: usize,
}

impl Code {
    /// Bytes of the longest one.
    pub(super) const MOST: usize = 10;

    /// The code of a run that is not empty.
    pub(super) fn of(run: Run) -> Self {
        let mut code = Self {
            bytes: [Boundary(0); Self::MOST],
            len: 0,
        };
        let Envelope { size, compressed } = run.envelope;
        let mut flags = if compressed { COMPRESSED } else { 0 };
        if size == 0 && (FEW..=MANY).contains(&run.count) {
            code.number(run.count - FEW + SHORT, LONG, flags);
            return code;
        }
        if run.count != 1 {
            flags |= COUNTED;
        }
        if size < SHORT {
            code.number(size, SHORT, flags);
        } else {
            code.long(size, LONG, flags);
        }
        if run.count != 1 {
            code.number(run.count, LONG_COUNT, 0);
        }
        code
    }

    pub(super) fn as_slice(&self) -> &[Boundary] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Reads the first run of a ring, and says how many bytes it has. What is cut off is read as
    /// zeros.
    pub(super) fn read((head, tail): (&[Boundary], &[Boundary])) -> (Run, usize) {
        let mut reader = Reader {
            head,
            tail,
            taken: 0,
        };
        let first = reader.byte();
        let value = u32::from(first & !(COMPRESSED | COUNTED));
        let mut count = None;
        let size = if value < SHORT {
            value
        } else if value < LONG {
            count = Some(value - SHORT + FEW);
            0
        } else {
            reader.long(value - LONG)
        };
        if first & COUNTED != 0 {
            count = Some(reader.count());
        }
        let envelope = Envelope {
            size,
            compressed: first & COMPRESSED != 0,
        };
        let run = Run {
            envelope,
            count: count.unwrap_or(1),
        };
        (run, reader.taken)
    }

    fn byte(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = Boundary(byte);
            self.len += 1;
        }
    }

    /// A number in one byte where it is below `long`.
    fn number(&mut self, number: u32, long: u32, flags: u8) {
        match u8::try_from(number) {
            Ok(byte) if number < long => self.byte(byte | flags),
            _ => self.long(number, long, flags),
        }
    }

    /// A number in the bytes that it needs, which the byte before them counts from `long` on.
    fn long(&mut self, number: u32, long: u32, flags: u8) {
        let more = number.checked_ilog2().unwrap_or_default() / 8;
        let [first, ..] = (long + more).to_le_bytes();
        self.byte(first | flags);
        for (byte, _) in number.to_le_bytes().into_iter().zip(0..=more) {
            self.byte(byte);
        }
    }
}

/// The bytes of a ring, from the oldest on.
struct Reader<'a> {
    head: &'a [Boundary],
    tail: &'a [Boundary],
    taken: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let byte = match self.head.get(self.taken) {
            Some(byte) => Some(byte),
            None => self.tail.get(self.taken - self.head.len()),
        };
        self.taken += 1;
        byte.map_or(0, |byte| byte.0)
    }

    fn count(&mut self) -> u32 {
        let first = u32::from(self.byte());
        match first.checked_sub(LONG_COUNT) {
            Some(more) => self.long(more),
            None => first,
        }
    }

    /// A number of one byte and so many more.
    fn long(&mut self, more: u32) -> u32 {
        let mut number = 0;
        for at in 0..=more.min(3) {
            number |= u32::from(self.byte()) << (8 * at);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn run(size: u32, compressed: bool, count: u32) -> Run {
        let envelope = Envelope { size, compressed };
        Run { envelope, count }
    }

    /// The numbers around each that changes how many bytes there are.
    fn edges() -> impl Iterator<Item = u32> + Clone {
        let powers = (0..32).map(|bit| 1_u32 << bit);
        let others = [17, 18, 43, 44, 59, 60, 64, 251, 252, u32::MAX];
        powers
            .chain(others)
            .flat_map(|edge| [edge - 1, edge, edge.saturating_add(1)])
    }

    /// Read back from a ring that wraps anywhere, with others behind it.
    fn assert_is_read(run: Run) {
        let code = Code::of(run);
        let len = code.as_slice().len();
        assert!((1..=Code::MOST).contains(&len), "{run:?}");
        let mut behind = [Boundary(0xff); Code::MOST + 3];
        behind[..len].copy_from_slice(code.as_slice());
        for at in 0..=behind.len() {
            assert_eq!(Code::read(behind.split_at(at)), (run, len));
        }
    }

    #[test]
    fn each_run_at_an_edge_is_read_back() {
        for size in edges() {
            for count in edges().filter(|count| *count > 0) {
                assert_is_read(run(size, false, count));
                assert_is_read(run(size, true, count));
            }
        }
    }

    #[test]
    fn small_messages_take_a_byte_and_all_others_no_more_than_their_payload() {
        let len = |size, count| Code::of(run(size, true, count)).as_slice().len();
        for size in 0..44 {
            assert_eq!(len(size, 1), 1);
            assert!(len(size, 251) <= 2);
        }
        for count in 1..=17 {
            assert_eq!(len(0, count), 1);
        }
        let lengths = [
            (44, 2),
            (63, 2),
            (255, 2),
            (256, 3),
            (65_535, 3),
            (65_536, 4),
            ((1 << 24) - 1, 4),
            (1 << 24, 5),
            (u32::MAX, 5),
        ];
        for (size, bytes) in lengths {
            assert_eq!(len(size, 1), bytes);
        }
        assert_eq!(len(0, 1 << 24), 6);
        assert_eq!(len(u32::MAX, u32::MAX), Code::MOST);
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

        #[test]
        fn any_bytes_are_read_as_some_run(bytes: Vec<u8>, at: prop::sample::Index) {
            let bytes: Vec<_> = bytes.into_iter().map(Boundary).collect();
            let (_, len) = Code::read(bytes.split_at(at.index(bytes.len() + 1)));
            assert!((1..=Code::MOST).contains(&len));
        }
    }
}
