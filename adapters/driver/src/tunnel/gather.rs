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
        let prefix = &transmit.prefix;
        let len = prefix.len().saturating_add(body_len(&transmit.body));
        // The last frame may go beyond the limit.
        let most = limit.saturating_add(limit / 4);
        let expected = self.queue.bytes().saturating_add(len).min(most);
        let buffer = self.outgoing.batch.buffer(len, expected);
        buffer.extend_from_slice(prefix);
        match &transmit.body {
            Body::None => {}
            Body::Static(text) => buffer.extend_from_slice(text.as_bytes()),
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
                        let len = len.saturating_sub(prefix.len());
                        entry.outbox.take(len, buffer, deferred);
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
                buffer.extend_from_slice(part.unwrap_or_default());
            }
        }
    }
}

fn body_len(body: &Body) -> usize {
    match body {
        Body::None => 0,
        Body::Static(text) => text.len(),
        Body::Caller { range, .. } => {
            let len = range.end.saturating_sub(range.start);
            usize::try_from(len).unwrap_or(usize::MAX)
        }
    }
}
