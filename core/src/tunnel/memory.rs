//! How much memory a tunnel takes: what it holds, and what it never exceeds.

use super::{Rejection, Role, Tunnel};
use crate::limits::Limits;
use crate::storage::Storage;
use crate::table::{Index, Slab};
use crate::timers::TimerHeap;

/// What one tunnel and the receive buffers of its streams take at most, whatever the peer does:
/// `fixed + streams * (record + receive + heads) + queue`, in bytes.
///
/// It counts the heap. The tunnel itself and each receive buffer have a size besides, which is
/// `size_of` their types; in place there is nothing else. A growing list takes up to twice what
/// is in it. What the reader has taken out, and messages that the caller sends, are not counted:
/// no peer makes them grow.
///
/// The bound counts streams that are not retired. One that has ended still counts until its
/// [`release`](Tunnel::release), because its receive buffer may hold what was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// The frame being received: [`Limits::max_frame`].
    pub fixed: u64,
    /// Streams at once: [`Limits::max_streams`].
    pub streams: u64,
    /// What the core keeps of one stream.
    pub record: u64,
    /// One receive buffer over growing storage: its bytes, up to the next power of two, and 8
    /// for each boundary between messages. There are at most two to a byte, where each message
    /// of one byte is followed by an empty one.
    pub receive: u64,
    /// Heads that a caller keeps of one stream: two blocks of metadata, a status, a method name.
    pub heads: u64,
    /// Refusals that wait to be sent.
    pub queue: u64,
}

impl MemoryBound {
    /// The sum.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let stream = self
            .record
            .saturating_add(self.receive)
            .saturating_add(self.heads);
        self.fixed
            .saturating_add(self.streams.saturating_mul(stream))
            .saturating_add(self.queue)
    }

    /// The part of it that [`Tunnel::memory`] counts.
    #[must_use]
    pub const fn core(&self) -> u64 {
        // A list that is not empty has room for four.
        let streams = if self.streams < 2 { 2 } else { self.streams };
        streams
            .saturating_mul(self.record)
            .saturating_add(self.queue)
    }
}

/// Bytes of the least room that a growing receive buffer keeps: payload and boundaries.
const LEAST_RECEIVE: u64 = 1_024 + 8 * 16;

impl Limits {
    /// What a tunnel with these limits takes at most over growing storage.
    #[must_use]
    pub fn memory_bound(&self) -> MemoryBound {
        let window = u64::from(self.receive_window.max.max(self.receive_window.initial));
        // The frame that goes over the budget is taken in whole.
        let unread = u64::from(self.revision_zero.stream).saturating_add(u64::from(self.max_frame));
        let unread = window.max(unread);
        let bytes = unread.checked_next_power_of_two().unwrap_or(u64::MAX);
        let boundaries = unread.saturating_mul(2).saturating_add(1).saturating_mul(8);
        let decode = &self.decode;
        let heads = u64::from(decode.metadata_bytes)
            .saturating_mul(2)
            .saturating_add(u64::from(decode.status))
            .saturating_add(u64::from(decode.method_name));
        MemoryBound {
            fixed: u64::from(self.max_frame),
            streams: u64::from(self.max_streams),
            record: bytes_of(2 * RECORD),
            receive: bytes.saturating_add(boundaries).max(LEAST_RECEIVE),
            heads,
            // As many again may wait to be compacted away, and the list may be half empty.
            queue: u64::from(self.pending_rejections.max(1))
                .saturating_mul(bytes_of(4 * size_of::<Rejection>())),
        }
    }
}

#[cfg(feature = "alloc")]
type Any = crate::storage::Growing;
#[cfg(not(feature = "alloc"))]
type Any = crate::storage::Fixed<1, 1>;

/// Bytes of what the core keeps of one stream.
const RECORD: usize = Slab::<Any>::STREAM + Index::<Any>::STREAM + TimerHeap::<Any>::STREAM;

fn bytes_of(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Bytes that the tunnel holds on the heap, unused room included: none over storage in
    /// place. Never above [`MemoryBound::core`] of [`Limits::memory_bound`].
    #[must_use]
    pub fn memory(&self) -> usize {
        self.slab
            .heap()
            .saturating_add(self.index.heap())
            .saturating_add(self.timers.heap())
            .saturating_add(self.rejections.heap())
    }
}
