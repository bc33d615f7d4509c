//! Sending the request of a call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use grpctunnel_core::{Client, Key};
use http_body::Body;

use crate::after::After;
use crate::error::{BoxError, CallError};
use crate::options::Options;
use crate::pump::{BodyEnd, Handed, Pump};
use crate::queue::Share;
use crate::shared::Shared;
use crate::state::State;
use crate::stream::{Ending, Finish};

/// Reads a request body and sends it.
#[derive(Debug)]
pub(crate) struct Sender<B> {
    pump: Pump,
    /// None: it was read to its end, or nobody wants the rest.
    body: Option<Pin<Box<B>>>,
    /// The end of the body, if it is known and was not told.
    end: Option<Result<(), Ending>>,
}

impl<B> Sender<B>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    pub(crate) fn new(body: B, share: Share) -> Self {
        Self {
            pump: Pump::new(share),
            body: Some(Box::pin(body)),
            end: None,
        }
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
        if let Poll::Ready(end) = self.pump.poll_read(cx, body.as_mut(), options) {
            self.body = None;
            self.end = Some(match end {
                BodyEnd::Plain | BodyEnd::Trailers(_) => Ok(()),
                BodyEnd::Failed(error) => Err(Ending::Failed(CallError::request_body(error))),
                BodyEnd::Unfit(status) => Err(Ending::status(status)),
            });
        }
    }

    /// The failure of a body that was read before its call was opened.
    pub(crate) fn take_failure(&mut self) -> Option<Ending> {
        match self.end.take() {
            Some(Err(ending)) => Some(ending),
            end => {
                self.end = end;
                None
            }
        }
    }

    /// Sends what was read, under the lock.
    pub(crate) fn hand_over(
        &mut self,
        cx: &Context<'_>,
        state: &mut State<Client>,
        stream: Key,
        after: &mut After,
    ) -> Handed {
        let end = self.end.take();
        if let Some(Err(ending)) = end {
            state.fail(stream, ending, after);
            return Handed::Gone;
        }
        let finish = end.map(|_| Finish::HalfClose);
        self.pump.hand_over(cx, state, stream, finish, after)
    }

    /// Drops the body: nobody wants the rest.
    pub(crate) fn stop(&mut self) {
        self.body = None;
        self.end = None;
    }
}

/// The task that sends the rest of a request whose response has begun. It ends with the request,
/// or with the call.
pub(crate) struct SendTask<B> {
    pub(crate) shared: Arc<Shared<Client>>,
    pub(crate) stream: Key,
    pub(crate) sender: Sender<B>,
}

impl<B> Future for SendTask<B>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            this.sender.read(cx, &this.shared.options);
            let handed = this
                .shared
                .with(|state, after| this.sender.hand_over(cx, state, this.stream, after));
            match handed {
                Handed::ReadOn => {}
                Handed::Wait if this.sender.is_done() => return Poll::Ready(()),
                Handed::Wait => return Poll::Pending,
                Handed::Gone => return Poll::Ready(()),
            }
        }
    }
}
