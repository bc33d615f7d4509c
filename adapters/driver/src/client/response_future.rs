//! A call that has no response yet.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use grpctunnel_core::Client;
use http::{Request, Response};
use http_body::Body;

use crate::client::call::Call;
use crate::client::request_sender::{RequestSendTask, RequestSender};
use crate::client::response_body::{ResponseBody, ResponseStart};
use crate::client::waiting::PendingCall;
use crate::error::{BoxError, CallError};
use crate::telemetry::CallSpan;
use crate::tunnel::call_end::CallEnd;
use crate::tunnel::handle::Handle;
use crate::tunnel::send::SendProgress;

/// A call on a [`Channel`](crate::Channel) that has no response yet. Dropping it cancels the call.
///
/// It also sends the request, as long as it is polled; what is left of the request when the
/// response begins is sent by a task.
pub struct ResponseFuture<B> {
    phase: Phase<B>,
    span: CallSpan,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most calls are pending for a moment, which an allocation would not make shorter"
)]
enum Phase<B> {
    /// Made at this time.
    New(Arc<Handle<Client>>, Request<B>, Instant),
    /// Not opened yet.
    Pending(PendingCall<B>),
    Open(Call, RequestSender<B>),
    Done,
}

impl<B> Unpin for ResponseFuture<B> {}

impl<B> ResponseFuture<B> {
    /// A call that was made at this time.
    pub(crate) fn new(handle: Arc<Handle<Client>>, request: Request<B>, made: Instant) -> Self {
        Self {
            span: CallSpan::new(request.uri().path(), handle.shared.id),
            phase: Phase::New(handle, request, made),
        }
    }

    fn respond(
        &mut self,
        start: ResponseStart,
        rest: Option<Call>,
    ) -> Poll<Result<Response<ResponseBody>, CallError>> {
        Poll::Ready(start.into_response(rest, std::mem::take(&mut self.span)))
    }
}

/// Sends what the request has now, and takes the start of the response.
fn poll_response<B>(
    call: &Call,
    sender: &mut RequestSender<B>,
    cx: &mut Context<'_>,
) -> Poll<ResponseStart>
where
    B: Body<Error: Into<BoxError>>,
{
    loop {
        sender.read(cx, &call.shared.options);
        let (progress, start) = call.shared.with(|state, deferred| {
            let progress = if sender.is_done() {
                SendProgress::Wait
            } else {
                sender.send(cx, state, call.stream, deferred)
            };
            (progress, state.response_start(call.stream, cx, deferred))
        });
        if progress == SendProgress::Ended {
            sender.stop();
        }
        match start {
            Some(start) => return Poll::Ready(start),
            None if progress == SendProgress::ReadMore => {}
            None => return Poll::Pending,
        }
    }
}

impl<B: Body<Error: Into<BoxError>> + Send + 'static> Future for ResponseFuture<B> {
    type Output = Result<Response<ResponseBody>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::New(handle, request, made) => {
                    match PendingCall::new(handle, request, made) {
                        Ok(call) => self.phase = Phase::Pending(call),
                        Err(status) => {
                            let start = ResponseStart::End(CallEnd::status(status));
                            return self.respond(start, None);
                        }
                    }
                }
                Phase::Pending(mut call) => match call.poll_open(cx) {
                    Poll::Pending => {
                        self.phase = Phase::Pending(call);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(end)) => {
                        return self.respond(ResponseStart::End(*end), None);
                    }
                    Poll::Ready(Ok((stream, progress))) => {
                        let shared = call.shared().clone();
                        if progress == SendProgress::Ended {
                            call.sender.stop();
                        }
                        self.phase = Phase::Open(Call::new(shared, stream), call.sender);
                        if progress == SendProgress::Wait {
                            return Poll::Pending;
                        }
                    }
                },
                Phase::Open(mut call, mut sender) => {
                    let Poll::Ready(start) = poll_response(&call, &mut sender, cx) else {
                        self.phase = Phase::Open(call, sender);
                        return Poll::Pending;
                    };
                    if start.is_end() {
                        call.released = true;
                        return self.respond(start, None);
                    }
                    if !sender.is_done() {
                        let shared = call.shared.clone();
                        let task = RequestSendTask::new(shared, call.stream, sender);
                        call.shared.runtime.spawn(task);
                    }
                    return self.respond(start, Some(call));
                }
                // Polled again after it was ready.
                Phase::Done => return Poll::Pending,
            }
        }
    }
}

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::New(..) | Phase::Pending(_) => "waiting to be opened",
            Phase::Open(..) => "open",
            Phase::Done => "done",
        };
        f.debug_tuple("ResponseFuture").field(&phase).finish()
    }
}
