//! Gathering the frames that a tunnel has to send.

use grpctunnel_core::{Body, Part, Transmit};

use crate::deferred::Deferred;
use crate::tunnel::state::{State, TunnelRole};

impl<R: TunnelRole> State<R> {
    /// Gathers frames until there are `limit` bytes or nothing more to send.
    pub(crate) fn gather(&mut self, limit: usize, deferred: &mut Deferred) {
        while self.outgoing.batch.len() < limit {
            match self.tunnel.poll_transmit(self.now) {
                Some(transmit) => {
                    self.append(&transmit, limit, deferred);
                    self.handle_events(deferred);
                }
                // Handling events may give the core something to send.
                None if self.handle_events(deferred) => {}
                None => return,
            }
        }
    }

    /// Appends a frame to the batch.
    fn append(&mut self, transmit: &Transmit, limit: usize, deferred: &mut Deferred) {
        let batch = &mut self.outgoing.batch;
        if batch.capacity().saturating_sub(batch.len()) < transmit.prefix.len() {
            // One allocation for many frames: what was handed out shares it until it is full.
            batch.reserve(limit.saturating_add(limit / 4));
        }
        batch.extend_from_slice(&transmit.prefix);
        match &transmit.body {
            Body::None => {}
            Body::Static(text) => batch.extend_from_slice(text.as_bytes()),
            Body::Caller {
                stream,
                part,
                range,
            } => {
                let (Ok(start), Ok(end)) =
                    (usize::try_from(range.start), usize::try_from(range.end))
                else {
                    return;
                };
                let Some(entry) = self.streams.get(*stream) else {
                    return;
                };
                let head = match part {
                    Part::Message => {
                        let len = end.saturating_sub(start);
                        entry.outbox.take(len, batch, deferred);
                        entry.offer_room(&self.options, deferred);
                        return;
                    }
                    Part::Open => {
                        self.silence.sent_call(self.now);
                        &entry.head
                    }
                    Part::Headers => &entry.head,
                    Part::Close => &entry.close,
                };
                batch.extend_from_slice(head.get(start..end).unwrap_or_default());
            }
        }
    }
}
