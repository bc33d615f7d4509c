//! The received messages of a stream that were not read yet, each with gRPC's length prefix.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use grpctunnel_core::receive_buffer::{GrowingStore, PushError, Read, ReceiveBuffer};
use grpctunnel_core::wire::{PREFIX_LEN, length_prefix};
use grpctunnel_core::{Envelope, Unread};

use crate::body::pins::{Pin, Pins};
use crate::deferred::Deferred;

/// Bytes that a reader takes at once, at most: messages with their prefixes.
const STEP: usize = 64 << 10;
/// Payload of at least this size is not copied: the reader gets it as a slice of the carrier's
/// buffer.
const SEGMENT: usize = 8 << 10;
/// Bytes of unread prefixes from which on further messages go to `behind`, where a run of equal
/// messages costs no more than one.
const PREFIXES: usize = 64 << 10;
/// Places for chunks that an empty inbox keeps.
const KEPT_CHUNKS: usize = 8;
/// Bytes of an allocation whose rest is kept for what comes next.
const SMALL: usize = 512;

/// Bytes that an inbox takes at most besides those of the core's receive buffer for the same
/// window: prefixes, the unused room of the last chunk, what was moved out of `behind`, and what
/// the reader took last and holds. What slices hold of the carrier's buffers is
/// [counted by tunnel](crate::body::pins).
pub(crate) const OVERHEAD: usize = PREFIXES + 3 * STEP;

type Behind = ReceiveBuffer<GrowingStore, ()>;

/// What was read of a carrier at once, in which payload is looked for.
pub(crate) struct Source<'c> {
    /// What is left of it.
    bytes: &'c Bytes,
    /// How much it was.
    len: usize,
}

impl<'c> Source<'c> {
    pub(crate) const fn new(bytes: &'c Bytes, len: usize) -> Self {
        Self { bytes, len }
    }

    /// Where a part of it is.
    fn range_of(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = part
            .as_ptr()
            .addr()
            .checked_sub(self.bytes.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    /// What tells it from every other source of which something is held.
    fn id(&self) -> usize {
        self.bytes.as_ptr().addr().wrapping_add(self.bytes.len())
    }
}

/// Bytes that are being gathered.
#[derive(Debug, Default)]
struct Gathering {
    bytes: BytesMut,
    /// Bytes of payload in it.
    payload: u32,
    /// Bytes of prefixes in it.
    prefixes: usize,
}

impl Gathering {
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

    /// Takes what was gathered. The rest of a small allocation is kept.
    fn take(&mut self) -> Chunk {
        let whole = std::mem::take(self);
        let mut bytes = whole.bytes;
        // Nothing is kept of a large allocation, so that a stream that is idle holds none.
        if bytes.capacity() <= SMALL && bytes.len() < bytes.capacity() {
            let taken = bytes.split();
            self.bytes = std::mem::replace(&mut bytes, taken);
        }
        Chunk {
            bytes: bytes.freeze(),
            payload: whole.payload,
            prefixes: whole.prefixes,
            slice: None,
        }
    }
}

/// Bytes that are complete.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Bytes of payload in it.
    payload: u32,
    /// Bytes of prefixes in it.
    prefixes: usize,
    slice: Option<Slice>,
}

/// What a chunk is that is a slice of the carrier's buffer.
#[derive(Debug)]
struct Slice {
    /// The source's.
    id: usize,
    /// What it holds. None: a later slice of the same source holds it.
    pin: Option<Pin>,
}

/// What a reader has taken and not read.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    first: Option<Bytes>,
    rest: VecDeque<Chunk>,
}

impl From<Bytes> for Taken {
    fn from(bytes: Bytes) -> Self {
        Self {
            first: Some(bytes).filter(|bytes| !bytes.is_empty()),
            rest: VecDeque::new(),
        }
    }
}

impl Taken {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    /// The next bytes, never none.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let next = self.first.take();
        next.or_else(|| self.rest.pop_front().map(|chunk| chunk.bytes))
    }

    fn push(&mut self, chunk: Chunk) {
        if self.is_empty() && chunk.slice.is_none() {
            self.first = Some(chunk.bytes);
        } else {
            self.rest.push_back(chunk);
        }
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
/// For a reader that keeps up, large payload is not copied, and small pieces are copied once, from
/// the carrier's buffer into chunks that are handed out as they are. For one with very many small
/// messages unread, messages are kept in the core's receive buffer, whose memory is bounded by the
/// window whatever their sizes.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    full: VecDeque<Chunk>,
    last: Gathering,
    /// Bytes in all chunks.
    unread: usize,
    /// Bytes of prefixes in all chunks.
    prefixes: usize,
    incomplete: Incomplete,
    behind: Option<Box<Behind>>,
    /// Whether a message of `behind` was read in part.
    inside: bool,
    pins: Pins,
}

