//! Bodies that a peer sends.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_channel::oneshot;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::error::Error;
use crate::settings::Role;
use crate::shared::OpenStream;

/// The body of a server's request or of a client's response.
///
/// HTTP/2's window is given back for what is taken out of it. Dropping it before its end cancels
/// the call. A peer that ends its stream without finishing the body is an error, whatever reason
/// it gives.
pub struct IncomingBody {
    stream: RecvStream,
    role: Role,
    /// None after the end.
    open: Option<Arc<OpenStream>>,
    /// Stops the request body of a client's call: as cancelled, if it is dropped.
    request: Option<oneshot::Sender<Reason>>,
    /// What `content-length` still promises.
    length: Option<u64>,
    /// Whether the head was all of a gRPC response.
    trailers_only: bool,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Data,
    Trailers,
    End,
}

impl IncomingBody {
    pub(crate) fn new(
        stream: RecvStream,
        headers: &HeaderMap,
        role: Role,
        open: Arc<OpenStream>,
        request: Option<oneshot::Sender<Reason>>,
    ) -> Self {
        let length = headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let mut body = Self {
            stream,
            role,
            open: Some(open),
            request,
            length,
            trailers_only: headers.contains_key("grpc-status"),
            at: At::Data,
        };
        if body.stream.is_end_stream() {
            body.finish();
        }
        body
    }

    /// Bytes that came and were not taken out. Takes the connection's lock.
    pub fn waiting(&mut self) -> usize {
        self.stream.flow_control().used_capacity()
    }

    /// The response is complete: nobody needs the rest of the request.
    fn finish(&mut self) {
        self.at = At::End;
        if let Some(request) = self.request.take() {
            // The request may be complete as well.
            let _ = request.send(Reason::NO_ERROR);
        }
        self.open = None;
    }

    /// Whether a reset only says that the rest of the request is not wanted, after a response that
    /// is complete. h2 forgets the end of the response with such a reset.
    fn is_early_end(&self, error: &h2::Error) -> bool {
        self.role == Role::Client
            && error.reason() == Some(Reason::NO_ERROR)
            && (self.trailers_only || self.length == Some(0))
    }

    fn fail(&mut self, error: h2::Error) -> Option<Error> {
        if self.is_early_end(&error) {
            self.finish();
            return None;
        }
        self.at = At::End;
        let error = match self.role {
            Role::Server => Error::from_request_body(error),
            Role::Client => Error::from_h2(error),
        };
        Some(match self.open.take() {
            Some(open) => open.explain(error),
            None => error,
        })
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Result<HeaderMap, Error> {
        let open = self.open.as_ref();
        let limit = open.map_or(usize::MAX, |open| open.shared().max_header_list);
        self.finish();
        match Error::if_too_large(&trailers, true, limit) {
            Some(error) => Err(error),
            None => Ok(trailers),
        }
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let me = self.get_mut();
        while me.at == At::Data {
            match ready!(me.stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    // It fails only for more than was received.
                    let _ = me.stream.flow_control().release_capacity(data.len());
                    if let Some(open) = &me.open {
                        let shared = open.shared();
                        shared.consumed.fetch_add(data.len(), Ordering::Relaxed);
                        shared.backlog.read(data.len(), &shared.task);
                    }
                    me.trailers_only = false;
                    if me.stream.is_end_stream() {
                        me.finish();
                    }
                    if let Some(length) = &mut me.length {
                        *length = length.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(me.fail(error).map(Err)),
                None => me.at = At::Trailers,
            }
        }
        if me.at == At::End {
            return Poll::Ready(None);
        }
        match ready!(me.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(me.trailers(trailers).map(Frame::trailers))),
            Ok(None) => {
                me.finish();
                Poll::Ready(None)
            }
            Err(error) => Poll::Ready(me.fail(error).map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.at == At::End || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

impl Drop for IncomingBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }
}

impl fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingBody")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
