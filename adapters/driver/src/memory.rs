//! How much memory a tunnel takes.

use grpctunnel_core::MemoryBound as CoreBound;

use crate::body::inbox;
use crate::body::pins::Pins;
use crate::options::Options;
use crate::tunnel::stream::Stream;

/// Bytes of a header map's entry besides name and value, roughly.
const HEADER: u64 = 160;

/// What one tunnel takes at most, whatever its peer does, in bytes:
/// `core.total() + tunnel + core.streams * stream + waiting * waiting_call`.
///
/// It counts what this crate allocates, and what the HTTP stack holds of it: of the carrier what
/// was handed out last, and of each call the part of its payload that its reader took last. What
/// callers and handlers hold besides is theirs: one frame of each body that is being sent, and
/// what they have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryBound {
    /// The frame that is being received, and of each stream its record, its heads, its payload that
    /// was not read: the receive window, and where messages end.
    pub core: CoreBound,
    /// What waits to be sent ([`Options::tunnel_send_queue`], and twice what follows from
    /// [`Options::batch`]), the unused room behind the frame that is being received, and 4 MiB of
    /// the HTTP stack's buffers, of which payload that was not read is a part.
    pub tunnel: u64,
    /// Of one stream, besides the core's part: 64 KiB of length prefixes, 192 KiB of payload that
    /// is on its way to the reader, headers as a map.
    pub stream: u64,
    /// Calls that wait to be opened: [`Options::max_waiting`].
    pub waiting: u64,
    /// Of one such call: method and metadata.
    pub waiting_call: u64,
}

impl MemoryBound {
    /// The sum.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.core.total().saturating_add(self.driver())
    }

    /// The sum where every stream has flow control, as known peers have since their revision one.
    #[must_use]
    pub const fn total_flow_controlled(&self) -> u64 {
        let core = self.core.total_flow_controlled();
        core.saturating_add(self.driver())
    }

    const fn driver(&self) -> u64 {
        let streams = self.core.streams.saturating_mul(self.stream);
        let waiting = self.waiting.saturating_mul(self.waiting_call);
        self.tunnel.saturating_add(streams).saturating_add(waiting)
    }
}

impl Options {
    /// What a tunnel with these options takes at most.
    ///
    /// ```
    /// use grpctunnel_driver::{Limits, Options};
    ///
    /// let mut options = Options::default();
    /// options.limits.max_streams = 100;
    /// let bound = options.memory_bound();
    /// assert!(bound.total_flow_controlled() < 512 << 20);
    /// ```
    #[must_use]
    pub fn memory_bound(&self) -> MemoryBound {
        let decode = &self.limits.decode;
        let core = self.limits.memory_bound();
        let batch = bytes(self.batch).saturating_add(core.heads);
        let batches = batch.saturating_add(batch / 4).saturating_mul(2);
        let headers = u64::from(decode.metadata_entries).saturating_mul(2 * HEADER);
        let stream = bytes(inbox::OVERHEAD).saturating_add(bytes(size_of::<Stream>()));
        let head = u64::from(decode.metadata_bytes);
        MemoryBound {
            core,
            tunnel: bytes(self.tunnel_send_queue)
                .saturating_add(batches)
                .saturating_add(bytes(Pins::MOST))
                .saturating_add(core.fixed),
            stream: stream.saturating_add(headers),
            waiting: bytes(self.max_waiting),
            waiting_call: head.saturating_mul(2).saturating_add(1_024),
        }
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
