//! What the core has to say by itself.

use super::{Due, Role, Tunnel};
use crate::storage::Storage;
use crate::stream::{Flag, Terminal};
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
    #[must_use = "an event is not said again"]
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.front().is_none() && !self.due.any {
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
        while let Some(slot) = self.events.front() {
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

    fn stream_event(&mut self, slot: u32) -> Option<Event> {
        let key = self.slab.key(slot);
        let Some(stream) = self.slab.get_mut(slot) else {
            self.events.remove(&mut self.slab, slot);
            return None;
        };
        let writable = stream.flags.take(Flag::WritableDue) && stream.ended.is_none();
        let ended = stream.flags.take(Flag::EndDue);
        let unread = stream.unread;
        let why = stream.ended.filter(|_| ended).and_then(end);
        self.events.remove(&mut self.slab, slot);
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