impl Inbox {
    pub(crate) fn new(pins: Pins) -> Self {
        Self {
            pins,
            ..Self::default()
        }
    }

    /// Appends payload, as the core describes it. `source`: where it is, if that is known.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        source: Option<&Source<'_>>,
        begins: Option<Envelope>,
        ends: bool,
    ) -> Result<(), PushError> {
        if let Some(behind) = &mut self.behind {
            return behind.push(bytes, begins, ends);
        }
        if begins.is_some() && self.prefixes >= PREFIXES {
            return self.behind.insert(Box::default()).push(bytes, begins, ends);
        }
        let is_segment = bytes.len() >= SEGMENT;
        let source = source.filter(|_| is_segment);
        if let Some(envelope) = begins {
            let follow = if source.is_some() { 0 } else { bytes.len() };
            self.begin(envelope, follow, ends);
        }
        if !source.is_some_and(|source| self.append_slice(bytes, source)) {
            self.append(bytes);
        }
        if ends {
            self.incomplete = Incomplete::None;
        }
        Ok(())
    }

    /// Begins a message. `follow`: bytes of it that are appended next. `whole`: no more come later.
    fn begin(&mut self, envelope: Envelope, follow: usize, whole: bool) {
        let expected = PREFIX_LEN.saturating_add(follow);
        if whole && follow > 0 && self.unread == 0 && self.last.room() == 0 {
            // Most streams carry one message: it gets an allocation of its size.
            self.last = Gathering::with_capacity(expected.min(STEP));
        }
        self.make_room(PREFIX_LEN, expected);
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
        self.appended(bytes.len());
    }

    /// Counts bytes of the message that has begun.
    fn appended(&mut self, len: usize) {
        self.unread = self.unread.saturating_add(len);
        if let Incomplete::Unread(unread) = &mut self.incomplete {
            *unread = unread.saturating_add(len);
        }
    }

    /// Appends a part of the source without a copy. False where that would hold too much memory.
    fn append_slice(&mut self, part: &[u8], source: &Source<'_>) -> bool {
        let Some(range) = source.range_of(part) else {
            return false;
        };
        // Between two slices there is one prefix at most, or a few small messages.
        let mut last = self.full.iter_mut().rev().take(2);
        let before = last.find_map(|chunk| chunk.slice.as_mut());
        let before = before.filter(|slice| slice.id == source.id());
        let mut pin = match before {
            // Chunks are read in order, so the last slice of a source holds it longest.
            Some(before) => before.pin.take(),
            None => self.pins.pin(source.len),
        };
        if pin.is_none() {
            return false;
        }
        self.seal();
        let mut slice = source.bytes.slice(range);
        while !slice.is_empty() {
            let bytes = slice.split_to(slice.len().min(STEP));
            self.full.push_back(Chunk {
                payload: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                prefixes: 0,
                bytes,
                slice: Some(Slice {
                    id: source.id(),
                    pin: pin.take_if(|_| slice.is_empty()),
                }),
            });
        }
        self.appended(part.len());
        true
    }

    /// Makes what was gathered a chunk.
    fn seal(&mut self) {
        if !self.last.bytes.is_empty() {
            let chunk = self.last.take();
            self.full.push_back(chunk);
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
        self.seal();
        self.last = Gathering::with_capacity(capacity);
    }

    /// Takes bytes to read, about a step of them if there are so many, and returns how much payload
    /// is in them, which must be reported as consumed. Takes nothing if there is nothing to read now.
    pub(crate) fn take(&mut self, into: &mut Taken) -> u32 {
        if self.unread == 0 {
            self.refill();
        }
        let (mut taken, mut payload) = (0_usize, 0_u32);
        while let Some(chunk) = self.next_chunk(STEP.saturating_sub(taken)) {
            taken = taken.saturating_add(chunk.bytes.len());
            payload = payload.saturating_add(chunk.payload);
            self.prefixes = self.prefixes.saturating_sub(chunk.prefixes);
            into.push(chunk);
        }
        self.unread = self.unread.saturating_sub(taken);
        if self.full.is_empty() && self.full.capacity() > KEPT_CHUNKS {
            self.full = VecDeque::new();
        }
        if matches!(self.incomplete, Incomplete::Unread(len) if len > self.unread) {
            self.incomplete = Incomplete::Begun;
        }
        payload
    }

    /// The next chunk, if it has at most `most` bytes. None has more than a step.
    fn next_chunk(&mut self, most: usize) -> Option<Chunk> {
        match self.full.front() {
            Some(chunk) if chunk.bytes.len() <= most => self.full.pop_front(),
            None if (1..=most).contains(&self.last.bytes.len()) => Some(self.last.take()),
            _ => None,
        }
    }

    /// Takes everything, if it is one chunk, or nothing at all.
    pub(crate) fn take_all(&mut self) -> Option<(Bytes, u32)> {
        if !self.full.is_empty() || self.behind.is_some() {
            return None;
        }
        let mut taken = Taken::default();
        let payload = self.take(&mut taken);
        Some((taken.next().unwrap_or_default(), payload))
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
                    self.begin(envelope, 0, false);
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
    pub(crate) fn finish(&mut self, unread: Unread, deferred: &mut Deferred) {
        if let Some(behind) = &mut self.behind {
            behind.finish((), unread);
        }
        match unread {
            Unread::Discard => {
                deferred.drop_bytes(self.full.drain(..).map(|chunk| chunk.bytes));
                *self = Self::new(self.pins.clone());
            }
            Unread::Deliver => {
                if let Incomplete::Unread(len) = std::mem::take(&mut self.incomplete) {
                    self.cut(len, deferred);
                }
            }
        }
    }

    /// Drops the last `len` bytes.
    fn cut(&mut self, len: usize, deferred: &mut Deferred) {
        self.unread = self.unread.saturating_sub(len);
        let kept = self.last.bytes.len().saturating_sub(len);
        let mut rest = len.saturating_sub(self.last.bytes.len());
        self.last.bytes.truncate(kept);
        while rest > 0
            && let Some(mut chunk) = self.full.pop_back()
        {
            let kept = chunk.bytes.len().saturating_sub(rest);
            rest = rest.saturating_sub(chunk.bytes.len());
            if kept > 0 {
                chunk.bytes.truncate(kept);
                self.full.push_back(chunk);
            } else {
                deferred.drop_bytes([chunk.bytes]);
            }
        }
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
        let full: usize = inbox.full.iter().map(|chunk| chunk.bytes.len()).sum();
        full + inbox.last.bytes.capacity()
            + inbox.behind.as_ref().map_or(0, |behind| behind.memory())
    }

    fn push_message(inbox: &mut Inbox, message: &[u8]) {
        let size = u32::try_from(message.len()).unwrap();
        inbox
            .push(message, None, Some(Envelope::new(size)), true)
            .unwrap();
    }

    /// What one step takes: the framed bytes, and the payload reported.
    fn take(inbox: &mut Inbox) -> (Vec<u8>, u32) {
        let mut taken = Taken::default();
        let payload = inbox.take(&mut taken);
        let all: Vec<Bytes> = std::iter::from_fn(|| taken.next()).collect();
        assert!(all.iter().all(|bytes| !bytes.is_empty()));
        (all.concat(), payload)
    }

    /// Takes everything out: the framed bytes and the payload reported.
    fn drain(inbox: &mut Inbox) -> (Vec<u8>, usize) {
        let mut all = Vec::new();
        let mut payload = 0;
        while !inbox.is_empty() {
            let (bytes, taken) = take(inbox);
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
        inbox
            .push(b"ab", None, Some(Envelope::new(4)), false)
            .unwrap();
        assert_eq!(
            drain(&mut inbox),
            (framed(&[b"hello", b"", b"ab??"])[..22].to_vec(), 7)
        );
        inbox.push(b"cd", None, None, true).unwrap();
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
            assert_eq!(take(&mut inbox).0.len(), PREFIX_LEN + 1);
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
            .push(&large[..10], None, Some(Envelope::new(300_000)), false)
            .unwrap();
        let (mut all, mut payload) = drain(&mut inbox);
        inbox.push(&large[10..], None, None, true).unwrap();
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
            inbox
                .push(b"par", None, Some(Envelope::new(9)), false)
                .unwrap();
            inbox.finish(Unread::Deliver, &mut Deferred::default());
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
            inbox.push(&part, None, begins, false).unwrap();
            inbox.push(&part, None, None, false).unwrap();
            let mut all = Vec::new();
            for _ in 0..reads {
                all.extend_from_slice(&take(&mut inbox).0);
            }
            inbox.finish(Unread::Deliver, &mut Deferred::default());
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
        inbox
            .push(b"par", None, Some(Envelope::new(9)), false)
            .unwrap();
        let mut all = Vec::new();
        while inbox.unread > 0 {
            all.extend_from_slice(&take(&mut inbox).0);
        }
        assert!(!inbox.is_empty());
        inbox.finish(Unread::Deliver, &mut Deferred::default());
        all.extend(drain(&mut inbox).0);
        assert_eq!(all.len(), empty * PREFIX_LEN);
    }

    #[test]
    fn memory_follows_what_is_unread() {
        let part = vec![7; 16_384];
        let window = 4 << 20;
        let mut inbox = Inbox::default();
        let begins = Some(Envelope::new(u32::MAX));
        inbox.push(&[], None, begins, false).unwrap();
        for pushed in 1..=window / part.len() {
            inbox.push(&part, None, None, false).unwrap();
            let unread = pushed * part.len();
            assert!(memory(&inbox) <= unread + STEP + SMALL, "{unread}");
        }
        drain(&mut inbox);
        assert!(memory(&inbox) <= SMALL);
        inbox.push(&part, None, None, false).unwrap();
        assert!(memory(&inbox) <= part.len() + SMALL);
        drain(&mut inbox);
        assert!(memory(&inbox) <= SMALL);
    }

    #[test]
    fn an_end_that_discards_leaves_nothing() {
        let mut inbox = Inbox::default();
        fill(&mut inbox);
        push_message(&mut inbox, b"behind");
        inbox.finish(Unread::Discard, &mut Deferred::default());
        assert!(inbox.is_empty());
    }

    /// Pushes messages that are one after the other in one buffer.
    fn push_from(inbox: &mut Inbox, chunk: &Bytes, sizes: &[usize]) {
        let source = Source::new(chunk, chunk.len());
        let mut rest = &chunk[..];
        for size in sizes {
            let (message, behind) = rest.split_at(*size);
            let begins = Some(Envelope::new(u32::try_from(*size).unwrap()));
            inbox.push(message, Some(&source), begins, true).unwrap();
            rest = behind;
        }
    }

    #[test]
    fn large_payload_is_a_slice_and_small_payload_a_copy() {
        let mut inbox = Inbox::default();
        let chunk = Bytes::from((0..60_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        let sizes = [SEGMENT, 10, SEGMENT - 1, SEGMENT, 30_000];
        push_from(&mut inbox, &chunk, &sizes);
        let mut taken = Taken::default();
        inbox.take(&mut taken);
        let within = chunk.as_ptr_range();
        let pieces: Vec<Bytes> = std::iter::from_fn(|| taken.next()).collect();
        let slices: Vec<usize> = pieces
            .iter()
            .filter(|piece| within.contains(&piece.as_ptr()))
            .map(Bytes::len)
            .collect();
        assert_eq!(slices, [SEGMENT, SEGMENT, 30_000]);
        let mut messages = Vec::new();
        let mut rest = &chunk[..];
        for size in sizes {
            let (message, behind) = rest.split_at(size);
            messages.push(message);
            rest = behind;
        }
        assert!(pieces.concat() == framed(&messages));
    }

    #[test]
    fn slow_readers_hold_a_bounded_part_of_the_carriers_buffers() {
        let pins = Pins::default();
        let mut inboxes: Vec<_> = (0..100).map(|_| Inbox::new(pins.clone())).collect();
        let mut buffers = Vec::new();
        for round in 0..4 {
            for inbox in &mut inboxes {
                let chunk = Bytes::from(vec![round; 256 << 10]);
                push_from(inbox, &chunk, &[SEGMENT]);
                buffers.push(chunk);
                let held = buffers.iter().filter(|buffer| !buffer.is_unique()).count();
                assert!(held * (256 << 10) <= Pins::MOST, "{held} buffers");
            }
        }
        assert!(buffers.iter().any(|buffer| !buffer.is_unique()));
        for inbox in &mut inboxes {
            assert_eq!(drain(inbox).1, 4 * SEGMENT);
        }
        assert!(buffers.iter().all(Bytes::is_unique));
        assert_eq!(pins.held(), 0, "the next readers have all of it");
    }

    #[test]
    fn an_end_cuts_slices_and_gives_them_back() {
        let pins = Pins::default();
        let mut inbox = Inbox::new(pins.clone());
        push_message(&mut inbox, b"whole");
        let chunk = Bytes::from(vec![7; 100_000]);
        let source = Source::new(&chunk, chunk.len());
        let begins = Some(Envelope::new(u32::MAX));
        inbox.push(&chunk, Some(&source), begins, false).unwrap();
        assert!(pins.held() >= chunk.len());
        inbox.finish(Unread::Deliver, &mut Deferred::default());
        assert_eq!(drain(&mut inbox).0, framed(&[b"whole"]));
        assert!(chunk.is_unique());
        assert_eq!(pins.held(), 0);
    }
}
