//! What a tunnel client does beside the core: its open calls.

use std::sync::Arc;

use grpctunnel_core::{Client, CommandError, Key, Side, StreamMut, Unread};

use crate::deferred::Deferred;
use crate::grpc::status::Status;
use crate::tunnel::call_end::CallEnd;
use crate::tunnel::input::{CallAcceptor, IncomingCall};
use crate::tunnel::shared::Shared;
use crate::tunnel::state::{State, TunnelRole};
use crate::tunnel::stream::Finish;

impl TunnelRole for Client {
    const OWN_SIDE: Side = Side::Client;

    fn finish(state: &mut State<Self>, stream: Key, _finish: Finish) -> Result<(), CommandError> {
        Ok(state.tunnel.stream(stream)?.half_close()?)
    }

    fn fail_stream(state: &mut State<Self>, stream: Key, status: Status, deferred: &mut Deferred) {
        state.fail(stream, CallEnd::status(status), deferred);
    }

    fn may_open(state: &mut State<Self>, deferred: &mut Deferred) {
        state.open_waiting(deferred);
    }

    /// The entry stays until its reader has taken the end.
    fn stream_ended(_state: &mut State<Self>, _stream: Key, _after: &mut Deferred) {}
}

impl State<Client> {
    /// Ends a call here, and cancels it at the peer.
    pub(crate) fn fail(&mut self, stream: Key, end: CallEnd, deferred: &mut Deferred) {
        if let Some(entry) = self.streams.get(stream) {
            entry.set_end(end, Unread::Discard, deferred);
        }
        // Gone: it has ended already.
        let _ = self.tunnel.stream(stream).map(StreamMut::cancel);
    }

    /// Removes a call that nobody reads. If it has not ended, it is cancelled.
    pub(crate) fn release(&mut self, stream: Key, deferred: &mut Deferred) {
        if let Some(entry) = self.streams.get(stream) {
            deferred.wake(&mut entry.writer);
        }
        self.streams.remove(stream, deferred);
        // It may be gone already.
        let _ = self.tunnel.release(stream);
    }
}

/// An open call. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared<Client>>,
    pub(crate) stream: Key,
    /// It was released already.
    pub(crate) released: bool,
}

impl Call {
    pub(crate) const fn new(shared: Arc<Shared<Client>>, stream: Key) -> Self {
        Self {
            shared,
            stream,
            released: false,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.released {
            self.shared
                .with(|state, deferred| state.release(self.stream, deferred));
        }
    }
}

/// The acceptor of a tunnel client, which gets no calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoAcceptor;

impl CallAcceptor<Client> for NoAcceptor {
    fn accept(
        &mut self,
        _shared: &Arc<Shared<Client>>,
        _state: &mut State<Client>,
        _call: IncomingCall<'_>,
        _deferred: &mut Deferred,
    ) {
    }

    fn spawn_accepted(&mut self, _shared: &Arc<Shared<Client>>) {}
}
