//! The task of a call that came in.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use grpctunnel_core::{Code, Hold, Key, MethodKind, Server};
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;

use crate::error::BoxError;
use crate::heads;
use crate::opening::GRPC;
use crate::options::Options;
use crate::pump::{BodyEnd, Handed, Pump};
use crate::server::half::hold;
use crate::server::{Handler, RequestBody};
use crate::shared::{Shared, chain};
use crate::status::Status;

/// Says that a task has ended, however it did.
struct TaskGuard {
    shared: Arc<Shared<Server>>,
    stream: Key,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.shared
            .with(|state, after| state.task_done(self.stream, after));
    }
}

/// Handles a call from its request to the end of its response.
pub(crate) async fn handle<H: Handler>(
    shared: Arc<Shared<Server>>,
    stream: Key,
    kind: MethodKind,
    handler: H,
    request: Request<RequestBody>,
) {
    // Dropped last: until then the call counts.
    let guard = TaskGuard { shared, stream };
    let responding = pin!(respond(&guard.shared, stream, kind, handler, request));
    let mut contained = Contained { inner: responding };
    let panicked = poll_fn(|cx| {
        if guard.is_abandoned(cx) {
            return Poll::Ready(false);
        }
        Pin::new(&mut contained).poll(cx)
    })
    .await;
    if panicked {
        let status = Status::new(Code::Internal, "the handler panicked");
        guard
            .shared
            .with_now(|state, after| state.close(stream, &status, after));
    }
}

impl TaskGuard {
    /// Whether nobody wants a response. If somebody does, the task is woken when that changes.
    fn is_abandoned(&self, cx: &Context<'_>) -> bool {
        self.shared
            .with(|state, after| match state.streams.get(self.stream) {
                Some(entry) => {
                    after.register(&mut entry.writer, cx.waker());
                    entry.abandoned
                }
                None => true,
            })
    }
}

/// A future whose panic is its end. True: it panicked.
struct Contained<'f, F> {
    inner: Pin<&'f mut F>,
}

impl<F: Future<Output = ()>> Future for Contained<'_, F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        // It is not polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| self.inner.as_mut().poll(cx))) {
            Ok(poll) => poll.map(|()| false),
            Err(_) => Poll::Ready(true),
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
            shared.with_now(|state, after| state.close(stream, &status, after));
            return;
        }
    };
    let (parts, body) = response.into_parts();
    if let Some(status) = status_in_headers(&parts) {
        finish(shared, stream, kind, &status, &parts.headers);
        return;
    }
    let head = match heads::respond(&parts.headers, &shared.options) {
        Ok(head) => head,
        Err(status) => {
            shared.with_now(|state, after| state.close(stream, &status, after));
            return;
        }
    };
    let mut sending = Sending {
        shared,
        stream,
        kind,
        head: Some(head),
        pump: Pump::new(shared.queue.share()),
    };
    let mut body = pin!(body);
    poll_fn(|cx| sending.poll(cx, body.as_mut())).await;
}

/// The status of a response that has nothing but headers, or that is no gRPC.
fn status_in_headers(parts: &Parts) -> Option<Status> {
    let status = Status::from_headers(&parts.headers);
    if status.is_some() {
        return status;
    }
    if parts.status != StatusCode::OK {
        return Some(Status::from_http(parts.status));
    }
    // Without one it is taken for what it should be.
    let content_type = parts.headers.get(CONTENT_TYPE)?;
    let is_grpc = content_type.as_bytes().starts_with(GRPC.as_bytes());
    (!is_grpc).then(|| {
        let text = format!("the response is no gRPC: its content-type is {content_type:?}");
        Status::new(Code::Unknown, text)
    })
}

/// Ends a call that has no response but its status.
fn finish(
    shared: &Shared<Server>,
    stream: Key,
    kind: MethodKind,
    status: &Status,
    trailers: &HeaderMap,
) {
    let (head, status) = heads::close(status, trailers, &shared.options);
    shared.with_now(|state, after| {
        state.count_dropped(&head);
        if let Some(entry) = state.streams.get(stream) {
            let (ok, hold) = success(&status, kind, &state.options);
            entry.set_close(head.bytes, ok, hold);
            state.feed(stream, after);
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

/// A response on its way.
struct Sending<'s> {
    shared: &'s Shared<Server>,
    stream: Key,
    kind: MethodKind,
    /// The head of the response, until it was handed over.
    head: Option<heads::Head>,
    pump: Pump,
}

impl Sending<'_> {
    fn poll<B>(&mut self, cx: &mut Context<'_>, mut body: Pin<&mut B>) -> Poll<()>
    where
        B: Body<Data: bytes::Buf, Error: Into<BoxError>>,
    {
        let shared = self.shared;
        loop {
            let end = match self.pump.poll_read(cx, body.as_mut(), &shared.options) {
                Poll::Ready(end) => Some(self.close(end)),
                Poll::Pending => None,
            };
            let ended = end.is_some();
            match self.hand_over(cx, end) {
                _ if ended => return Poll::Ready(()),
                Handed::ReadOn => {}
                Handed::Wait => return Poll::Pending,
                // The handler sees it where it looks, and may still have something to do.
                Handed::Gone => return Poll::Ready(()),
            }
        }
    }

    fn hand_over(&mut self, cx: &Context<'_>, end: Option<(heads::Head, bool, Hold)>) -> Handed {
        let Self {
            shared,
            stream,
            head,
            pump,
            ..
        } = self;
        let stream = *stream;
        let act = |state: &mut crate::state::State<Server>, after: &mut crate::after::After| {
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
            pump.hand_over(cx, state, stream, finish, after)
        };
        shared.with_now(act)
    }

    /// What to close the call with.
    fn close(&self, end: BodyEnd) -> (heads::Head, bool, Hold) {
        let options = &self.shared.options;
        let none = HeaderMap::new();
        let (head, status) = match end {
            BodyEnd::Trailers(trailers) => {
                let status = Status::from_headers(&trailers).unwrap_or_else(no_status);
                heads::close(&status, &trailers, options)
            }
            BodyEnd::Plain => heads::close(&no_status(), &none, options),
            BodyEnd::Failed(error) => heads::close(&status_of(&*error, options), &none, options),
            BodyEnd::Unfit(status) => heads::close(&status, &none, options),
        };
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

/// The status of an error of the handler: its own, if it is known how to find it, else
/// UNAVAILABLE, which is what an error means that has no status: whatever would handle the call
/// was not reached.
fn status_of(error: &(dyn Error + Send + Sync + 'static), options: &Options) -> Status {
    let known = options
        .status_of_error
        .and_then(|status_of| status_of(error));
    known.unwrap_or_else(|| Status::new(Code::Unavailable, chain(error)))
}
