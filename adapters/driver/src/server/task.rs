//! The task that handles a call.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use grpctunnel_core::wire::{Extension, ExtensionSet};
use grpctunnel_core::{Code, Hold, Key, MethodKind, Server};
use http::{HeaderMap, Request, Response};
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
    /// The end of the task was noted.
    done: bool,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if !self.done {
            self.shared
                .with(|state, deferred| state.task_done(self.stream, deferred));
        }
    }
}

/// Handles a call from its request to the end of its response.
///
/// `guard` is dropped last: until then the call counts.
pub(crate) async fn handle<H: Handler>(
    mut guard: TaskGuard,
    kind: MethodKind,
    handler: H,
    request: Request<RequestBody>,
) {
    let answer = {
        let responding = pin!(respond(&guard.shared, guard.stream, kind, handler, request));
        let mut contained = CatchPanic { inner: responding };
        // When it was accepted, a moment ago, the call had a reader.
        let mut first = true;
        poll_fn(|cx| {
            let is_first = std::mem::take(&mut first);
            if !is_first && guard.is_abandoned(cx) {
                return Poll::Ready(Answer::None);
            }
            let poll = Pin::new(&mut contained).poll(cx);
            // If it waits it is to be woken when that changes.
            if is_first && poll.is_pending() && guard.is_abandoned(cx) {
                return Poll::Ready(Answer::None);
            }
            poll
        })
        .await
    };
    guard.finish(answer);
}

/// What is left to be sent when the handler's future and its response's body are gone.
enum Answer {
    /// Nothing: the response has no reader.
    None,
    /// An error, in place of what was not sent.
    Error(Status),
    /// A status alone.
    Status {
        head: heads::Head,
        ok: bool,
        hold: Hold,
    },
    /// What was read last of a response, and its end.
    Rest {
        /// The head of the response, if it was not sent.
        start: Option<heads::Head>,
        reader: BodyReader,
        head: heads::Head,
        ok: bool,
        hold: Hold,
    },
}

impl TaskGuard {
    pub(crate) const fn new(shared: Arc<Shared<Server>>, stream: Key) -> Self {
        Self {
            shared,
            stream,
            done: false,
        }
    }

    pub(crate) const fn stream(&self) -> Key {
        self.stream
    }

    /// The end of the task was noted.
    pub(crate) const fn done(&mut self) {
        self.done = true;
    }

    /// Sends what is left, and notes the end of the task.
    fn finish(&mut self, mut answer: Answer) {
        let stream = self.stream;
        self.done = true;
        self.shared.with_now(|state, deferred| {
            state.send_answer(stream, &mut answer, deferred);
            state.task_done(stream, deferred);
        });
    }

    /// The request of the call.
    pub(crate) fn request_body(&self) -> RequestBody {
        RequestBody::new(self.shared.clone(), self.stream)
    }

    /// Ends the call because its handler panicked.
    pub(crate) fn close_panicked(&self) {
        self.shared
            .with_now(|state, deferred| state.close(self.stream, &panicked(), deferred));
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

/// A future that ends when the inner one panics.
struct CatchPanic<'f, F> {
    inner: Pin<&'f mut F>,
}

impl<F: Future<Output = Answer>> Future for CatchPanic<'_, F> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        // It is not polled again after a panic.
        match contain(|| self.inner.as_mut().poll(cx)) {
            Some(poll) => poll,
            None => Poll::Ready(Answer::Error(panicked())),
        }
    }
}

fn panicked() -> Status {
    Status::new(Code::Internal, "the handler panicked")
}

/// Calls the handler.
async fn call<H: Handler>(
    mut handler: H,
    request: Request<RequestBody>,
) -> Result<Response<H::ResponseBody>, BoxError> {
    poll_fn(|cx| handler.poll_ready(cx))
        .await
        .map_err(Into::into)?;
    handler.call(request).await.map_err(Into::into)
}

/// Calls the handler and sends its response. Returns what is left to be sent.
async fn respond<H: Handler>(
    shared: &Arc<Shared<Server>>,
    stream: Key,
    kind: MethodKind,
    handler: H,
    request: Request<RequestBody>,
) -> Answer {
    let response = match call(handler, request).await {
        Ok(response) => response,
        Err(error) => {
            let status = status_of(&*error, &shared.options);
            telemetry::answered(status.code());
            return Answer::Error(status);
        }
    };
    let (parts, body) = response.into_parts();
    let extensions = shared.call_extensions();
    let unprocessed = parts.extensions.get::<NeverProcessed>().is_some();
    if let Some(status) = Status::of_response(&parts, body.is_end_stream()) {
        let status = status.with_mark(unprocessed);
        let (head, status) = heads::close(&status, &parts.headers, extensions, &shared.options);
        telemetry::answered(status.code());
        let (ok, hold) = success(&status, kind, &shared.options);
        return Answer::Status { head, ok, hold };
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
            return Answer::Error(status);
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
    let end = {
        let mut body = pin!(body);
        poll_fn(|cx| sending.poll(cx, body.as_mut())).await
    };
    match end {
        Some((head, ok, hold)) => Answer::Rest {
            start: sending.head,
            reader: sending.reader,
            head,
            ok,
            hold,
        },
        None => Answer::None,
    }
}

impl State<Server> {
    /// Sends response headers, if they were not sent.
    fn send_start(&mut self, stream: Key, head: Option<heads::Head>) {
        if let Some(head) = head {
            self.count_dropped(&head);
            self.respond(stream, head.bytes);
        }
    }

    /// Sends what is left of a response, and its end.
    fn send_answer(&mut self, stream: Key, answer: &mut Answer, deferred: &mut Deferred) {
        let (head, ok, hold) = match answer {
            Answer::None => return,
            Answer::Error(status) => return self.close(stream, status, deferred),
            Answer::Status { head, ok, hold } => (head, *ok, *hold),
            Answer::Rest {
                start,
                reader,
                head,
                ok,
                hold,
            } => {
                self.send_start(stream, start.take());
                let entry = self.streams.get(stream);
                if let Some(entry) = entry.filter(|entry| entry.end.is_none()) {
                    reader.move_to(&mut entry.outbox);
                }
                (head, *ok, *hold)
            }
        };
        self.count_dropped(head);
        if let Some(entry) = self.streams.get(stream) {
            entry.set_close(std::mem::take(&mut head.bytes), ok, hold);
            self.feed(stream, deferred);
        }
    }
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
    /// Sends what the body has. Returns the end of the call, with what was not sent still in the
    /// reader; none if the call has ended.
    fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut B>,
    ) -> Poll<Option<(heads::Head, bool, Hold)>>
    where
        B: Body<Data: bytes::Buf, Error: Into<BoxError>>,
    {
        let shared = self.shared;
        loop {
            if let Poll::Ready(end) = self.reader.poll_read(cx, body.as_mut(), &shared.options) {
                return Poll::Ready(Some(self.close(end)));
            }
            match self.send(cx) {
                SendProgress::ReadMore => {}
                SendProgress::Wait => return Poll::Pending,
                // The handler learns it from its request, and may still have something to do.
                SendProgress::Ended => return Poll::Ready(None),
            }
        }
    }

    fn send(&mut self, cx: &Context<'_>) -> SendProgress {
        let Self {
            shared,
            stream,
            head,
            reader,
            ..
        } = self;
        let stream = *stream;
        shared.with_now(|state, deferred| {
            state.send_start(stream, head.take());
            state.send(cx, stream, reader, deferred)
        })
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
