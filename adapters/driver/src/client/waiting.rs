//! Calls that wait to be opened.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use grpctunnel_core::wire::Encoded;
use grpctunnel_core::wire::Timeout;
use grpctunnel_core::{Client, Key, MethodKind, OpenError, OpenOptions, Side, StreamReason, Time};
use http::Request;
use http_body::Body;

use crate::client::call::Handle;
use crate::client::request_sender::RequestSender;
use crate::deferred::Deferred;
use crate::error::BoxError;
use crate::grpc::headers::GRPC_TIMEOUT;
use crate::grpc::status::Status;
use crate::options::Options;
use crate::runtime::Sleep;
use crate::tunnel::call_end::CallEnd;
use crate::tunnel::heads;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::{State, WaitingCall};
use crate::tunnel::stream::Stream;

/// A call that is not opened yet: it waits for its turn, or for room in the tunnel.
pub(crate) struct PendingCall<B> {
    /// Keeps the tunnel from being drained while the call waits.
    handle: Arc<Handle>,
    head: Vec<u8>,
    dropped: u32,
    options: OpenOptions,
    pub(crate) sender: RequestSender<B>,
    turn: Turn,
    sleep: Option<Sleep>,
}

/// A place in the queue of calls that wait to be opened. Dropping it leaves the queue.
struct Turn {
    shared: Arc<Shared<Client>>,
    ticket: Option<u64>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.shared
                .with(|state, deferred| state.stop_waiting(&mut self.ticket, deferred));
        }
    }
}

impl State<Client> {
    /// Whether it is the turn of the call with this ticket, or of a new call without one.
    fn is_next(&self, ticket: Option<u64>) -> bool {
        match self.waiting_calls.front() {
            None => true,
            Some(waiter) => Some(waiter.ticket) == ticket,
        }
    }

    /// Joins the queue, or stays in it.
    fn wait_turn(&mut self, ticket: &mut Option<u64>, cx: &Context<'_>, deferred: &mut Deferred) {
        if ticket.is_none() {
            self.last_ticket = self.last_ticket.wrapping_add(1);
            *ticket = Some(self.last_ticket);
            self.waiting_calls.push_back(WaitingCall {
                ticket: self.last_ticket,
                waker: None,
            });
        }
        let waiter = self
            .waiting_calls
            .iter_mut()
            .find(|waiter| Some(waiter.ticket) == *ticket);
        if let Some(waiter) = waiter {
            deferred.register(&mut waiter.waker, cx.waker());
        }
    }

    /// Leaves the queue. The next call may have waited for this one only.
    fn stop_waiting(&mut self, ticket: &mut Option<u64>, deferred: &mut Deferred) {
        let Some(ticket) = ticket.take() else {
            return;
        };
        let position = self
            .waiting_calls
            .iter()
            .position(|waiter| waiter.ticket == ticket);
        if let Some(waiter) = position.and_then(|position| self.waiting_calls.remove(position)) {
            deferred.drop_waker(waiter.waker);
        }
        self.wake_next_waiting_call(deferred);
    }

    /// Opens a call if there is room for it, and it is its turn.
    fn try_open<B>(
        &mut self,
        call: &mut PendingCall<B>,
        cx: &Context<'_>,
        deferred: &mut Deferred,
    ) -> Option<Result<Key, OpenError>>
    where
        B: Body<Data: Buf, Error: Into<BoxError>>,
    {
        let over = self.tunnel.is_draining() || self.tunnel.is_ended();
        if !over && !self.is_next(call.turn.ticket) {
            self.wait_turn(&mut call.turn.ticket, cx, deferred);
            return None;
        }
        let head_len = u32::try_from(call.head.len()).unwrap_or(u32::MAX);
        let head = Encoded::kept(head_len, true);
        match self.tunnel.open(self.now, head, call.options) {
            Err(OpenError::NotSettled | OpenError::Full) => {
                self.wait_turn(&mut call.turn.ticket, cx, deferred);
                None
            }
            Err(error) => {
                self.stop_waiting(&mut call.turn.ticket, deferred);
                Some(Err(error))
            }
            Ok(stream) => {
                self.stop_waiting(&mut call.turn.ticket, deferred);
                let mut entry = Stream::new(stream, self.queue.share());
                entry.head = std::mem::take(&mut call.head);
                self.streams.insert(entry, deferred);
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
    let timeouts = request.headers().get_all(GRPC_TIMEOUT);
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
    let reason = StreamReason::DeadlineExceeded;
    Status::new(reason.code(Side::Client), reason.text())
}

/// The end of a call whose deadline passed before it was opened.
fn expired() -> Box<CallEnd> {
    Box::new(CallEnd::never_processed(deadline_exceeded()))
}

impl<B> PendingCall<B>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    pub(crate) fn new(handle: Arc<Handle>, request: Request<B>) -> Result<Self, Status> {
        let shared = handle.shared.clone();
        let options = open_options(&request, shared.now(), &shared.options)?;
        let head = heads::open(request.uri().path(), request.headers(), &shared.options)?;
        Ok(Self {
            head: head.bytes,
            dropped: head.dropped,
            options,
            sender: RequestSender::new(request.into_body(), shared.queue.share()),
            turn: Turn {
                shared,
                ticket: None,
            },
            sleep: None,
            handle,
        })
    }

    /// The tunnel of the call.
    pub(crate) fn shared(&self) -> &Arc<Shared<Client>> {
        &self.handle.shared
    }

    /// Opens the call, and sends what there is of its request.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<Key, Box<CallEnd>>> {
        let shared = self.shared().clone();
        self.sender.read(cx, &shared.options);
        if let Some(end) = self.sender.take_failure() {
            return Poll::Ready(Err(Box::new(end)));
        }
        let now = shared.now();
        if self
            .options
            .deadline
            .is_some_and(|deadline| deadline <= now)
        {
            return Poll::Ready(Err(expired()));
        }
        let opened = shared.with(|state, deferred| {
            state.advance_clock(now);
            let opened = state.try_open(self, cx, deferred)?;
            if let Ok(stream) = opened {
                self.sender.send(cx, state, stream, deferred);
            }
            Some(opened)
        });
        match opened {
            Some(Ok(stream)) => Poll::Ready(Ok(stream)),
            Some(Err(error)) => {
                let status = Status::new(error.code(), error.to_string());
                Poll::Ready(Err(Box::new(CallEnd::never_processed(status))))
            }
            None => self.poll_deadline(cx, &shared),
        }
    }

    /// A call that waits is not known to the core, and neither is its deadline.
    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared<Client>,
    ) -> Poll<Result<Key, Box<CallEnd>>> {
        let Some(deadline) = self.options.deadline else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| shared.runtime.sleep_until(shared.instant(deadline)));
        sleep.as_mut().poll(cx).map(|()| Err(expired()))
    }
}
