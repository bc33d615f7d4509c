//! Back-pressure where there is no flow control.
//!
//! What is left unread has bounds, and the reader that everybody else waits for has a stall timer.

mod state;

use super::{Role, Tunnel};
use crate::reason::StreamReason;
use crate::storage::Storage;
use crate::streams::{Slot, Stream, Terminal};
use crate::time::Time;
use crate::types::Unread;
use crate::wire::Revision;
pub(super) use state::RevisionZero;
use state::Unbounded;

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Whether the carrier may be read. False only where a peer without flow control sends
    /// faster than the application reads; it turns true again with `consumed`, an end or time.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.revision_zero.wants_read(&self.limits.revision_zero)
    }

    /// Notes unread bytes of a stream without flow control.
    pub(super) fn note_unread(
        &mut self,
        now: Time,
        slot: Slot,
        bytes: u32,
    ) -> Result<(), StreamReason> {
        let stream = self.streams.get_mut(slot);
        let limits = &self.limits.revision_zero;
        match self.revision_zero.note_unread(now, stream, bytes, limits) {
            Unbounded::Within => Ok(()),
            Unbounded::Refused => Err(StreamReason::RevisionZeroBudget),
            Unbounded::Stalls => {
                self.liveness.pause();
                self.no_timer_before = Time::ZERO;
                Ok(())
            }
        }
    }

    /// Notes that unread bytes of a stream without flow control are gone.
    pub(super) fn note_read(&mut self, slot: Slot, bytes: u32) {
        let stream = self.streams.get_mut(slot);
        let limits = &self.limits.revision_zero;
        if self.revision_zero.note_read(stream, bytes, limits) {
            self.no_timer_before = Time::ZERO;
        }
    }

    /// Notes that a stream has ended: what it left unread is its caller's alone.
    pub(super) fn forget_unread(&mut self, slot: Slot) {
        let stream = self.streams.get_mut(slot);
        let limits = &self.limits.revision_zero;
        if self.revision_zero.forget(stream, limits) {
            self.no_timer_before = Time::ZERO;
        }
    }

    pub(super) fn stall_ends(&self) -> Time {
        self.revision_zero.stall_ends(&self.limits.revision_zero)
    }

    /// Closes the stream that has the most unread, which is the one that everybody waits for.
    pub(super) fn end_stall(&mut self, now: Time) {
        let waits = |stream: &Stream| !stream.has_ended() && stream.revision == Revision::Zero;
        let slowest = self
            .streams
            .iter()
            .filter(|(_, stream)| waits(stream))
            .max_by_key(|(_, stream)| stream.receive.window().unread())
            .map(|(slot, _)| slot);
        if let Some(slot) = slowest {
            let why = Terminal::Violation(StreamReason::RevisionZeroBudget);
            self.end_with_event(slot, why, Unread::Deliver);
        }
        self.revision_zero
            .stall_again(now, &self.limits.revision_zero);
    }
}
