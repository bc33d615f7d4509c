//! What a frame means, done to the streams beside the core.

use std::sync::Arc;

use grpctunnel_core::receive_buffer::PushError;
use grpctunnel_core::wire::Metadata;
use grpctunnel_core::{Code, CommandError, Input, Key, Reason, Time};

use crate::after::After;
use crate::metadata::leaving;
use crate::shared::Shared;
use crate::state::{Half, State};
use crate::status::Status;

/// A call that came in.
pub(crate) struct Incoming<'f> {
    pub(crate) stream: Key,
    pub(crate) method: &'f str,
    pub(crate) metadata: Metadata<'f>,
    pub(crate) deadline: Option<Time>,
}

/// Takes in calls.
pub(crate) trait Intake<R: Half>: Send + 'static {
    /// A call came in: admits it, under the lock.
    fn admit(
        &mut self,
        shared: &Arc<Shared<R>>,
        state: &mut State<R>,
        call: Incoming<'_>,
        after: &mut After,
    );

    /// Starts what was admitted, outside the lock.
    fn start(&mut self, shared: &Arc<Shared<R>>);
}

impl<R: Half> State<R> {
    /// Does what the frame means. A call that came in is given back.
    pub(crate) fn input<'f>(
        &mut self,
        input: Input<'f>,
        after: &mut After,
    ) -> Option<Incoming<'f>> {
        match input {
            Input::Opened {
                stream,
                method,
                metadata,
                deadline,
            } => {
                return Some(Incoming {
                    stream,
                    method,
                    metadata,
                    deadline,
                });
            }
            Input::Headers { stream, metadata } => self.headers(stream, &metadata, after),
            Input::Data { discard: true, .. } => {}
            Input::Data {
                stream,
                bytes,
                begins,
                ends,
                ..
            } => {
                if let Some(entry) = self.streams.get(stream) {
                    entry.answered = true;
                    let pushed = entry.inbox.push(bytes, begins, ends);
                    after.wake(&mut entry.reader);
                    if let Err(error) = pushed {
                        self.refuse_data(stream, error, after);
                    }
                }
            }
            Input::HalfClosed { stream } => {
                if let Some(entry) = self.streams.get(stream) {
                    entry.half_closed = true;
                    after.wake(&mut entry.reader);
                }
            }
            Input::Ended {
                stream,
                why,
                unread,
            } => self.ended(stream, &why, unread, after),
            _ => {}
        }
        None
    }

    fn headers(&mut self, stream: Key, metadata: &Metadata<'_>, after: &mut After) {
        let Some(entry) = self.streams.get(stream) else {
            return;
        };
        match leaving(metadata, self.options.bin_dialect) {
            Ok(headers) => {
                entry.headers = Some(headers);
                entry.answered = true;
                after.wake(&mut entry.reader);
            }
            Err(bad) => {
                let text = format!("the response headers cannot be handed on: {bad}");
                R::refuse(self, stream, Status::new(Code::Internal, text), after);
            }
        }
    }

    fn refuse_data(&mut self, stream: Key, error: PushError, after: &mut After) {
        let status = match error {
            PushError::Full => {
                let reason = Reason::ReceiveBufferFull;
                Status::new(reason.code(R::END), reason.text())
            }
            error => Status::new(Code::Internal, error.to_string()),
        };
        R::refuse(self, stream, status, after);
    }

    /// Reports bytes that a reader took.
    pub(crate) fn consumed(&mut self, stream: Key, bytes: u32) {
        if bytes == 0 {
            return;
        }
        let consumed = self.tunnel.consumed(stream, bytes);
        debug_assert!(
            matches!(consumed, Ok(()) | Err(CommandError::Gone)),
            "{consumed:?}"
        );
    }
}
