//! Gathering the frames that a tunnel has to send.

use grpctunnel_core::{Body, Part, Transmit};

use crate::deferred::Deferred;
use crate::tunnel::state::{State, TunnelRole};

impl<R: TunnelRole> State<R> {
    /// Gathers frames until there are `limit` bytes or nothing more to send. Returns whether nothing
    /// is left.
    pub(crate) fn gather(&mut self, limit: usize, deferred: &mut Deferred) -> bool {
        while self.outgoing.batch.len() < limit {
            match self.tunnel.poll_transmit(self.now) {
                Some(transmit) => {
                    self.append(&transmit, deferred);
                    self.handle_events(deferred);
                }
                // Handling events may give the core something to send.
                None if self.handle_events(deferred) => {}
                None => return true,
            }
        }
        false
    }

    /// Appends a frame to the batch.
    fn append(&mut self, transmit: &Transmit, deferred: &mut Deferred) {
        let batch = &mut self.outgoing.batch;
        batch.push_head(&transmit.prefix);
        match &transmit.body {
            Body::None => {}
            Body::Static(text) => batch.push_head(text.as_bytes()),
            Body::Caller {
                stream,
                part,
                range,
            } => {
                let Some(entry) = self.streams.get(*stream) else {
                    return;
                };
                let head = match part {
                    Part::Message => {
                        let len = range.end.saturating_sub(range.start);
                        let len = usize::try_from(len).unwrap_or(usize::MAX);
                        entry.outbox.take(len, batch);
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
                let range = usize::try_from(range.start)
                    .ok()
                    .zip(usize::try_from(range.end).ok());
                let part = range.and_then(|(start, end)| head.get(start..end));
                batch.push_head(part.unwrap_or_default());
            }
        }
    }
}
