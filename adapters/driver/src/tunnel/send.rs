//! Sending what was read from a body.

use std::task::Context;

use grpctunnel_core::Key;

use crate::body::reader::BodyReader;
use crate::deferred::Deferred;
use crate::telemetry;
use crate::tunnel::state::{State, TunnelRole};

/// What the task that sends does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendProgress {
    /// Read the body again: there is room, and reading had stopped for want of it.
    ReadMore,
    /// Wait: the task is woken when there is something to do.
    Wait,
    /// Stop: the stream has ended.
    Ended,
}

impl<R: TunnelRole> State<R> {
    /// Sends what was read from a body on its stream. The task is woken when there is room for more,
    /// or when the stream has ended.
    pub(crate) fn send(
        &mut self,
        cx: &Context<'_>,
        stream: Key,
        reader: &mut BodyReader,
        deferred: &mut Deferred,
    ) -> SendProgress {
        let Some(entry) = self.streams.get(stream) else {
            return SendProgress::Ended;
        };
        if entry.end.is_some() {
            return SendProgress::Ended;
        }
        let was_stopped = reader.move_to(&mut entry.outbox);
        deferred.register(&mut entry.writer, cx.waker());
        self.feed(stream, deferred);
        let Some(entry) = self.streams.get(stream) else {
            return SendProgress::Ended;
        };
        let room = reader.has_room_beside(entry.outbox.cost(), &self.options);
        if !room && !entry.wants_room {
            telemetry::held_back(R::OWN_SIDE);
        }
        entry.wants_room = !room;
        if was_stopped && room {
            SendProgress::ReadMore
        } else {
            SendProgress::Wait
        }
    }
}
