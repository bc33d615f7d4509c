//! Applying what the core reads from a frame to the streams.

use std::sync::Arc;

use grpctunnel_core::receive_buffer::PushError;
use grpctunnel_core::wire::Metadata;
use grpctunnel_core::{Code, Input, Key, StreamReason, Time};

use crate::body::inbox::Source;
use crate::deferred::Deferred;
use crate::grpc::metadata::{ReadOptions, to_headers};
use crate::grpc::status::Status;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::{State, TunnelRole};

/// A call that the peer opened.
pub(crate) struct IncomingCall<'f> {
    pub(crate) stream: Key,
    pub(crate) method: &'f str,
    pub(crate) metadata: Metadata<'f>,
    pub(crate) deadline: Option<Time>,
}

/// What a tunnel does with calls that the peer opens.
pub(crate) trait CallAcceptor<R: TunnelRole>: Send + 'static {
    /// Accepts a call, under the lock.
    fn accept(
        &mut self,
        shared: &Arc<Shared<R>>,
        state: &mut State<R>,
        call: IncomingCall<'_>,
        deferred: &mut Deferred,
    );

    /// Looks after the calls that were accepted since, under the same lock.
    fn look_after(&mut self, _state: &mut State<R>, _deferred: &mut Deferred) {}

    /// Starts the tasks of the calls that were accepted, without the lock.
    fn spawn_accepted(&mut self, shared: &Arc<Shared<R>>);
}

impl<R: TunnelRole> State<R> {
    /// Applies the input, whose payload is in `source` if that is known. Returns a call that the peer
    /// opened.
    pub(crate) fn handle_input<'f>(
        &mut self,
        input: Input<'f>,
        source: Option<&Source<'_>>,
        deferred: &mut Deferred,
    ) -> Option<IncomingCall<'f>> {
        match input {
            Input::Opened {
                stream,
                method,
                metadata,
                deadline,
            } => {
                return Some(IncomingCall {
                    stream,
                    method,
                    metadata,
                    deadline,
                });
            }
            Input::Headers { stream, metadata } => self.handle_headers(stream, &metadata, deferred),
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
                    let pushed = entry.inbox.push(bytes, source, begins, ends);
                    entry.count_unread();
                    deferred.wake(&mut entry.reader);
                    if let Err(error) = pushed {
                        self.fail_push(stream, error, deferred);
                    }
                }
            }
            Input::HalfClosed { stream } => {
                if let Some(entry) = self.streams.get(stream) {
                    entry.half_closed = true;
                    deferred.wake(&mut entry.reader);
                }
            }
            Input::Ended {
                stream,
                why,
                unread,
            } => self.end_stream(stream, &why, unread, deferred),
            _ => {}
        }
        None
    }

    /// How the peer's metadata is read.
    pub(crate) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            extensions: self.tunnel.extensions(),
            dialect: self.options.bin_dialect,
        }
    }

    fn handle_headers(&mut self, stream: Key, metadata: &Metadata<'_>, deferred: &mut Deferred) {
        let options = self.read_options();
        let Some(entry) = self.streams.get(stream) else {
            return;
        };
        match to_headers(metadata, options) {
            Ok(headers) => {
                entry.headers = Some(headers);
                entry.answered = true;
                deferred.wake(&mut entry.reader);
            }
            Err(bad) => {
                let text = format!("the response headers cannot be passed on: {bad}");
                R::fail_stream(self, stream, Status::new(Code::Internal, text), deferred);
            }
        }
    }

    fn fail_push(&mut self, stream: Key, error: PushError, deferred: &mut Deferred) {
        let status = match error {
            PushError::Full => {
                let reason = StreamReason::ReceiveBufferFull;
                Status::new(reason.code(R::OWN_SIDE), reason.text())
            }
            error => Status::new(Code::Internal, error.to_string()),
        };
        R::fail_stream(self, stream, status, deferred);
    }

    /// Tells the core how many bytes a reader took.
    pub(crate) fn consumed(&mut self, stream: Key, bytes: u32) {
        if bytes == 0 {
            return;
        }
        // It may be gone already.
        if let Ok(mut stream) = self.tunnel.stream(stream) {
            let consumed = stream.consumed(bytes);
            debug_assert!(consumed.is_ok(), "{consumed:?}");
        }
    }
}
