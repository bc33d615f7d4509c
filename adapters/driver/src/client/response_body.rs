//! The response of a call.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_core::{Client, Key};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, Version};
use http_body::{Body, Frame};

use crate::body::inbox::Taken;
use crate::client::call::Call;
use crate::deferred::Deferred;
use crate::error::{CallError, NeverProcessed, TunnelEnd};
use crate::grpc::headers::{GRPC_CONTENT_TYPE, remove_transparent};
use crate::telemetry::CallSpan;
use crate::tunnel::call_end::CallEnd;
use crate::tunnel::state::State;

/// The body of a response that came through a tunnel: messages, then trailers with the status.
/// Dropping it before its end cancels the call.
#[derive(Debug, Default)]
pub struct ResponseBody {
    /// What was taken from the tunnel and is read next.
    received: Received,
    /// None: everything was taken.
    call: Option<Call>,
    span: CallSpan,
}

impl ResponseBody {
    /// Bytes of the call that wait here: of the response, to be read; of the request, to be sent.
    /// Takes the tunnel's lock.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let call = self.call.as_ref();
        let inside = call.map_or(0, |call| {
            call.shared.read(|state| state.streams.waiting(call.stream))
        });
        inside.saturating_add(self.received.data.bytes())
    }
}

/// What was taken from a tunnel: messages, and the end behind them.
#[derive(Debug, Default)]
pub(crate) struct Received {
    data: Taken,
    end: Option<CallEnd>,
}

impl State<Client> {
    /// Takes what has come of a response. With its end the call is released.
    fn take(&mut self, stream: Key, deferred: &mut Deferred) -> Received {
        let Some(entry) = self.streams.get(stream) else {
            return Received::default();
        };
        let mut data = Taken::default();
        let consumed = entry.inbox.take(&mut data);
        entry.count_unread();
        let end = if entry.inbox.is_empty() {
            entry.end.take()
        } else {
            None
        };
        self.consumed(stream, consumed);
        if end.is_some() {
            self.release(stream, deferred);
        }
        Received { data, end }
    }

    /// Takes the start of the response, if it has come, with what there is of the rest.
    pub(crate) fn response_start(
        &mut self,
        stream: Key,
        cx: &Context<'_>,
        deferred: &mut Deferred,
    ) -> Option<ResponseStart> {
        let entry = self.streams.get(stream)?;
        let headers = match entry.headers.take() {
            Some(headers) => headers,
            None if entry.answered => HeaderMap::new(),
            None => {
                let Some(end) = entry.end.take() else {
                    deferred.register(&mut entry.reader, cx.waker());
                    return None;
                };
                self.release(stream, deferred);
                return Some(ResponseStart::End(end));
            }
        };
        Some(ResponseStart::Response(
            headers,
            self.take(stream, deferred),
        ))
    }
}

/// The start of a response.
pub(crate) enum ResponseStart {
    /// With headers.
    Response(HeaderMap, Received),
    /// With its end.
    End(CallEnd),
}

impl ResponseStart {
    /// Whether the call is over, and was released.
    pub(crate) const fn is_end(&self) -> bool {
        match self {
            Self::Response(_, received) => received.end.is_some(),
            Self::End(_) => true,
        }
    }

    /// The response. `call` is that of the rest, if there is one.
    pub(crate) fn into_response(
        self,
        call: Option<Call>,
        mut span: CallSpan,
    ) -> Result<Response<ResponseBody>, CallError> {
        let mut response = Response::new(ResponseBody::default());
        *response.version_mut() = Version::HTTP_2;
        match self {
            Self::Response(headers, received) => {
                *response.headers_mut() = headers;
                *response.body_mut() = ResponseBody {
                    received,
                    call,
                    span,
                };
            }
            Self::End(CallEnd::Failed(error)) => return Err(error),
            // Calls of a tunnel client are closed by the peer, with a status.
            Self::End(CallEnd::Closed) => {}
            Self::End(CallEnd::Status {
                status,
                mut trailers,
                never_processed,
                lost,
            }) => {
                span.end(status.code());
                status.write_headers(&mut trailers);
                *response.headers_mut() = trailers;
                let extensions = response.extensions_mut();
                if let Some(end) = &lost {
                    extensions.insert(TunnelEnd::clone(end));
                }
                if never_processed {
                    extensions.insert(NeverProcessed::lost(lost));
                }
            }
        }
        let headers = response.headers_mut();
        headers.entry(CONTENT_TYPE).or_insert(GRPC_CONTENT_TYPE);
        Ok(response)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let this = self.get_mut();
        if this.received.is_empty()
            && let Some(call) = &mut this.call
        {
            let stream = call.stream;
            this.received = call.shared.with(|state, deferred| {
                let received = state.take(stream, deferred);
                if received.is_empty()
                    && let Some(entry) = state.streams.get(stream)
                {
                    deferred.register(&mut entry.reader, cx.waker());
                }
                received
            });
            if this.received.is_empty() {
                return Poll::Pending;
            }
            if this.received.end.is_some() {
                call.released = true;
                this.call = None;
            }
        }
        if let (true, Some(CallEnd::Status { status, .. })) =
            (this.received.data.is_empty(), &this.received.end)
        {
            this.span.end(status.code());
        }
        Poll::Ready(this.received.next())
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_empty() && self.call.is_none()
    }
}

impl Received {
    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.end.is_none()
    }

    fn next(&mut self) -> Option<Result<Frame<Bytes>, CallError>> {
        if let Some(data) = self.data.next() {
            return Some(Ok(Frame::data(data)));
        }
        match self.end.take()? {
            CallEnd::Failed(error) => Some(Err(error)),
            CallEnd::Closed => None,
            CallEnd::Status {
                status,
                mut trailers,
                ..
            } => {
                remove_transparent(&mut trailers);
                status.write_headers(&mut trailers);
                Some(Ok(Frame::trailers(trailers)))
            }
        }
    }
}
