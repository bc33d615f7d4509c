//! The response of a call.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_core::{Client, Key};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, Version};
use http_body::{Body, Frame};

use crate::after::After;
use crate::client::half::Call;
use crate::error::{CallError, NeverProcessed};
use crate::opening::GRPC;
use crate::state::State;
use crate::stream::Ending;

/// The body of a response that came through a tunnel: messages, then trailers with the status.
/// Dropping it before its end cancels the call.
#[derive(Debug, Default)]
pub struct ResponseBody {
    /// What was taken out of the tunnel and is handed out next.
    taken: Taken,
    /// None: everything was taken.
    call: Option<Call>,
}

/// What was taken out of a tunnel: messages, and the end behind them.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    data: Bytes,
    ending: Option<Ending>,
}

impl State<Client> {
    /// Takes out what has come of a response. With the end, the call is released.
    fn take(&mut self, stream: Key, after: &mut After) -> Taken {
        let Some(entry) = self.streams.get(stream) else {
            return Taken::default();
        };
        let (data, consumed) = entry.inbox.take();
        let ending = if entry.inbox.is_empty() {
            entry.ending.take()
        } else {
            None
        };
        self.consumed(stream, consumed);
        if ending.is_some() {
            self.release(stream, after);
        }
        Taken { data, ending }
    }

    /// The beginning of the response, if it has come, with what there is of the rest.
    pub(crate) fn answer(
        &mut self,
        stream: Key,
        cx: &Context<'_>,
        after: &mut After,
    ) -> Option<Answer> {
        let entry = self.streams.get(stream)?;
        let headers = match entry.headers.take() {
            Some(headers) => headers,
            None if entry.answered => HeaderMap::new(),
            None => {
                let Some(ending) = entry.ending.take() else {
                    after.register(&mut entry.reader, cx.waker());
                    return None;
                };
                self.release(stream, after);
                return Some(Answer::End(ending));
            }
        };
        Some(Answer::Response(headers, self.take(stream, after)))
    }
}

/// How a response begins.
pub(crate) enum Answer {
    /// With headers.
    Response(HeaderMap, Taken),
    /// With its end.
    End(Ending),
}

impl Answer {
    /// Whether the call is over, and was released.
    pub(crate) const fn is_end(&self) -> bool {
        match self {
            Self::Response(_, taken) => taken.ending.is_some(),
            Self::End(_) => true,
        }
    }

    /// The response. `call` is that of the rest, if there is one.
    pub(crate) fn into_response(
        self,
        call: Option<Call>,
    ) -> Result<Response<ResponseBody>, CallError> {
        let (mut headers, body, never_processed) = match self {
            Self::Response(headers, taken) => (headers, ResponseBody { taken, call }, false),
            Self::End(Ending::Failed(error)) => return Err(error),
            Self::End(Ending::Status {
                status,
                mut trailers,
                never_processed,
            }) => {
                status.write_headers(&mut trailers);
                (trailers, ResponseBody::default(), never_processed)
            }
        };
        headers.insert(CONTENT_TYPE, GRPC);
        let mut response = Response::new(body);
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = headers;
        if never_processed {
            response.extensions_mut().insert(NeverProcessed);
        }
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
        if this.taken.is_empty()
            && let Some(call) = &mut this.call
        {
            let stream = call.stream;
            this.taken = call.shared.with(|state, after| {
                let taken = state.take(stream, after);
                if taken.is_empty()
                    && let Some(entry) = state.streams.get(stream)
                {
                    after.register(&mut entry.reader, cx.waker());
                }
                taken
            });
            if this.taken.is_empty() {
                return Poll::Pending;
            }
            if this.taken.ending.is_some() {
                call.released = true;
                this.call = None;
            }
        }
        Poll::Ready(this.taken.next())
    }

    fn is_end_stream(&self) -> bool {
        self.taken.is_empty() && self.call.is_none()
    }
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.ending.is_none()
    }

    fn next(&mut self) -> Option<Result<Frame<Bytes>, CallError>> {
        if !self.data.is_empty() {
            return Some(Ok(Frame::data(std::mem::take(&mut self.data))));
        }
        match self.ending.take()? {
            Ending::Failed(error) => Some(Err(error)),
            Ending::Status {
                status,
                mut trailers,
                ..
            } => {
                status.write_headers(&mut trailers);
                Some(Ok(Frame::trailers(trailers)))
            }
        }
    }
}
