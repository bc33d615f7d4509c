//! How much memory a tunnel takes, at most or at the moment.

use super::refusals::Refusal;
use super::{Role, Tunnel};
use crate::limits::Limits;
use crate::receive_buffer::SPARE;
use crate::storage::Storage;
use crate::streams::Streams;

/// What one tunnel and the receive buffers of its streams take at most, whatever the peer does:
/// `fixed + streams * (record + receive + heads) + growth + queue`, in bytes.
///
/// It counts the heap. The tunnel itself and each receive buffer have a size besides, which is
/// `size_of` their types; in place there is nothing else. A growing list takes up to twice what
/// is in it. What the reader has taken out, and messages that the caller sends, are not counted:
/// no peer makes them grow. A caller that lets a stream's reader go drops its receive buffer.
///
/// The bound counts streams that are not retired. One that has ended still counts until its
/// [`release`](Tunnel::release), because its receive buffer may hold what was not read.
///
/// A receive buffer that holds `u` bytes takes `2^ceil(log2(u))` for them, and `(2u + 4,096) * 9/8`
/// for where messages end; see [`ReceiveBuffer::memory`](crate::receive_buffer::ReceiveBuffer::memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryBound {
    /// Bytes of the frame being received: [`Limits::max_frame`].
    pub fixed: u64,
    /// Streams at once: [`Limits::max_streams`].
    pub streams: u64,
    /// Bytes that the core keeps of one stream.
    pub record: u64,
    /// Bytes of one receive buffer, without what its window has grown by: the larger one of
    /// `flow_controlled` and `revision_zero`.
    pub receive: u64,
    /// Bytes of a receive buffer with flow control: `u` is
    /// [`initial`](crate::ReceiveWindowPolicy::initial). Where windows grow it takes twice that
    /// for the bytes, since what lies beyond may be less than the next power of two.
    pub flow_controlled: u64,
    /// Bytes of a receive buffer without flow control: `u` is
    /// [`RevisionZeroLimits::stream`](crate::RevisionZeroLimits::stream), and a frame more, because
    /// the one that goes over the limit is taken in whole.
    ///
    /// [`RevisionZeroLimits::tunnel`](crate::RevisionZeroLimits::tunnel) makes it no less: it
    /// counts streams that live. One that has ended leaves up to so much to its reader, who can
    /// neither be hurried nor be waited for: to read no more of the carrier until then could stop
    /// the very call that the reader waits for.
    pub revision_zero: u64,
    /// Bytes that all receive buffers together take more because their windows have grown: `2` and
    /// `2 * 9/8` for each byte of [`growth_budget`](crate::ReceiveWindowPolicy::growth_budget), or
    /// of what all streams can grow by if that is less.
    pub growth: u64,
    /// Bytes of heads that a caller keeps of one stream: two blocks of metadata, a status, a
    /// method name.
    pub heads: u64,
    /// Bytes of refusals that wait to be sent.
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
            .saturating_add(self.growth)
            .saturating_add(self.queue)
    }

    /// The sum where every stream has flow control, as known peers have since their revision one.
    #[must_use]
    pub const fn total_flow_controlled(mut self) -> u64 {
        self.receive = self.flow_controlled;
        self.total()
    }

    /// Bytes of one receive buffer at most, with all the growth that there is.
    #[must_use]
    pub const fn one_receive(&self) -> u64 {
        let grown = self.flow_controlled.saturating_add(self.growth);
        if grown > self.revision_zero {
            grown
        } else {
            self.revision_zero
        }
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

/// Bytes of a growing receive buffer that holds so much.
fn receive_buffer(unread: u64) -> u64 {
    let bytes = unread.checked_next_power_of_two().unwrap_or(u64::MAX);
    bytes.max(64).saturating_add(boundaries(unread))
}

/// Bytes of the boundaries in it.
fn boundaries(unread: u64) -> u64 {
    let most = unread.saturating_mul(2).saturating_add(bytes_of(SPARE));
    most.saturating_add(most / 8)
}

impl Limits {
    /// What a tunnel with these limits takes at most over growing storage.
    #[must_use]
    pub fn memory_bound(&self) -> MemoryBound {
        let streams = u64::from(self.max_streams);
        let windows = self.receive_window;
        let initial = u64::from(windows.initial);
        let each = u64::from(windows.max.saturating_sub(windows.initial));
        let grown = windows.growth_budget.min(each.saturating_mul(streams));
        let flow_controlled = if grown == 0 {
            receive_buffer(initial)
        } else {
            let bytes = initial.saturating_mul(2).max(64);
            bytes.saturating_add(boundaries(initial))
        };
        let unread = u64::from(self.revision_zero.stream).saturating_add(u64::from(self.max_frame));
        let revision_zero = receive_buffer(unread);
        let decode = &self.decode;
        let heads = u64::from(decode.metadata_bytes)
            .saturating_mul(2)
            .saturating_add(u64::from(decode.status))
            .saturating_add(u64::from(decode.method_name));
        MemoryBound {
            fixed: u64::from(self.max_frame),
            streams,
            record: bytes_of(2 * RECORD),
            receive: flow_controlled.max(revision_zero),
            flow_controlled,
            revision_zero,
            growth: grown.saturating_mul(17).div_ceil(4),
            heads,
            // The queue may be half empty, and has room for four if it is not empty.
            queue: u64::from(self.pending_rejections.max(2))
                .saturating_mul(bytes_of(2 * size_of::<Refusal>())),
        }
    }
}

#[cfg(feature = "alloc")]
type Any = crate::storage::Growing;
#[cfg(not(feature = "alloc"))]
type Any = crate::storage::Fixed<1, 1>;

/// Bytes of what the core keeps of one stream.
pub(super) const RECORD: usize = Streams::<Any>::STREAM;

fn bytes_of(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Bytes that the tunnel holds on the heap, unused room included: none over storage in
    /// place. Never above [`MemoryBound::core`] of [`Limits::memory_bound`].
    #[must_use]
    pub fn memory(&self) -> usize {
        self.streams.heap().saturating_add(self.refusals.heap())
    }
}
