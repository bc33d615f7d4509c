//! The request of a call that came in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_core::{Code, Key, Server, Unread};
use http_body::{Body, Frame};

use crate::error::RequestError;
use crate::shared::Shared;
use crate::status::Status;
use crate::stream::Ending;

/// The body of a request that came through a tunnel: messages. Dropping it tells the tunnel that
/// nobody reads the rest.
#[derive(Debug)]
pub struct RequestBody {
    /// None: it was read to its end.
    source: Option<(Arc<Shared<Server>>, Key)>,
}

impl RequestBody {
    pub(crate) const fn new(shared: Arc<Shared<Server>>, stream: Key) -> Self {
        Self {
            source: Some((shared, stream)),
        }
    }
}

/// What there is to read.
enum Next {
    Data(Bytes),
    End,
    Failed(RequestError),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        let this = self.get_mut();
        let Some((shared, stream)) = &this.source else {
            return Poll::Ready(None);
        };
        let stream = *stream;
        let next = shared.with(|state, after| {
            let Some(entry) = state.streams.get(stream) else {
                let text = "the call has ended";
                let status = Status::new(Code::Aborted, text);
                return Poll::Ready(Next::Failed(RequestError::new(status)));
            };
            let (data, consumed) = entry.inbox.take();
            if !data.is_empty() {
                state.consumed(stream, consumed);
                return Poll::Ready(Next::Data(data));
            }
            if let Some(Ending::Status { status, .. }) = &entry.ending {
                let error = RequestError::new(status.clone());
                entry.abandoned = true;
                after.wake(&mut entry.writer);
                return Poll::Ready(Next::Failed(error));
            }
            if entry.half_closed {
                return Poll::Ready(Next::End);
            }
            after.register(&mut entry.reader, cx.waker());
            Poll::Pending
        });
        next.map(|next| match next {
            Next::Data(data) => Some(Ok(Frame::data(data))),
            Next::End => {
                this.source = None;
                None
            }
            Next::Failed(error) => {
                this.source = None;
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some((shared, stream)) = self.source.take() {
            shared.with(|state, after| {
                // It may be gone already.
                let _ = state.tunnel.stop_reading(stream);
                if let Some(entry) = state.streams.get(stream) {
                    entry.unread = true;
                    entry.inbox.finish(Unread::Discard);
                    after.drop_waker(entry.reader.take());
                    if entry.ending.is_some() {
                        entry.abandoned = true;
                        after.wake(&mut entry.writer);
                    }
                }
            });
        }
    }
}
