//! How a stream of a tunnel ends.

use super::{Phase, Role, Tunnel};
use crate::budget::Earned;
use crate::code::Side;
use crate::reason::{Reason, StreamReason};
use crate::storage::Storage;
use crate::streams::{Ended, NO_ID, Notice, Report, Slot, Terminal};
use crate::time::Time;
use crate::types::Unread;
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
