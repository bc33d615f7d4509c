//! Back-pressure where there is no flow control: bounds on what is left unread, and a stall
//! timer for the reader that everybody else waits for.

use super::{Role, Tunnel};
use crate::reason::StreamReason;
use crate::storage::Storage;
use crate::streams::{Flag, Slot, Stream, Terminal};
use crate::time::Time;
use crate::types::Unread;
use crate::wire::Revision;

/// What a tunnel knows about its streams without flow control.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RevisionZero {
    /// Unread bytes of all of them.
    unread: u64,
    /// How many are over their own budget.
    over: u32,
    /// Whether the tunnel has ever carried a stream with flow control: those must never wait.
    saw_flow_control: bool,
    /// Since when nothing is read.
    stalled_since: Option<Time>,
}

impl RevisionZero {
    pub(super) fn saw(&mut self, revision: Revision) {
        self.saw_flow_control |= revision == Revision::One;
    }

    /// Writes what decides the future.
    #[cfg(feature = "search")]
    pub(super) fn fingerprint<H: core::hash::Hasher>(&self, now: Time, state: &mut H) {
        use core::hash::Hash as _;

        let Self {
            unread,
            over,
            saw_flow_control,
            stalled_since,
        } = self;
        (unread, over, saw_flow_control).hash(state);
        stalled_since.map(|since| since.nanos_left(now)).hash(state);
    }
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    fn is_over_budget(&self) -> bool {
        let state = &self.revision_zero;
        state.over > 0 || state.unread > self.limits.revision_zero.tunnel
    }

    /// Whether the carrier may be read. False only where a peer without flow control sends
    /// faster than the application reads; it turns true again with `consumed`, an end or time.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.revision_zero.saw_flow_control || !self.is_over_budget()
    }

    /// Notes unread bytes of a stream without flow control.
    pub(super) fn note_unread(
        &mut self,
        now: Time,
        slot: Slot,
        bytes: u32,
    ) -> Result<(), StreamReason> {
        let limit = self.limits.revision_zero.stream;
        let stream = self.streams.get_mut(slot);
        if stream.revision == Revision::One {
            return Ok(());
        }
        let state = &mut self.revision_zero;
        state.unread = state.unread.saturating_add(u64::from(bytes));
        if stream.receive.unread() > limit && !stream.has(Flag::OverBudget) {
            stream.flags.set(Flag::OverBudget);
            state.over = state.over.saturating_add(1);
        }
        if self.revision_zero.saw_flow_control {
            // Nobody waits: the stream that goes over pays, and no other.
            let over_all = self.revision_zero.unread > self.limits.revision_zero.tunnel;
            return if over_all || stream.has(Flag::OverBudget) {
                Err(StreamReason::RevisionZeroBudget)
            } else {
                Ok(())
            };
        }
        if self.is_over_budget() {
            self.revision_zero.stalled_since.get_or_insert(now);
            self.liveness.pause();
            self.no_timer_before = Time::ZERO;
        }
        Ok(())
    }

    /// Notes that unread bytes of a stream without flow control are gone.
    pub(super) fn note_read(&mut self, slot: Slot, bytes: u32) {
        let limit = self.limits.revision_zero.stream;
        let stream = self.streams.get_mut(slot);
        if stream.revision == Revision::One {
            return;
        }
        let state = &mut self.revision_zero;
        state.unread = state.unread.saturating_sub(u64::from(bytes));
        if stream.has(Flag::OverBudget) && stream.receive.unread() <= limit {
            stream.flags.clear(Flag::OverBudget);
            state.over = state.over.saturating_sub(1);
        }
        if !self.is_over_budget() {
            self.revision_zero.stalled_since = None;
            self.no_timer_before = Time::ZERO;
        }
    }

    /// Notes that a stream has ended: what it left unread is its caller's alone.
    pub(super) fn forget_unread(&mut self, slot: Slot) {
        let stream = self.streams.get_mut(slot);
        if stream.revision == Revision::One {
            return;
        }
        let state = &mut self.revision_zero;
        let unread = u64::from(stream.receive.unread());
        state.unread = state.unread.saturating_sub(unread);
        if stream.flags.take(Flag::OverBudget) {
            state.over = state.over.saturating_sub(1);
        }
        if !self.is_over_budget() {
            self.revision_zero.stalled_since = None;
            self.no_timer_before = Time::ZERO;
        }
    }

    pub(super) fn stall_ends(&self) -> Time {
        match self.revision_zero.stalled_since {
            Some(since) if !self.revision_zero.saw_flow_control => {
                since.saturating_add(self.limits.revision_zero.stall)
            }
            _ => Time::MAX,
        }
    }

    /// Closes the stream that has the most unread, which is the one that everybody waits for.
    pub(super) fn end_stall(&mut self, now: Time) {
        self.revision_zero.stalled_since = None;
        let waits = |stream: &Stream| !stream.has_ended() && stream.revision == Revision::Zero;
        let slowest = self
            .streams
            .iter()
            .filter(|(_, stream)| waits(stream))
            .max_by_key(|(_, stream)| stream.receive.unread())
            .map(|(slot, _)| slot);
        if let Some(slot) = slowest {
            let why = Terminal::Violation(StreamReason::RevisionZeroBudget);
            self.end_with_event(slot, why, Unread::Deliver);
        }
        if self.is_over_budget() {
            self.revision_zero.stalled_since = Some(now);
        }
    }
}
