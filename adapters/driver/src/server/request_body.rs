//! The request of a call that the peer opened.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_core::{Code, Key, Server, Unread};
use http_body::{Body, Frame};

use crate::body::inbox::Taken;
use crate::error::RequestError;
use crate::grpc::status::Status;
use crate::tunnel::call_end::CallEnd;
use crate::tunnel::shared::Shared;

/// The body of a request that came through a tunnel: messages. Dropping it discards the rest.
#[derive(Debug)]
pub struct RequestBody {
    /// What was taken from the tunnel and is read next.
    taken: Taken,
    /// None: it was read to its end.
    source: Option<(Arc<Shared<Server>>, Key)>,
}

impl RequestBody {
    pub(crate) fn new(shared: Arc<Shared<Server>>, stream: Key) -> Self {
        Self {
            taken: Taken::default(),
            source: Some((shared, stream)),
        }
    }

    /// Bytes of the call that wait here: of the request, to be read; of the response, to be sent.
    /// Takes the tunnel's lock.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let source = self.source.as_ref();
        let inside = source.map_or(0, |(shared, stream)| {
            shared.read(|state| state.streams.waiting(*stream))
        });
        inside.saturating_add(self.taken.bytes())
    }

    /// A request that has come whole.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            taken: Taken::from(bytes),
            source: None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        let this = self.get_mut();
        if let Some(bytes) = this.taken.next() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some((shared, stream)) = &this.source else {
            return Poll::Ready(None);
        };
        let stream = *stream;
        let next = shared.with(|state, deferred| {
            let Some(entry) = state.streams.get(stream) else {
                return Poll::Ready(Some(Err(RequestError::new(ended()))));
            };
            let consumed = entry.inbox.take(&mut this.taken);
            entry.count_unread();
            if let Some(data) = this.taken.next() {
                state.consumed(stream, consumed);
                return Poll::Ready(Some(Ok(data)));
            }
            if let Some(end) = &entry.end {
                let error = RequestError::new(match end {
                    CallEnd::Status { status, .. } => status.clone(),
                    CallEnd::Failed(_) | CallEnd::Closed => ended(),
                });
                entry.abandoned = true;
                deferred.wake(&mut entry.writer);
                return Poll::Ready(Some(Err(error)));
            }
            if entry.half_closed {
                return Poll::Ready(None);
            }
            deferred.register(&mut entry.reader, cx.waker());
            Poll::Pending
        });
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            this.source = None;
        }
        next.map(|next| next.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.taken.is_empty() && self.source.is_none()
    }
}

/// The status of a request whose call this end has closed.
fn ended() -> Status {
    Status::new(Code::Aborted, "the call has ended")
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some((shared, stream)) = self.source.take() {
            shared.with(|state, deferred| {
                // It may be gone already.
                if let Ok(mut stream) = state.tunnel.stream(stream) {
                    stream.stop_reading();
                }
                if let Some(entry) = state.streams.get(stream) {
                    entry.request_dropped = true;
                    entry.inbox.finish(Unread::Discard, deferred);
                    entry.count_unread();
                    deferred.drop_waker(entry.reader.take());
                    if entry.end.is_some() {
                        entry.abandoned = true;
                        deferred.wake(&mut entry.writer);
                    }
                }
            });
        }
    }
}
