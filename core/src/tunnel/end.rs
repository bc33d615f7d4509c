//! How streams end, retire, and how the tunnel does.

use super::{Phase, Role, Tunnel};
use crate::budget::Earned;
use crate::error::{Reason, Side, TunnelError};
use crate::storage::Storage;
use crate::stream::{Close, Flag, NO_ID, Terminal};
use crate::time::Time;
use crate::types::{Carrier, Cause, Unread};
use crate::wire::Revision;

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Ends a stream, and tells the peer where it does not know. Its terminal state is written
    /// once: a second end changes nothing.
    pub(super) fn end_stream(&mut self, slot: u32, why: Terminal, unread: Unread) {
        let peer_listens = self.phase == Phase::Open;
        let Some(stream) = self.slab.get_mut(slot) else {
            return;
        };
        if stream.ended.is_some() {
            return;
        }
        stream.ended = Some(why);
        stream.unread = unread;
        let id = stream.id;
        let early = !stream.has(Flag::PeerDone);
        let in_flight = match stream.revision {
            Revision::One => stream.receive.available(),
            Revision::Zero => self.limits.revision_zero.stream,
        };
        if peer_listens {
            match R::SIDE {
                Side::Client if id != NO_ID && early => stream.flags.set(Flag::CancelDue),
                Side::Client => {}
                Side::Server => stream.close_due = close_reason(why),
            }
        }
        let has_control = stream.has_control();
        // A client that ends the stream itself knows that what it sends behind that is useless.
        // A server may not: a Go handler can go on sending behind its own end.
        if (early || R::SIDE == Side::Client) && why != Terminal::PeerCancelled {
            self.budget.earn(Earned::EndedEarly(in_flight));
        }
        self.forget_unread(slot);
        self.end_growth(slot, unread == Unread::Deliver);
        self.timers.update(&mut self.slab, slot);
        self.leave_data(slot);
        self.control.remove(&mut self.slab, slot);
        if has_control {
            self.control.push_back(&mut self.slab, slot);
        }
        if id == NO_ID {
            self.unsent = self.unsent.saturating_sub(1);
        } else {
            self.index.remove(&self.slab, id);
        }
        self.active = self.active.saturating_sub(1);
        self.retire(slot);
    }

    /// Ends a stream whose end no frame tells.
    pub(super) fn end_with_event(&mut self, slot: u32, why: Terminal, unread: Unread) {
        match self.slab.get_mut(slot) {
            Some(stream) if stream.ended.is_none() => stream.flags.set(Flag::EndDue),
            _ => return,
        }
        self.events.push_back(&mut self.slab, slot);
        self.end_stream(slot, why, unread);
    }

    /// Takes a stream out of the data queue; the next one starts with a whole quantum.
    pub(super) fn leave_data(&mut self, slot: u32) {
        if self.data.front() == Some(slot) {
            self.spent = 0;
        }
        self.data.remove(&mut self.slab, slot);
    }

    /// Frees the slot of a stream of which nothing is needed any more.
    pub(super) fn retire(&mut self, slot: u32) {
        let retired = self
            .slab
            .get(slot)
            .is_some_and(|stream| stream.has(Flag::InUse) && stream.is_retired());
        if !retired {
            return;
        }
        self.events.remove(&mut self.slab, slot);
        self.control.remove(&mut self.slab, slot);
        self.leave_data(slot);
        self.release_growth(slot);
        self.slab.remove(slot);
        if core::mem::take(&mut self.may_open_wanted) {
            self.say().may_open = true;
        }
    }

    /// A held OK goes out now.
    pub(super) fn end_hold(&mut self, slot: u32) {
        if let Some(stream) = self.slab.get_mut(slot)
            && stream.send.close == Close::Held
        {
            stream.send.close = Close::Pending;
            stream.hold_until = Time::MAX;
            self.timers.update(&mut self.slab, slot);
            self.schedule(slot);
        }
    }

    /// Ends every stream, each with an event.
    pub(super) fn end_all(&mut self, cause: Reason) {
        let unread = match R::SIDE {
            Side::Client => Unread::Deliver,
            Side::Server => Unread::Discard,
        };
        for slot in 0..self.slab.slots_ever() {
            let Some(stream) = self.slab.get(slot).filter(|stream| stream.has(Flag::InUse)) else {
                continue;
            };
            let sent = stream.on_wire(R::SIDE);
            self.end_with_event(slot, Terminal::lost(cause, sent), unread);
        }
    }

    /// The tunnel is over: nothing more is transmitted.
    pub(super) fn end_tunnel(&mut self, cause: Reason, carrier: Carrier) {
        self.phase = Phase::Ended;
        self.phase_until = Time::MAX;
        self.drain_until = Time::MAX;
        self.settings_due = false;
        self.drain_due = false;
        self.extensions_due = false;
        self.due.responsive = None;
        self.due.round_trip = None;
        self.rejections = S::Queue::default();
        self.end_all(cause);
        for slot in 0..self.slab.slots_ever() {
            if let Some(stream) = self.slab.get_mut(slot) {
                stream.flags.clear(Flag::CancelDue);
                stream.close_due = None;
            }
            self.control.remove(&mut self.slab, slot);
            self.retire(slot);
        }
        self.say().carrier = Some(carrier);
    }

    /// Gives the tunnel up for a reason that the caller found: a frame that its framer refused,
    /// a carrier that makes no progress. Returns the error that ended the tunnel, which is the
    /// first one if it had ended before; `None` if it had ended without one.
    pub fn abort(&mut self, now: Time, reason: Reason) -> Option<TunnelError> {
        self.handle_timeout(now);
        match self.phase {
            Phase::Ended => self.error.clone(),
            _ => Some(self.end_with_error(reason)),
        }
    }

    /// The tunnel has failed. The first error is kept, and returned.
    pub(super) fn end_with_error(&mut self, reason: Reason) -> TunnelError {
        let error = self
            .error
            .get_or_insert_with(|| TunnelError::new(R::SIDE, reason))
            .clone();
        if self.phase != Phase::Ended {
            self.end_tunnel(reason, Carrier::Abort(error.clone()));
        }
        error
    }

    /// The carrier ended, in whatever way the caller saw. Every open stream is lost, and at a
    /// tunnel client that has not settled the opening has failed.
    pub fn handle_end(&mut self, now: Time, cause: Cause) {
        self.handle_timeout(now);
        let (reason, carrier) = match (self.phase, cause) {
            (Phase::Ended, _) => return,
            (Phase::Finished, _) => {
                self.phase = Phase::Ended;
                self.phase_until = Time::MAX;
                return;
            }
            (Phase::Open, Cause::Finished) => (Reason::CarrierFinished, Some(Carrier::Finish)),
            (_, Cause::Finished) => (Reason::CarrierFinished, None),
            (_, Cause::Failed) => (Reason::CarrierFailed, None),
        };
        let error = TunnelError::new(R::SIDE, reason);
        let carrier = carrier.unwrap_or_else(|| Carrier::Abort(error.clone()));
        self.error.get_or_insert(error);
        self.end_tunnel(reason, carrier);
    }
}

/// What the tunnel server says about an end that is not its caller's `close`.
const fn close_reason(why: Terminal) -> Option<Reason> {
    match why {
        Terminal::PeerCancelled | Terminal::Cancelled => Some(Reason::Cancelled),
        Terminal::Deadline => Some(Reason::DeadlineExceeded),
        Terminal::Violation(reason) => Some(reason),
        Terminal::TunnelLost(cause) | Terminal::NotProcessed(cause) => Some(cause),
        Terminal::Closed | Terminal::Status => None,
    }
}
