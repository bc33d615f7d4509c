//! One stream of a tunnel, borrowed from it: what can be asked of it.

use core::fmt;

use super::{Role, Tunnel};
use crate::storage::Storage;
use crate::streams::Stream;
use crate::types::Key;
use crate::wire::Revision;

/// A stream as [`Tunnel::inspect`] finds it, ended or not.
#[derive(Clone, Copy)]
pub struct StreamRef<'t> {
    record: &'t Stream,
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Looks a stream up, for questions. `None`: it has ended and was released, or the key is none
    /// of this tunnel's.
    #[must_use]
    pub fn inspect(&self, key: Key) -> Option<StreamRef<'_>> {
        self.streams.find(key).map(StreamRef::new)
    }
}

impl<'t> StreamRef<'t> {
    pub(super) const fn new(record: &'t Stream) -> Self {
        Self { record }
    }

    /// Its id on the wire; `None` before it has one.
    #[must_use]
    pub fn id(&self) -> Option<i64> {
        let id = self.record.id();
        (id >= 0).then_some(id)
    }

    /// Whether it has ended: it takes no more commands.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.record.has_ended()
    }

    /// The revision that it follows: whether it has flow control.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.record.revision
    }

    /// Whether it has bytes to send and only the peer's credit is missing.
    #[must_use]
    pub fn is_blocked_on_credit(&self) -> bool {
        let Self { record } = self;
        !record.has_ended() && record.send.is_blocked_on_credit(record.revision)
    }

    /// Bytes that the peer may send without a further grant; `None` without flow control.
    #[must_use]
    pub fn receive_credit(&self) -> Option<u32> {
        let Self { record } = self;
        (record.revision == Revision::One).then(|| record.receive.window().available())
    }

    /// Bytes of its receive window: what the peer may send before any of it is consumed. `None`
    /// without flow control, and once it has ended.
    #[must_use]
    pub fn receive_window(&self) -> Option<u32> {
        let Self { record } = self;
        let live = record.revision == Revision::One && !record.has_ended();
        live.then(|| record.receive.window().size())
    }

    /// Bytes that came without having been consumed.
    #[must_use]
    pub fn unread(&self) -> u32 {
        self.record.receive.window().unread()
    }

    /// What the peer's credit lets this end send; revision one only.
    #[cfg(feature = "search")]
    #[must_use]
    pub fn send_credit(&self) -> Option<u32> {
        let Self { record } = self;
        (record.revision == Revision::One).then(|| record.send.credit())
    }
}

impl fmt::Debug for StreamRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRef")
            .field("id", &self.id())
            .field("revision", &self.revision())
            .field("ended", &self.has_ended())
            .field("unread", &self.unread())
            .finish_non_exhaustive()
    }
}
