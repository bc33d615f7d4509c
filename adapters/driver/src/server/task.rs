//! The task that handles a call.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use grpctunnel_core::wire::{Extension, ExtensionSet};
use grpctunnel_core::{Code, Hold, Key, MethodKind, Server};
use http::{HeaderMap, Request};
use http_body::Body;

use crate::body::reader::{BodyEnd, BodyReader, compression_refused};
use crate::deferred::Deferred;
use crate::error::{BoxError, NeverProcessed, error_sources};
use crate::grpc::status::{Status, excerpt};
use crate::options::Options;
use crate::panics::contain;
use crate::server::handler::Handler;
use crate::server::request_body::RequestBody;
use crate::server::respond::hold;
use crate::telemetry;
use crate::tunnel::heads;
use crate::tunnel::send::SendProgress;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::State;

/// The task of a call, from the call's acceptance to its end, however that comes: also where the
/// task is never polled, or never started.
pub(crate) struct TaskGuard {
    shared: Arc<Shared<Server>>,
    stream: Key,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.shared
            .with(|state, deferred| state.task_done(self.stream, deferred));
    }
}

/// Handles a call from its request to the end of its response.
///
/// `guard` is dropped last: until then the call counts.
pub(crate) async fn handle<H: Handler>(
    guard: TaskGuard,
    kind: MethodKind,
    handler: H,
    request: Request<RequestBody>,
) {
    let stream = guard.stream;
    let responding = pin!(respond(&guard.shared, stream, kind, handler, request));
    let mut contained = CatchPanic { inner: responding };
    let panicked = poll_fn(|cx| {
        if guard.is_abandoned(cx) {
            return Poll::Ready(false);
        }
        Pin::new(&mut contained).poll(cx)
    })
    .await;
    if panicked {
        guard.close_panicked();
    }
}

impl TaskGuard {
    pub(crate) const fn new(shared: Arc<Shared<Server>>, stream: Key) -> Self {
        Self { shared, stream }
    }

    /// The request of the call.
    pub(crate) fn request_body(&self) -> RequestBody {
        RequestBody::new(self.shared.clone(), self.stream)
    }

    /// Ends the call because its handler panicked.
    pub(crate) fn close_panicked(&self) {
        let status = Status::new(Code::Internal, "the handler panicked");
        self.shared
            .with_now(|state, deferred| state.close(self.stream, &status, deferred));
    }

    /// Whether the response has no reader. If it has, the task is woken when that changes.
    fn is_abandoned(&self, cx: &Context<'_>) -> bool {
        self.shared
            .with(|state, deferred| match state.streams.get(self.stream) {
                Some(entry) => {
                    deferred.register(&mut entry.writer, cx.waker());
                    entry.abandoned
                }
                None => true,
            })
    }
}

/// A future that ends when the inner one panics. Returns whether it did.
struct CatchPanic<'f, F> {
    inner: Pin<&'f mut F>,
}

impl<F: Future<Output = ()>> Future for CatchPanic<'_, F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        // It is not polled again after a panic.
        match contain(|| self.inner.as_mut().poll(cx)) {
            Some(poll) => poll.map(|()| false),
            None => Poll::Ready(true),
        }
    }
}

/// Calls the handler and sends its response.
async fn respond<H: Handler>(
    shared: &Arc<Shared<Server>>,
    stream: Key,
    kind: MethodKind,
    mut handler: H,
    request: Request<RequestBody>,
) {
    let ready: Result<(), BoxError> = poll_fn(|cx| handler.poll_ready(cx))
        .await
        .map_err(Into::into);
    let response: Result<_, BoxError> = match ready {
        Ok(()) => handler.call(request).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    drop(handler);
    let response = match response {
        Ok(response) => response,
        Err(error) => {
            let status = status_of(&*error, &shared.options);
            telemetry::answered(status.code());
            shared.with_now(|state, deferred| state.close(stream, &status, deferred));
            return;
        }
    };
    let (parts, body) = response.into_parts();
    // They are known since before the call, and do not change.
    let extensions = shared.read(|state| state.tunnel.extensions());
    let unprocessed = parts.extensions.get::<NeverProcessed>().is_some();
    if let Some(status) = Status::of_response(&parts, body.is_end_stream()) {
        let status = status.with_mark(unprocessed);
        let (head, status) = heads::close(&status, &parts.headers, extensions, &shared.options);
        telemetry::answered(status.code());
        finish(shared, stream, kind, head, &status);
        return;
    }
    // Counts if nothing follows after all.
    let status_alone = Status::from_headers(&parts.headers);
    let head = match heads::respond(&parts.headers, extensions, &shared.options) {
        Ok(head) => head,
        Err(bad) => {
            // An error is what it is, whatever comes with it.
            let error = status_alone.filter(|status| status.code() != Code::Ok);
            let status = error.unwrap_or(bad).with_mark(unprocessed);
            telemetry::answered(status.code());
            shared.with_now(|state, deferred| state.close(stream, &status, deferred));
            return;
        }
    };
    let mut reader = BodyReader::new(shared.queue.share());
    if !extensions.contains(Extension::Transparent) {
        reader.refuse_compressed();
    }
    let mut sending = ResponseSender {
        shared,
        extensions,
        stream,
        kind,
        head: Some(head),
        status_alone,
        unprocessed,
        reader,
    };
    let mut body = pin!(body);
    poll_fn(|cx| sending.poll(cx, body.as_mut())).await;
}

/// Ends a call whose response is a status alone.
fn finish(
    shared: &Shared<Server>,
    stream: Key,
    kind: MethodKind,
    head: heads::Head,
    status: &Status,
) {
    shared.with_now(|state, deferred| {
        state.count_dropped(&head);
        if let Some(entry) = state.streams.get(stream) {
            let (ok, hold) = success(status, kind, &state.options);
            entry.set_close(head.bytes, ok, hold);
            state.feed(stream, deferred);
        }
    });
}

fn success(status: &Status, kind: MethodKind, options: &Options) -> (bool, Hold) {
    if status.code() == Code::Ok {
        (true, hold(kind, options))
    } else {
        (false, Hold::Never)
    }
}

/// Reads a response body and sends it.
struct ResponseSender<'s> {
    shared: &'s Shared<Server>,
    extensions: ExtensionSet,
    stream: Key,
    kind: MethodKind,
    /// The head of the response, until it was sent.
    head: Option<heads::Head>,
    /// The status of a response that has neither messages nor trailers.
    status_alone: Option<Status>,
    /// The response says that no handler saw the call.
    unprocessed: bool,
    reader: BodyReader,
}

