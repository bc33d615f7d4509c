//! The received messages of a stream that were not read yet, each with gRPC's length prefix.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use grpctunnel_core::receive_buffer::{GrowingStore, PushError, Read, ReceiveBuffer};
use grpctunnel_core::wire::{PREFIX_LEN, length_prefix};
use grpctunnel_core::{Envelope, Unread};

/// Bytes that a reader takes at once, at most: messages with their prefixes.
const STEP: usize = 64 << 10;
/// Bytes of unread prefixes from which on further messages go to `behind`, where a run of equal
/// messages costs no more than one.
const PREFIXES: usize = 64 << 10;
/// Places for chunks that an empty inbox keeps.
const KEPT_CHUNKS: usize = 8;
/// Bytes of an allocation whose rest is kept for what comes next.
const SMALL: usize = 512;

/// Bytes that an inbox takes at most besides those of the core's receive buffer for the same
/// window: prefixes, the unused room of the last chunk, what was moved out of `behind`, and the
/// chunk that the reader took last and holds.
pub(crate) const OVERHEAD: usize = PREFIXES + 3 * STEP;

type Behind = ReceiveBuffer<GrowingStore, ()>;

/// Bytes that are taken at once.
#[derive(Debug, Default)]
struct Chunk {
    bytes: BytesMut,
    /// Bytes of payload in it.
    payload: u32,
    /// Bytes of prefixes in it.
    prefixes: usize,
}

impl Chunk {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: BytesMut::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// Bytes that can be added without moving those that are there.
    fn room(&self) -> usize {
        let len = self.bytes.len();
        self.bytes.capacity().min(STEP).saturating_sub(len)
    }
}

/// The message that is not whole.
#[derive(Debug, Default)]
enum Incomplete {
    #[default]
    None,
    /// All of it that has come is unread: so many bytes, its prefix included.
    Unread(usize),
    /// Its beginning was read.
    Begun,
}

/// The payload of one stream that was not read yet.
///
/// For a reader that keeps up, bytes are copied once, from the carrier's buffer, into chunks that
/// are handed out as they are. For one with very many small messages unread, messages are kept in
/// the core's receive buffer, whose memory is bounded by the window whatever their sizes.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    full: VecDeque<Chunk>,
    last: Chunk,
    /// Bytes in all chunks.
    unread: usize,
    /// Bytes of prefixes in all chunks.
    prefixes: usize,
    incomplete: Incomplete,
    behind: Option<Box<Behind>>,
    /// Whether a message of `behind` was read in part.
    inside: bool,
}

