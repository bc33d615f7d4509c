//! A call, until its response begins.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use grpctunnel_core::wire::Encoded;
use grpctunnel_core::wire::Timeout;
use grpctunnel_core::{Client, Key, MethodKind, OpenError, OpenOptions, Reason, Side, Time};
use http::{Request, Response};
use http_body::Body;

use crate::after::After;
use crate::client::half::Call;
use crate::client::response::Answer;
use crate::client::sender::{SendTask, Sender};
use crate::client::{Channel, ResponseBody};
use crate::error::{BoxError, CallError};
use crate::heads;
use crate::metadata::names;
use crate::options::Options;
use crate::pump::Handed;
use crate::runtime::Sleep;
use crate::shared::Shared;
use crate::state::{State, Waiter};
use crate::status::Status;
use crate::stream::{Ending, Stream};

/// A call on a [`Channel`] that has no response yet. Dropping it cancels the call.
///
/// It also sends the request, as long as it is polled; what is left of the request when the
/// response begins is sent by a task.
pub struct ResponseFuture<B> {
    phase: Phase<B>,
}

enum Phase<B> {
    New(Channel, Request<B>),
    /// The tunnel has no room, or was not asked yet.
    Unopened(Unopened<B>),
    Open(Call, Sender<B>),
    Done,
}

impl<B> Unpin for ResponseFuture<B> {}

impl<B> ResponseFuture<B> {
    pub(crate) const fn new(channel: Channel, request: Request<B>) -> Self {
        Self {
            phase: Phase::New(channel, request),
        }
    }
}

/// A call that is to be opened.
struct Unopened<B> {
    /// Also keeps the tunnel from being drained because nobody has a handle.
    channel: Channel,
    head: Vec<u8>,
    dropped: u32,
    options: OpenOptions,
    sender: Sender<B>,
    place: Place,
    sleep: Option<Sleep>,
}

/// A place among those who wait to open a call.
struct Place {
    shared: Arc<Shared<Client>>,
    ticket: Option<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.shared
                .with(|state, after| state.leave(&mut self.ticket, after));
        }
    }
}

impl State<Client> {
    /// Whether it is the turn of the one with this ticket, or of one without.
    fn is_next(&self, ticket: Option<u64>) -> bool {
        match self.waiters.front() {
            None => true,
            Some(waiter) => Some(waiter.ticket) == ticket,
        }
    }

    /// Waits for a turn, or goes on waiting.
    fn queue(&mut self, ticket: &mut Option<u64>, cx: &Context<'_>, after: &mut After) {
        if ticket.is_none() {
            self.tickets = self.tickets.wrapping_add(1);
            *ticket = Some(self.tickets);
            self.waiters.push_back(Waiter {
                ticket: self.tickets,
                waker: None,
            });
        }
        let waiter = self
            .waiters
            .iter_mut()
            .find(|waiter| Some(waiter.ticket) == *ticket);
        if let Some(waiter) = waiter {
            after.register(&mut waiter.waker, cx.waker());
        }
    }

    /// Waits no longer. The next one may have been waiting for this one only.
    fn leave(&mut self, ticket: &mut Option<u64>, after: &mut After) {
        let Some(ticket) = ticket.take() else {
            return;
        };
        let place = self
            .waiters
            .iter()
            .position(|waiter| waiter.ticket == ticket);
        if let Some(waiter) = place.and_then(|place| self.waiters.remove(place)) {
            after.drop_waker(waiter.waker);
        }
        self.wake_next_waiter(after);
    }

    /// Opens a call if there is room for it, and it is its turn.
    fn try_open<B>(
        &mut self,
        call: &mut Unopened<B>,
        cx: &Context<'_>,
        after: &mut After,
    ) -> Option<Result<Key, OpenError>>
    where
        B: Body<Data: Buf, Error: Into<BoxError>>,
    {
        let over = self.tunnel.is_draining() || self.tunnel.is_ended();
        if !over && !self.is_next(call.place.ticket) {
            self.queue(&mut call.place.ticket, cx, after);
            return None;
        }
        let head_len = u32::try_from(call.head.len()).unwrap_or(u32::MAX);
        match self
            .tunnel
            .open(self.now, Encoded::kept(head_len, true), call.options)
        {
            Err(OpenError::NotSettled | OpenError::Full) => {
                self.queue(&mut call.place.ticket, cx, after);
                None
            }
            Err(error) => {
                self.leave(&mut call.place.ticket, after);
                Some(Err(error))
            }
            Ok(stream) => {
                self.leave(&mut call.place.ticket, after);
                let mut entry = Stream::new(stream, self.queue.share());
                entry.head = std::mem::take(&mut call.head);
                self.streams.insert(entry, after);
                self.dropped = self.dropped.saturating_add(u64::from(call.dropped));
                Some(Ok(stream))
            }
        }
    }
}

