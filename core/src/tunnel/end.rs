//! How streams end, retire, and how the tunnel does.

use super::{Phase, Role, Tunnel};
use crate::budget::Earned;
use crate::code::Side;
use crate::error::TunnelError;
use crate::reason::{Reason, StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::streams::{Ended, NO_ID, Notice, Report, Slot, Streams, Terminal};
use crate::time::Time;
use crate::types::{Carrier, Cause, Unread};
use crate::wire::Revision;

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Ends a stream, and tells the peer where it does not know. Its terminal state is written
    /// once: a second end changes nothing.
    pub(super) fn end_stream(&mut self, slot: Slot, why: Terminal, unread: Unread) {
        self.end_and_report(slot, why, unread, Report::Nothing);
    }

    /// Ends a stream whose end no frame tells.
    pub(super) fn end_with_event(&mut self, slot: Slot, why: Terminal, unread: Unread) {
        self.end_and_report(slot, why, unread, Report::Event);
    }

    fn end_and_report(&mut self, slot: Slot, why: Terminal, unread: Unread, report: Report) {
        let peer_listens = self.phase == Phase::Open;
        let stream = self.streams.get(slot);
        if stream.has_ended() {
            return;
        }
        let early = !stream.receive.is_finished();
        let in_flight = match stream.revision {
            Revision::One => stream.receive.window().available(),
            Revision::Zero => self.limits.revision_zero.stream,
        };
        let notice = match R::SIDE {
            _ if !peer_listens => Notice::Nothing,
            Side::Client if stream.id() != NO_ID && early => Notice::Cancel,
            Side::Client => Notice::Nothing,
            Side::Server => close_reason(why).map_or(Notice::Nothing, |_| Notice::Close),
        };
        // A client that ends the stream itself knows that what it sends behind that is useless.
        // A server may not: a Go handler can go on sending behind its own end.
        if (early || R::SIDE == Side::Client) && why != Terminal::PeerCancelled {
            self.budget.earn(Earned::EndedEarly(in_flight));
        }
        self.forget_unread(slot);
        self.end_growth(slot, unread == Unread::Deliver);
        let end = Ended {
            why,
            unread,
            report,
            notice,
        };
        self.streams.end(slot, end);
        self.retire(slot);
    }

    /// Frees the slot of a stream of which nothing is needed any more.
    pub(super) fn retire(&mut self, slot: Slot) {
        if !self.streams.get(slot).is_retired() {
            return;
        }
        self.release_growth(slot);
        self.streams.remove(slot);
        if core::mem::take(&mut self.may_open_wanted) {
            self.notices.may_open();
        }
    }

    /// A held OK goes out now.
    pub(super) fn end_hold(&mut self, slot: Slot) {
        let stream = self.streams.get_mut(slot);
        if stream.send.release_hold() {
            let deadline = stream.deadline();
            self.streams.set_timers(slot, deadline, Time::MAX);
            self.streams.queue_data(slot);
        }
    }

    /// Ends every stream, each with an event.
    pub(super) fn end_all(&mut self, cause: TunnelReason) {
        let unread = match R::SIDE {
            Side::Client => Unread::Deliver,
            Side::Server => Unread::Discard,
        };
        let mut walk = Streams::<S>::walk();
        while let Some(slot) = walk.next(&self.streams) {
            let sent = self.streams.get(slot).on_wire(R::SIDE);
            self.end_with_event(slot, Terminal::lost(cause, sent), unread);
        }
    }

    /// The tunnel is over: nothing more is transmitted.
    pub(super) fn end_tunnel(&mut self, cause: TunnelReason, carrier: Carrier) {
        self.phase = Phase::Ended;
        self.phase_until = Time::MAX;
        self.drain.end();
        self.handshake.end();
        self.notices.forget_peer();
        self.refusals.clear();
        self.end_all(cause);
        let mut walk = Streams::<S>::walk();
        while let Some(slot) = walk.next(&self.streams) {
            self.streams.drop_notice(slot);
            self.retire(slot);
        }
        self.notices.carrier(carrier);
    }

    /// Gives the tunnel up for a reason that the caller found: a frame that its framer refused,
    /// a carrier that makes no progress. Returns the error that ended the tunnel, which is the
    /// first one if it had ended before; `None` if it had ended without one.
    ///
    /// A reason that ends a stream does not end a tunnel:
    ///
    /// ```compile_fail,E0308
    /// # use grpctunnel_core::*;
    /// # fn give_up(tunnel: &mut TunnelClient<Fixed<1, 1>>) {
    /// tunnel.abort(Time::ZERO, StreamReason::Truncated);
    /// # }
    /// ```
    pub fn abort(&mut self, now: Time, reason: TunnelReason) -> Option<TunnelError> {
        self.handle_timeout(now);
        match self.phase {
            Phase::Ended => self.error.clone(),
            _ => Some(self.end_with_error(reason)),
        }
    }

    /// The tunnel has failed. The first error is kept, and returned.
    pub(super) fn end_with_error(&mut self, reason: TunnelReason) -> TunnelError {
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
            (Phase::Open, Cause::Finished) => {
                (TunnelReason::CarrierFinished, Some(Carrier::Finish))
            }
            (_, Cause::Finished) => (TunnelReason::CarrierFinished, None),
            (_, Cause::Failed) => (TunnelReason::CarrierFailed, None),
        };
        let error = TunnelError::new(R::SIDE, reason);
        let carrier = carrier.unwrap_or_else(|| Carrier::Abort(error.clone()));
        self.error.get_or_insert(error);
        self.end_tunnel(reason, carrier);
    }
}

/// What the tunnel server says about an end that is not its caller's `close`.
pub(super) fn close_reason(why: Terminal) -> Option<Reason> {
    match why {
        Terminal::PeerCancelled | Terminal::Cancelled => Some(StreamReason::Cancelled.into()),
        Terminal::Deadline => Some(StreamReason::DeadlineExceeded.into()),
        Terminal::Violation(reason) => Some(reason.into()),
        Terminal::TunnelLost(cause) | Terminal::NotProcessed(cause) => Some(cause.into()),
        Terminal::Closed | Terminal::Status => None,
    }
}
