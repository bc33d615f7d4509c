//! What a tunnel server does beside the core: responses and the ends of calls.

use grpctunnel_core::wire::Encoded;
use grpctunnel_core::{CommandError, Hold, Key, MethodKind, Server, Side};
use http::HeaderMap;

use crate::deferred::Deferred;
use crate::grpc::status::Status;
use crate::options::Options;
use crate::tunnel::heads::{self, Head};
use crate::tunnel::state::{State, TunnelRole};
use crate::tunnel::stream::Finish;

impl TunnelRole for Server {
    const OWN_SIDE: Side = Side::Server;

    fn finish(state: &mut State<Self>, stream: Key, finish: Finish) -> Result<(), CommandError> {
        let Finish::Close { ok, hold } = finish else {
            return Ok(());
        };
        let Some(entry) = state.streams.get(stream) else {
            return Ok(());
        };
        let len = u32::try_from(entry.close.len()).unwrap_or(u32::MAX);
        let head = Encoded::kept(len, ok);
        let done = entry.task_done;
        let mut call = state.tunnel.stream(stream)?;
        call.close(state.now, head, Some(hold))?;
        if done {
            // It may be gone already.
            let _ = state.tunnel.release(stream);
        }
        Ok(())
    }

    fn fail_stream(state: &mut State<Self>, stream: Key, status: Status, deferred: &mut Deferred) {
        state.close(stream, &status, deferred);
    }

    fn stream_ended(state: &mut State<Self>, stream: Key, deferred: &mut Deferred) {
        if state
            .streams
            .get(stream)
            .is_some_and(|entry| entry.task_done)
        {
            // It may be gone already.
            let _ = state.tunnel.release(stream);
            state.streams.remove(stream, deferred);
        }
    }
}

/// How long the OK of a method waits for the half-close of its client.
pub(crate) fn hold(kind: MethodKind, options: &Options) -> Hold {
    let max = match kind {
        MethodKind::Bidi => return Hold::Never,
        MethodKind::Unknown => options.hold_unknown,
        MethodKind::Unary | MethodKind::ClientStreaming | MethodKind::ServerStreaming => {
            options.hold_known
        }
    };
    Hold::UntilHalfClose { max }
}

impl State<Server> {
    /// Ends a call with an error, after the message that is being sent.
    pub(crate) fn close(&mut self, stream: Key, status: &Status, deferred: &mut Deferred) {
        let (head, _) = heads::close(
            status,
            &HeaderMap::new(),
            self.tunnel.extensions(),
            &self.options,
        );
        let Some(entry) = self.streams.get(stream) else {
            return;
        };
        if entry.closing && entry.finish.is_none() {
            // The core knows the end, or refused it and ends the call by itself.
            // It may be gone already.
            let _ = self.tunnel.release(stream);
            return;
        }
        // This replaces an end that the core was not told yet.
        entry.closing = false;
        entry.outbox.stop();
        entry.set_close(head.bytes, false, Hold::Never);
        self.feed(stream, deferred);
    }

    /// Notes that the task of a call has ended.
    pub(crate) fn task_done(&mut self, stream: Key, deferred: &mut Deferred) {
        let Some(entry) = self.streams.get(stream) else {
            return;
        };
        entry.task_done = true;
        deferred.drop_waker(entry.writer.take());
        if entry.end.is_some() {
            // It may be gone already.
            let _ = self.tunnel.release(stream);
            self.streams.remove(stream, deferred);
        } else if entry.finish.is_none() {
            // Closed, or never to be closed; else `finish` releases it.
            // It may be gone already.
            let _ = self.tunnel.release(stream);
        }
    }

    /// Sends response headers.
    pub(crate) fn respond(&mut self, stream: Key, head: Vec<u8>) {
        let Some(entry) = self.streams.get(stream) else {
            return;
        };
        let len = u32::try_from(head.len()).unwrap_or(u32::MAX);
        // Refused where the call has ended, and where it is being closed.
        if let Ok(mut stream) = self.tunnel.stream(stream)
            && stream.respond(Encoded::kept(len, true)).is_ok()
        {
            entry.head = head;
        }
    }

    pub(crate) fn count_dropped(&mut self, head: &Head) {
        self.dropped = self.dropped.saturating_add(u64::from(head.dropped));
    }
}
