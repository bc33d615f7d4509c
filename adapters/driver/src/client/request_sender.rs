//! Sending the request of a call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use grpctunnel_core::{Client, Code, Key};
use http_body::Body;

use crate::body::reader::{BodyEnd, BodyReader};
use crate::body::send_queue::QueueShare;
use crate::client::encoding;
use crate::deferred::Deferred;
use crate::error::{BoxError, CallError};
use crate::grpc::status::Status;
use crate::options::Options;
use crate::panics::contain;
use crate::tunnel::call_end::CallEnd;
use crate::tunnel::send::SendProgress;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::State;
use crate::tunnel::stream::Finish;

/// Reads a request body and sends it.
#[derive(Debug)]
pub(crate) struct RequestSender<B> {
    reader: BodyReader,
    /// None: it was read to its end, or the rest has no reader.
    body: Option<Pin<Box<B>>>,
    /// The end of the body, if it is known and was not sent.
    end: Option<Result<(), CallEnd>>,
}

impl<B: Body<Error: Into<BoxError>>> RequestSender<B> {
    pub(crate) fn new(body: B, share: QueueShare) -> Self {
        Self {
            reader: BodyReader::new(share),
            body: Some(Box::pin(body)),
            end: None,
        }
    }

    /// The bytes that were read and not sent.
    pub(crate) const fn queued(&self) -> usize {
        self.reader.queued()
    }

    /// Whether there is nothing left to do.
    pub(crate) const fn is_done(&self) -> bool {
        self.body.is_none() && self.end.is_none()
    }

    /// Reads what there is now, as far as there is room for it.
    pub(crate) fn read(&mut self, cx: &mut Context<'_>, options: &Options) {
        let Some(body) = &mut self.body else {
            return;
        };
        if let Poll::Ready(end) = self.reader.poll_read(cx, body.as_mut(), options) {
            self.body = None;
            self.end = Some(match end {
                BodyEnd::NoTrailers | BodyEnd::Trailers(_) => Ok(()),
                BodyEnd::Failed(error) => Err(CallEnd::Failed(CallError::request_body(error))),
                BodyEnd::Invalid(status) => Err(CallEnd::status(status)),
                BodyEnd::Compressed => Err(encoding::refused()),
            });
        }
    }

    /// Whether the first message is compressed, once it is known. A body without messages has none
    /// that is.
    pub(crate) fn first_flag(&self) -> Option<bool> {
        let ended = self.body.is_none().then_some(false);
        self.reader.first_flag().or(ended)
    }

    /// Ends the call at the next compressed message, which the tunnel cannot carry. Returns whether
    /// there was one before.
    pub(crate) fn refuse_compressed(&mut self) -> bool {
        self.reader.refuse_compressed()
    }

    /// The failure of a body that was read before its call was opened.
    pub(crate) fn take_failure(&mut self) -> Option<CallEnd> {
        match self.end.take() {
            Some(Err(end)) => Some(end),
            end => {
                self.end = end;
                None
            }
        }
    }

    /// Sends what was read, under the lock.
    pub(crate) fn send(
        &mut self,
        cx: &Context<'_>,
        state: &mut State<Client>,
        stream: Key,
        deferred: &mut Deferred,
    ) -> SendProgress {
        let end = self.end.take();
        if let Some(Err(end)) = end {
            state.fail(stream, end, deferred);
            return SendProgress::Ended;
        }
        if end.is_some()
            && let Some(entry) = state.streams.get(stream)
        {
            entry.finish = Some(Finish::HalfClose);
        }
        state.send(cx, stream, &mut self.reader, deferred)
    }

    /// Drops the body: the rest has no reader.
    pub(crate) fn stop(&mut self) {
        self.body = None;
        self.end = None;
    }
}

/// The task that sends the rest of a request whose response has begun. It ends with the request,
/// or with the call. Dropped before, it cancels the call: its handler must not wait for the rest.
pub(crate) struct RequestSendTask<B> {
    shared: Arc<Shared<Client>>,
    stream: Key,
    sender: RequestSender<B>,
    done: bool,
}

impl<B> RequestSendTask<B> {
    pub(crate) const fn new(
        shared: Arc<Shared<Client>>,
        stream: Key,
        sender: RequestSender<B>,
    ) -> Self {
        Self {
            shared,
            stream,
            sender,
            done: false,
        }
    }

    fn fail(&mut self, end: CallEnd) {
        self.done = true;
        self.shared
            .with(|state, deferred| state.fail(self.stream, end, deferred));
    }
}

impl<B: Body<Error: Into<BoxError>>> RequestSendTask<B> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.sender.read(cx, &self.shared.options);
            let progress = self
                .shared
                .with(|state, deferred| self.sender.send(cx, state, self.stream, deferred));
            match progress {
                SendProgress::ReadMore => {}
                SendProgress::Wait if self.sender.is_done() => return Poll::Ready(()),
                SendProgress::Wait => return Poll::Pending,
                SendProgress::Ended => return Poll::Ready(()),
            }
        }
    }
}

impl<B> Drop for RequestSendTask<B> {
    fn drop(&mut self) {
        if !self.done {
            // An executor drops tasks when it ends.
            let text = "the task that sends the request was dropped before its end";
            self.fail(CallEnd::status(Status::new(Code::Unavailable, text)));
        }
    }
}

impl<B: Body<Error: Into<BoxError>>> Future for RequestSendTask<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match contain(|| this.poll_send(cx)) {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(())) => this.done = true,
            None => {
                let error = BoxError::from("the request body panicked");
                this.fail(CallEnd::Failed(CallError::request_body(error)));
            }
        }
        Poll::Ready(())
    }
}
