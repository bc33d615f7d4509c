//! The events of a tunnel, in their order.

use super::{Role, Tunnel};
use crate::storage::Storage;
use crate::streams::{Mark, Slot, Terminal};
use crate::types::{End, Event};

const fn end(why: Terminal) -> Option<End<'static>> {
    Some(match why {
        // Reported as `Input::Ended` only, with what the frame holds.
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
    #[must_use = "each event is reported once"]
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.streams.has_events() && !self.notices.any() {
            return None;
        }
        self.next_event()
    }

    fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.notices.first() {
            return Some(event);
        }
        while let Some(slot) = self.streams.pop_event() {
            if let Some(event) = self.stream_event(slot) {
                return Some(event);
            }
        }
        let opens = self.is_open() && !self.drain.began();
        self.notices.last(opens)
    }

    fn stream_event(&mut self, slot: Slot) -> Option<Event> {
        let stream = self.streams.get_mut(slot);
        let key = stream.key(slot);
        if stream.marks.take(Mark::WritableDue) && !stream.has_ended() {
            return Some(Event::Writable(key));
        }
        let (why, unread) = stream.take_report()?;
        self.retire(slot);
        end(why).map(|why| Event::Ended {
            stream: key,
            why,
            unread,
        })
    }
}