impl Inbox {
    /// Appends payload, as the core describes it.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        begins: Option<Envelope>,
        ends: bool,
    ) -> Result<(), PushError> {
        if let Some(behind) = &mut self.behind {
            return behind.push(bytes, begins, ends);
        }
        if begins.is_some() && self.prefixes >= PREFIXES {
            return self.behind.insert(Box::default()).push(bytes, begins, ends);
        }
        if let Some(envelope) = begins {
            self.begin(envelope, bytes.len());
        }
        self.append(bytes);
        if ends {
            self.incomplete = Incomplete::None;
        }
        Ok(())
    }

    /// Begins a message. `follow`: bytes of it that are appended next.
    fn begin(&mut self, envelope: Envelope, follow: usize) {
        self.make_room(PREFIX_LEN, PREFIX_LEN.saturating_add(follow));
        self.last.bytes.put_slice(&envelope_prefix(envelope));
        self.last.prefixes = self.last.prefixes.saturating_add(PREFIX_LEN);
        self.prefixes = self.prefixes.saturating_add(PREFIX_LEN);
        self.unread = self.unread.saturating_add(PREFIX_LEN);
        self.incomplete = Incomplete::Unread(PREFIX_LEN);
    }

    /// Appends bytes of the message that has begun.
    fn append(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.make_room(1, rest.len());
            let (part, behind) = rest.split_at(self.last.room().min(rest.len()));
            self.last.bytes.extend_from_slice(part);
            let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
            self.last.payload = self.last.payload.saturating_add(len);
            rest = behind;
        }
        self.unread = self.unread.saturating_add(bytes.len());
        if let Incomplete::Unread(len) = &mut self.incomplete {
            *len = len.saturating_add(bytes.len());
        }
    }

    /// Makes room for `least` bytes. A new chunk has room for all that are `expected`, at most a
    /// step. It is as large as all that is unread, so that a reader that is slow takes few.
    fn make_room(&mut self, least: usize, expected: usize) {
        // What comes at once is read at once.
        let needed = if self.last.bytes.is_empty() {
            expected.min(STEP)
        } else {
            least
        };
        if self.last.room() >= needed {
            return;
        }
        let capacity = self.unread.max(expected).clamp(SMALL, STEP);
        let full = std::mem::replace(&mut self.last, Chunk::with_capacity(capacity));
        if !full.bytes.is_empty() {
            self.full.push_back(full);
        }
    }

    /// Takes bytes to read, and how much payload is in them, which must be reported as consumed.
    /// Empty: there is nothing to read now.
    pub(crate) fn take(&mut self) -> (Bytes, u32) {
        if self.unread == 0 {
            self.refill();
        }
        if self.unread == 0 {
            return (Bytes::new(), 0);
        }
        let chunk = match self.full.pop_front() {
            Some(chunk) => chunk,
            None if self.last.bytes.capacity() <= SMALL => {
                let bytes = self.last.bytes.split();
                let rest = std::mem::take(&mut self.last.bytes);
                let counts = std::mem::take(&mut self.last);
                self.last.bytes = rest;
                Chunk { bytes, ..counts }
            }
            // Nothing is kept of a large allocation, so that a stream that is idle holds none.
            None => std::mem::take(&mut self.last),
        };
        self.unread = self.unread.saturating_sub(chunk.bytes.len());
        self.prefixes = self.prefixes.saturating_sub(chunk.prefixes);
        if self.full.is_empty() && self.full.capacity() > KEPT_CHUNKS {
            self.full = VecDeque::new();
        }
        if matches!(self.incomplete, Incomplete::Unread(len) if len > self.unread) {
            self.incomplete = Incomplete::Begun;
        }
        (chunk.bytes.freeze(), chunk.payload)
    }

    /// Moves a step from `behind`.
    fn refill(&mut self) {
        let Some(mut behind) = self.behind.take() else {
            return;
        };
        while self.unread < STEP {
            match behind.poll_read() {
                Read::Begin(envelope) => {
                    self.inside = true;
                    self.begin(envelope, 0);
                }
                Read::Data { head, tail } => {
                    let part = if head.is_empty() { tail } else { head };
                    let len = part.len().min(STEP.saturating_sub(self.unread));
                    self.append(part.get(..len).unwrap_or_default());
                    // It is counted with the chunk.
                    let _ = behind.consume(len);
                }
                Read::End => {
                    self.inside = false;
                    self.incomplete = Incomplete::None;
                }
                // The rest of a message must come the same way.
                Read::Pending if self.inside => break,
                Read::Pending | Read::Terminal(()) | Read::Done => return,
            }
        }
        self.behind = Some(behind);
    }

    /// Ends the stream's payload. An incomplete message is dropped unless its beginning was read.
    pub(crate) fn finish(&mut self, unread: Unread) {
        if let Some(behind) = &mut self.behind {
            behind.finish((), unread);
        }
        match unread {
            Unread::Discard => self.clear(),
            Unread::Deliver => {
                if let Incomplete::Unread(len) = std::mem::take(&mut self.incomplete) {
                    self.cut(len);
                }
            }
        }
    }

    /// Drops the last `len` bytes.
    fn cut(&mut self, len: usize) {
        self.unread = self.unread.saturating_sub(len);
        let mut rest = len;
        loop {
            let kept = self.last.bytes.len().saturating_sub(rest);
            rest = rest.saturating_sub(self.last.bytes.len());
            self.last.bytes.truncate(kept);
            match self.full.pop_back() {
                Some(chunk) if rest > 0 => self.last = chunk,
                Some(chunk) => return self.full.push_back(chunk),
                None => return,
            }
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes that wait to be read, with what says where messages end.
    pub(crate) fn waiting(&self) -> usize {
        let behind = self.behind.as_ref().map_or(0, |behind| behind.memory());
        self.unread.saturating_add(behind)
    }

    /// Whether there is nothing to read now.
    pub(crate) fn is_empty(&mut self) -> bool {
        if self.unread == 0 {
            self.refill();
        }
        self.unread == 0
    }
}

/// gRPC's prefix of a message.
fn envelope_prefix(envelope: Envelope) -> [u8; PREFIX_LEN] {
    length_prefix(u8::from(envelope.compressed), envelope.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that are allocated for payload.
    fn memory(inbox: &Inbox) -> usize {
        let chunks = inbox.full.iter().chain([&inbox.last]);
        let chunks: usize = chunks.map(|chunk| chunk.bytes.capacity()).sum();
        chunks + inbox.behind.as_ref().map_or(0, |behind| behind.memory())
    }

    fn push_message(inbox: &mut Inbox, message: &[u8]) {
        let size = u32::try_from(message.len()).unwrap();
        inbox
            .push(message, Some(Envelope::new(size)), true)
            .unwrap();
    }

    /// Takes everything out: the framed bytes and the payload reported.
    fn drain(inbox: &mut Inbox) -> (Vec<u8>, usize) {
        let mut all = Vec::new();
        let mut payload = 0;
        while !inbox.is_empty() {
            let (bytes, taken) = inbox.take();
            assert!((1..=STEP).contains(&bytes.len()), "{}", bytes.len());
            all.extend_from_slice(&bytes);
            payload += usize::try_from(taken).unwrap();
        }
        (all, payload)
    }

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for message in messages {
            all.extend_from_slice(&length_prefix(0, u32::try_from(message.len()).unwrap()));
            all.extend_from_slice(message);
        }
        all
    }

    #[test]
    fn messages_come_out_framed() {
        let mut inbox = Inbox::default();
        push_message(&mut inbox, b"hello");
        push_message(&mut inbox, b"");
        inbox.push(b"ab", Some(Envelope::new(4)), false).unwrap();
        assert_eq!(
            drain(&mut inbox),
            (framed(&[b"hello", b"", b"ab??"])[..22].to_vec(), 7)
        );
        inbox.push(b"cd", None, true).unwrap();
        assert_eq!(drain(&mut inbox), (b"cd".to_vec(), 2));
    }

    #[test]
    fn conf_077_a_million_empty_messages_take_no_memory_and_all_come_out() {
        let mut inbox = Inbox::default();
        for _ in 0..1_000_000 {
            push_message(&mut inbox, b"");
        }
        assert!(memory(&inbox) <= OVERHEAD);
        let (all, payload) = drain(&mut inbox);
        assert_eq!((all.len(), payload), (5_000_000, 0));
        assert!(all.iter().all(|byte| *byte == 0));
    }

    /// As many messages as are kept ready.
    fn fill(inbox: &mut Inbox) -> usize {
        let mut count = 0;
        while inbox.behind.is_none() {
            push_message(inbox, b"");
            count += 1;
        }
        count
    }

    #[test]
    fn a_reader_that_keeps_up_is_never_behind() {
        let mut inbox = Inbox::default();
        for _ in 0..3 * PREFIXES / PREFIX_LEN {
            push_message(&mut inbox, b"m");
            assert!(inbox.behind.is_none());
            assert_eq!(inbox.take().0.len(), PREFIX_LEN + 1);
        }
        // One that catches up neither.
        fill(&mut inbox);
        push_message(&mut inbox, b"behind");
        drain(&mut inbox);
        push_message(&mut inbox, b"m");
        assert!(inbox.behind.is_none());
    }

    #[test]
    fn a_slow_reader_gets_the_same_bytes() {
        let large = vec![7; 300_000];
        let mut inbox = Inbox::default();
        let empty = fill(&mut inbox);
        push_message(&mut inbox, &large);
        push_message(&mut inbox, b"second");
        inbox
            .push(&large[..10], Some(Envelope::new(300_000)), false)
            .unwrap();
        let (mut all, mut payload) = drain(&mut inbox);
        inbox.push(&large[10..], None, true).unwrap();
        push_message(&mut inbox, b"last");
        let (rest, taken) = drain(&mut inbox);
        all.extend_from_slice(&rest);
        payload += taken;
        let mut expected = vec![&b""[..]; empty];
        expected.extend([&large, &b"second"[..], &large, b"last"]);
        assert!(all == framed(&expected));
        assert_eq!(payload, 600_010);
        assert!(inbox.behind.is_none());
    }

    #[test]
    fn an_end_cuts_the_message_that_is_not_whole() {
        for spilled in [false, true] {
            let mut inbox = Inbox::default();
            let empty = if spilled { fill(&mut inbox) } else { 0 };
            push_message(&mut inbox, b"whole");
            inbox.push(b"par", Some(Envelope::new(9)), false).unwrap();
            inbox.finish(Unread::Deliver);
            let mut expected = vec![&b""[..]; empty];
            expected.push(b"whole");
            assert!(drain(&mut inbox).0 == framed(&expected));
        }
    }

    #[test]
    fn an_end_cuts_a_message_of_many_chunks() {
        let part = vec![7; 100_000];
        for reads in 0..2 {
            let mut inbox = Inbox::default();
            push_message(&mut inbox, b"whole");
            let begins = Some(Envelope::new(u32::MAX));
            inbox.push(&part, begins, false).unwrap();
            inbox.push(&part, None, false).unwrap();
            let mut all = Vec::new();
            for _ in 0..reads {
                all.extend_from_slice(&inbox.take().0);
            }
            inbox.finish(Unread::Deliver);
            all.extend(drain(&mut inbox).0);
            // What was begun is not cut: its reader gets what came, and the error behind it.
            let expected = match all.len() {
                10 => 10,
                _ => 10 + 5 + 2 * part.len(),
            };
            assert_eq!(all.len(), expected, "after {reads} reads");
            assert!(all.starts_with(&framed(&[b"whole"])));
        }
    }

    /// Behind the end, a message that was moved and not read is cut as any other.
    #[test]
    fn an_end_cuts_a_message_that_was_behind() {
        let mut inbox = Inbox::default();
        let empty = fill(&mut inbox);
        inbox.push(b"par", Some(Envelope::new(9)), false).unwrap();
        let mut all = Vec::new();
        while inbox.unread > 0 {
            all.extend_from_slice(&inbox.take().0);
        }
        assert!(!inbox.is_empty());
        inbox.finish(Unread::Deliver);
        all.extend(drain(&mut inbox).0);
        assert_eq!(all.len(), empty * PREFIX_LEN);
    }

    #[test]
    fn memory_follows_what_is_unread() {
        let part = vec![7; 16_384];
        let window = 4 << 20;
        let mut inbox = Inbox::default();
        let begins = Some(Envelope::new(u32::MAX));
        inbox.push(&[], begins, false).unwrap();
        for pushed in 1..=window / part.len() {
            inbox.push(&part, None, false).unwrap();
            let unread = pushed * part.len();
            assert!(memory(&inbox) <= unread + STEP + SMALL, "{unread}");
        }
        drain(&mut inbox);
        assert!(memory(&inbox) <= SMALL);
        inbox.push(&part, None, false).unwrap();
        assert!(memory(&inbox) <= part.len() + SMALL);
        drain(&mut inbox);
        assert!(memory(&inbox) <= SMALL);
    }

    #[test]
    fn an_end_that_discards_leaves_nothing() {
        let mut inbox = Inbox::default();
        fill(&mut inbox);
        push_message(&mut inbox, b"behind");
        inbox.finish(Unread::Discard);
        assert!(inbox.is_empty());
    }
}
