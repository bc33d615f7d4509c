//! The received messages of a stream that were not read yet, each with gRPC's length prefix.

mod chunks;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{BufMut, Bytes};
use grpctunnel_core::receive_buffer::{GrowingStore, PushError, Read, ReceiveBuffer};
use grpctunnel_core::wire::{PREFIX_LEN, length_prefix};
use grpctunnel_core::{Envelope, Unread};

use self::chunks::{Chunk, Gathering, SMALL, Slice};
pub(crate) use self::chunks::{Source, Taken};
use crate::body::pins::Pins;
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

/// Bytes that an inbox takes at most besides those of the core's receive buffer for the same
/// window: prefixes, the unused room of the last chunk, what was moved out of `behind`, and what
/// the reader took last and holds. What slices hold of the carrier's buffers is
/// [counted by tunnel](crate::body::pins).
pub(crate) const OVERHEAD: usize = PREFIXES + 3 * STEP;

type Behind = ReceiveBuffer<GrowingStore, ()>;

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
