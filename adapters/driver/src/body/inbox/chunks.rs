//! What an inbox is made of: pieces that are gathered, slices of the carrier's buffer, and what a
//! reader takes of them.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::STEP;
use crate::body::pins::Pin;

/// Bytes of an allocation whose rest is kept for what comes next.
pub(super) const SMALL: usize = 512;

/// What was read of a carrier at once, in which payload is looked for.
pub(crate) struct Source<'c> {
    /// What is left of it.
    pub(super) bytes: &'c Bytes,
    /// How much it was.
    pub(super) len: usize,
}

impl<'c> Source<'c> {
    pub(crate) const fn new(bytes: &'c Bytes, len: usize) -> Self {
        Self { bytes, len }
    }

    /// Where a part of it is.
    pub(super) fn range_of(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = part
            .as_ptr()
            .addr()
            .checked_sub(self.bytes.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    /// What tells it from every other source of which something is held.
    pub(super) fn id(&self) -> usize {
        self.bytes.as_ptr().addr().wrapping_add(self.bytes.len())
    }
}

/// Bytes that are being gathered.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    pub(super) bytes: BytesMut,
    /// Bytes of payload in it.
    pub(super) payload: u32,
    /// Bytes of prefixes in it.
    pub(super) prefixes: usize,
}

impl Gathering {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: BytesMut::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// Bytes that can be added without moving those that are there.
    pub(super) fn room(&self) -> usize {
        let len = self.bytes.len();
        self.bytes.capacity().min(STEP).saturating_sub(len)
    }

    /// Takes what was gathered. The rest of a small allocation is kept.
    pub(super) fn take(&mut self) -> Chunk {
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
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// Bytes of payload in it.
    pub(super) payload: u32,
    /// Bytes of prefixes in it.
    pub(super) prefixes: usize,
    pub(super) slice: Option<Slice>,
}

/// What a chunk is that is a slice of the carrier's buffer.
#[derive(Debug)]
pub(super) struct Slice {
    /// The source's.
    pub(super) id: usize,
    /// What it holds. None: a later slice of the same source holds it.
    pub(super) pin: Option<Pin>,
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

    /// Bytes that were taken and not read.
    pub(crate) fn bytes(&self) -> usize {
        let rest = self.rest.iter().map(|chunk| chunk.bytes.len());
        rest.fold(
            self.first.as_ref().map_or(0, Bytes::len),
            usize::saturating_add,
        )
    }

    /// The next bytes, never none.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let next = self.first.take();
        next.or_else(|| self.rest.pop_front().map(|chunk| chunk.bytes))
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        if self.is_empty() && chunk.slice.is_none() {
            self.first = Some(chunk.bytes);
        } else {
            self.rest.push_back(chunk);
        }
    }
}