impl ResponseSender<'_> {
    fn poll<B>(&mut self, cx: &mut Context<'_>, mut body: Pin<&mut B>) -> Poll<()>
    where
        B: Body<Data: bytes::Buf, Error: Into<BoxError>>,
    {
        let shared = self.shared;
        loop {
            let end = match self.reader.poll_read(cx, body.as_mut(), &shared.options) {
                Poll::Ready(end) => Some(self.close(end)),
                Poll::Pending => None,
            };
            let ended = end.is_some();
            match self.send(cx, end) {
                _ if ended => return Poll::Ready(()),
                SendProgress::ReadMore => {}
                SendProgress::Wait => return Poll::Pending,
                // The handler learns it from its request, and may still have something to do.
                SendProgress::Ended => return Poll::Ready(()),
            }
        }
    }

    fn send(&mut self, cx: &Context<'_>, end: Option<(heads::Head, bool, Hold)>) -> SendProgress {
        let Self {
            shared,
            stream,
            head,
            reader,
            ..
        } = self;
        let stream = *stream;
        let update = |state: &mut State<Server>, deferred: &mut Deferred| {
            if let Some(head) = head.take() {
                state.count_dropped(&head);
                state.respond(stream, head.bytes);
            }
            let finish = end.and_then(|(head, ok, hold)| {
                state.count_dropped(&head);
                let entry = state.streams.get(stream)?;
                entry.set_close(head.bytes, ok, hold);
                entry.finish.take()
            });
            state.send(cx, stream, reader, finish, deferred)
        };
        shared.with_now(update)
    }

    /// The end of the call after its response body ended.
    fn close(&mut self, end: BodyEnd) -> (heads::Head, bool, Hold) {
        let options = &self.shared.options;
        // A response with messages is that of a handler.
        let unprocessed = self.unprocessed && !self.reader.has_begun();
        let mut trailers = HeaderMap::new();
        let status = match end {
            BodyEnd::Trailers(all) => {
                let status = Status::from_headers(&all).unwrap_or_else(no_status);
                trailers = all;
                status.with_mark(unprocessed)
            }
            BodyEnd::NoTrailers => {
                let status = self.status_alone.take();
                let status = status.filter(|_| !self.reader.has_begun());
                status.unwrap_or_else(no_status).with_mark(unprocessed)
            }
            BodyEnd::Failed(error) => {
                let status = status_of(&*error, options);
                let marked = status.is_unprocessed() && !self.reader.has_begun();
                status.with_mark(marked)
            }
            BodyEnd::Compressed => compression_refused(),
            BodyEnd::Invalid(status) => status,
        };
        let (head, status) = heads::close(&status, &trailers, self.extensions, options);
        telemetry::answered(status.code());
        let (ok, hold) = success(&status, self.kind, options);
        (head, ok, hold)
    }
}

fn no_status() -> Status {
    Status::new(
        Code::Unknown,
        "the handler's response ended without a gRPC status",
    )
}

/// The status of an error of the handler: its own, if `status_of_error` finds one, else the first
/// [`Status`] among its sources. An error without a status means that what handles the call was not
/// reached: UNAVAILABLE. The caller is told
/// the error itself, in one short line, and none of its sources.
fn status_of(error: &(dyn Error + Send + Sync + 'static), options: &Options) -> Status {
    let known = options
        .status_of_error
        .and_then(|status_of| status_of(error));
    let own = || error_sources(error).find_map(|error| error.downcast_ref::<Status>());
    let unprocessed = NeverProcessed::find_in(error).is_some();
    known
        .or_else(|| own().cloned())
        .unwrap_or_else(|| Status::new(Code::Unavailable, excerpt(&error.to_string())))
        .with_mark(unprocessed)
}