/// The deadline and the kind of a call.
fn open_options<B>(
    request: &Request<B>,
    now: Time,
    options: &Options,
) -> Result<OpenOptions, Status> {
    let timeouts = request.headers().get_all(names::GRPC_TIMEOUT);
    let timeout = timeouts
        .iter()
        .next_back()
        .and_then(|value| Timeout::parse(value.as_bytes()));
    let deadline = match timeout {
        None => None,
        Some(Timeout::After(timeout)) => Some(now.saturating_add(timeout)),
        Some(Timeout::Expired) => return Err(deadline_exceeded()),
    };
    let kind = match request.extensions().get::<MethodKind>() {
        Some(kind) => *kind,
        None => options.method_kinds.get(request.uri().path()),
    };
    Ok(OpenOptions { deadline, kind })
}

fn deadline_exceeded() -> Status {
    let reason = Reason::DeadlineExceeded;
    Status::new(reason.code(Side::Client), reason.text())
}

/// The end of a call whose deadline passed before it was opened.
fn too_late() -> Box<Ending> {
    Box::new(Ending::never_processed(deadline_exceeded()))
}

impl<B> Unopened<B>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    fn new(channel: Channel, request: Request<B>) -> Result<Self, Status> {
        let shared = channel.shared().clone();
        let options = open_options(&request, shared.now(), &shared.options)?;
        let head = heads::open(request.uri().path(), request.headers(), &shared.options)?;
        Ok(Self {
            head: head.bytes,
            dropped: head.dropped,
            options,
            sender: Sender::new(request.into_body(), shared.queue.share()),
            place: Place {
                shared,
                ticket: None,
            },
            sleep: None,
            channel,
        })
    }

    /// Opens the call, and sends what there is of its request.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<Key, Box<Ending>>> {
        let shared = self.channel.shared().clone();
        self.sender.read(cx, &shared.options);
        if let Some(ending) = self.sender.take_failure() {
            return Poll::Ready(Err(Box::new(ending)));
        }
        let now = shared.now();
        if self
            .options
            .deadline
            .is_some_and(|deadline| deadline <= now)
        {
            return Poll::Ready(Err(too_late()));
        }
        let opened = shared.with(|state, after| {
            state.touch(now);
            let opened = state.try_open(self, cx, after)?;
            if let Ok(stream) = opened {
                self.sender.hand_over(cx, state, stream, after);
            }
            Some(opened)
        });
        match opened {
            Some(Ok(stream)) => Poll::Ready(Ok(stream)),
            Some(Err(error)) => {
                let status = Status::new(error.code(), error.to_string());
                Poll::Ready(Err(Box::new(Ending::never_processed(status))))
            }
            None => self.poll_deadline(cx, &shared),
        }
    }

    /// A call that waits is not known to the core, and neither is its deadline.
    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared<Client>,
    ) -> Poll<Result<Key, Box<Ending>>> {
        let Some(deadline) = self.options.deadline else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| shared.runtime.sleep_until(shared.instant(deadline)));
        sleep.as_mut().poll(cx).map(|()| Err(too_late()))
    }
}

/// Sends what the request has now, and looks for the response.
fn poll_answer<B>(call: &Call, sender: &mut Sender<B>, cx: &mut Context<'_>) -> Poll<Answer>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    loop {
        sender.read(cx, &call.shared.options);
        let (handed, answer) = call.shared.with(|state, after| {
            let handed = if sender.is_done() {
                Handed::Wait
            } else {
                sender.hand_over(cx, state, call.stream, after)
            };
            (handed, state.answer(call.stream, cx, after))
        });
        if handed == Handed::Gone {
            sender.stop();
        }
        match answer {
            Some(answer) => return Poll::Ready(answer),
            None if handed == Handed::ReadOn => {}
            None => return Poll::Pending,
        }
    }
}

impl<B> Future for ResponseFuture<B>
where
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::New(channel, request) => match Unopened::new(channel, request) {
                    Ok(call) => self.phase = Phase::Unopened(call),
                    Err(status) => {
                        let answer = Answer::End(Ending::never_processed(status));
                        return Poll::Ready(answer.into_response(None));
                    }
                },
                Phase::Unopened(mut call) => match call.poll_open(cx) {
                    Poll::Pending => {
                        self.phase = Phase::Unopened(call);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(ending)) => {
                        return Poll::Ready(Answer::End(*ending).into_response(None));
                    }
                    Poll::Ready(Ok(stream)) => {
                        let shared = call.channel.shared().clone();
                        self.phase = Phase::Open(Call::new(shared, stream), call.sender);
                    }
                },
                Phase::Open(mut call, mut sender) => {
                    let Poll::Ready(answer) = poll_answer(&call, &mut sender, cx) else {
                        self.phase = Phase::Open(call, sender);
                        return Poll::Pending;
                    };
                    if answer.is_end() {
                        call.released = true;
                        return Poll::Ready(answer.into_response(None));
                    }
                    if !sender.is_done() {
                        call.shared.runtime.spawn(SendTask {
                            shared: call.shared.clone(),
                            stream: call.stream,
                            sender,
                        });
                    }
                    return Poll::Ready(answer.into_response(Some(call)));
                }
                // A future that is polled after its end may say anything but its value.
                Phase::Done => return Poll::Pending,
            }
        }
    }
}

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::New(..) | Phase::Unopened(_) => "waiting to be opened",
            Phase::Open(..) => "open",
            Phase::Done => "done",
        };
        f.debug_tuple("ResponseFuture").field(&phase).finish()
    }
}
