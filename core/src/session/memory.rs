//! How much memory a session takes, at most or at the moment.

use super::call::Call;
use super::trace::Trace;
use super::{Session, owned};
use crate::bare::Directions;
use crate::limits::Limits;
use crate::storage::Growing;
use crate::tunnel::{Role, Tunnel};

/// Bytes of what a session keeps of one call, besides buffers: its record, and its place in a list
/// that may be half empty.
const CALL: u64 = (size_of::<Call>() + 4 * size_of::<usize>()) as u64;
/// Bytes of the records of an entry of metadata, of which a call may have two blocks. A list may be
/// half empty, and the least one has four.
const ENTRIES: u64 = (2 * 4 * owned::ENTRY) as u64;

pub(super) fn bound(limits: &Limits, directions: Directions) -> u64 {
    let entries = u64::from(limits.decode.metadata_entries).saturating_mul(ENTRIES);
    let call = entries
        .saturating_add(u64::from(limits.max_message))
        .saturating_add(CALL);
    let tunnels = if directions == Directions::Both { 2 } else { 1 };
    u64::from(limits.max_streams)
        .saturating_mul(call)
        .saturating_add(limits.memory_bound().total())
        .saturating_mul(tunnels)
}

impl<T: Trace> Session<T> {
    /// Bytes of memory held on the heap for what the peer has sent: what was received and not read,
    /// frames and messages that are not whole, metadata, records. Not what waits to be sent, which
    /// the caller gave.
    #[must_use]
    pub fn memory(&self) -> usize {
        fn of<R: Role>(tunnel: Option<&Tunnel<R, Growing>>) -> usize {
            tunnel.map_or(0, Tunnel::memory)
        }
        of(self.pipe.client())
            .saturating_add(of(self.pipe.server()))
            .saturating_add(self.frames.memory())
            .saturating_add(self.calls.memory())
    }

    /// What [`memory`](Self::memory) never exceeds, whatever the peer does: for each tunnel
    /// [`Limits::memory_bound`](crate::Limits::memory_bound), and for each stream one message of
    /// the largest size and the records of the call and its metadata.
    #[must_use]
    pub const fn memory_bound(&self) -> u64 {
        self.memory_bound
    }
}
