//! What the core has to say by itself.

use super::{Due, Role, Tunnel};
use crate::storage::Storage;
use crate::streams::{Flag, Slot, Terminal};
use crate::types::{End, Event};

const fn end(why: Terminal) -> Option<End<'static>> {
    Some(match why {
        // Only ever told as `Input::Ended`, with what the frame holds.
        Terminal::Status => return None,
        Terminal::PeerCancelled => End::PeerCancelled,
        Terminal::Cancelled => End::Cancelled,
        Terminal::Deadline => End::Deadline,
        Terminal::Violation(reason) => End::Violation(reason),
        Terminal::TunnelLost(cause) => End::TunnelLost { cause, sent: true },
        Terminal::NotProcessed(cause) => End::TunnelLost { cause, sent: false },
        Terminal::Closed => End::Closed,
    })
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// The next event. To be polled until there is none, after every call that is not a getter;
    /// the end of the carrier comes after the ends of all streams.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.streams.has_events() && !self.due.any {
            return None;
        }
        self.next_event()
    }

    /// Something about the tunnel is to be said.
    pub(super) const fn say(&mut self) -> &mut Due {
        self.due.any = true;
        &mut self.due
    }

    fn next_event(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.due.settled) {
            return Some(Event::Settled(self.revision));
        }
        while let Some(slot) = self.streams.pop_event() {
            if let Some(event) = self.stream_event(slot) {
                return Some(event);
            }
        }
        if let Some(responsive) = self.due.responsive.take() {
            return Some(Event::Responsive(responsive));
        }
        if let Some(round_trip) = self.due.round_trip.take() {
            return Some(Event::RoundTrip(round_trip));
        }
        if core::mem::take(&mut self.due.draining) {
            return Some(Event::Draining);
        }
        if core::mem::take(&mut self.due.may_open) && !self.draining && self.is_open() {
            return Some(Event::MayOpen);
        }
        self.due.any = false;
        self.due.carrier.take().map(Event::Carrier)
    }

    fn stream_event(&mut self, slot: Slot) -> Option<Event> {
        let key = self.streams.key(slot);
        let stream = self.streams.get_mut(slot);
        let writable = stream.flags.take(Flag::WritableDue) && !stream.has_ended();
        let ended = stream.flags.take(Flag::EndDue);
        let (terminal, unread) = stream.ended();
        let why = terminal.filter(|_| ended).and_then(end);
        if writable {
            return Some(Event::Writable(key));
        }
        self.retire(slot);
        why.map(|why| Event::Ended {
            stream: key,
            why,
            unread,
        })
    }
}
