//! What a tunnel client does with its streams.

use std::sync::Arc;

use grpctunnel_core::{Client, CommandError, Key, Side, Unread};

use crate::after::After;
use crate::shared::Shared;
use crate::state::{Half, State};
use crate::status::Status;
use crate::stream::{Ending, Finish};

impl Half for Client {
    const END: Side = Side::Client;

    fn finish(state: &mut State<Self>, stream: Key, _finish: Finish) -> Result<(), CommandError> {
        state.tunnel.half_close(stream)
    }

    fn refuse(state: &mut State<Self>, stream: Key, status: Status, after: &mut After) {
        state.fail(stream, Ending::status(status), after);
    }

    /// The entry stays until its reader has taken the end.
    fn ended(_state: &mut State<Self>, _stream: Key, _after: &mut After) {}
}

impl State<Client> {
    /// Ends a call here, and cancels it there.
    pub(crate) fn fail(&mut self, stream: Key, ending: Ending, after: &mut After) {
        if let Some(entry) = self.streams.get(stream) {
            entry.end(ending, Unread::Discard, after);
        }
        // Gone: it has ended by itself.
        let _ = self.tunnel.cancel(stream);
    }

    /// Nobody is interested in the call any more. If it has not ended, it is cancelled.
    pub(crate) fn release(&mut self, stream: Key, after: &mut After) {
        if let Some(entry) = self.streams.get(stream) {
            after.wake(&mut entry.writer);
        }
        self.streams.remove(stream, after);
        // It may be gone already.
        let _ = self.tunnel.release(stream);
    }
}

/// A call that was opened. Dropping it releases it.
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
                .with(|state, after| state.release(self.stream, after));
        }
    }
}
