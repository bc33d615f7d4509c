//! Calls that are not open yet.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use grpctunnel_core::wire::{Encoded, Extension, Timeout};
use grpctunnel_core::{
    Client, Code, Growing, Key, MethodKind, OpenError, OpenOptions, Side, StreamReason, Time,
    Tunnel,
};
use http::{HeaderMap, Request, Uri};
use http_body::Body;

use crate::client::encoding::{self, FlagWait};
use crate::client::request_sender::RequestSender;
use crate::deferred::Deferred;
use crate::error::BoxError;
use crate::grpc::headers::{GRPC_TIMEOUT, names_encoding};
use crate::grpc::status::Status;
use crate::options::Options;
use crate::runtime::Sleep;
use crate::tunnel::call_end::CallEnd;
use crate::tunnel::handle::Handle;
use crate::tunnel::heads::{self, Head};
use crate::tunnel::send::SendProgress;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::State;
use crate::tunnel::waiting_calls::{NewCall, Place, Waited};

/// A call that is not open yet: it is new, or waits for room in the tunnel.
pub(crate) struct PendingCall<B> {
    /// Keeps the tunnel from being drained while the call waits.
    handle: Arc<Handle<Client>>,
    /// Method and metadata. None: it waits.
    new: Option<(Uri, HeaderMap)>,
    options: OpenOptions,
    flag_wait: FlagWait,
    /// Until the deadline, while the call waits for its first message.
    sleep: Option<Sleep>,
    pub(crate) sender: RequestSender<B>,
    turn: Option<Turn>,
}

/// A turn among the calls that wait. Dropping it leaves the queue.
struct Turn {
    shared: Arc<Shared<Client>>,
    place: Place,
    expires: Time,
    sleep: Sleep,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.with(|state, deferred| {
            let waited = state.waiting_calls.leave(&self.place, deferred);
            if let Some(Waited::Opened(stream)) = waited {
                state.release(stream, deferred);
            }
        });
    }
}

/// A call that was opened, and what is to be done next for its request; or its end.
pub(crate) type Opened = Result<(Key, SendProgress), Box<CallEnd>>;

/// What becomes of a new call.
enum Entry {
    Opened(Key),
    Waits(Place),
    TooManyWait,
    OverBudget(Status),
    Refused(OpenError),
}

impl State<Client> {
    /// Opens a call unless others wait for room, or there is none; then it waits until `expires`.
    fn enter(
        &mut self,
        call: NewCall,
        expires: Time,
        cx: &Context<'_>,
        deferred: &mut Deferred,
    ) -> Entry {
        let over = self.tunnel.is_draining() || self.tunnel.is_ended();
        if let Some(status) = self.over_budget(&call) {
            return Entry::OverBudget(status);
        }
        if over || self.waiting_calls.is_empty() {
            match open(&mut self.tunnel, self.now, &call) {
                Ok(stream) => {
                    self.insert(stream, call, deferred);
                    return Entry::Opened(stream);
                }
                Err(OpenError::NotSettled | OpenError::Full) => {}
                Err(error) => return Entry::Refused(error),
            }
        }
        let max = self.options.max_waiting;
        if self.waiting_calls.len() >= max {
            self.waiting_calls.expire(self.now, deferred);
        }
        if self.waiting_calls.len() >= max {
            return Entry::TooManyWait;
        }
        Entry::Waits(self.waiting_calls.join(call, expires, cx))
    }

    /// Why no call is opened because of what waits in other tunnels, if so.
    fn over_budget(&self, call: &NewCall) -> Option<Status> {
        // Such a tunnel has a better reason.
        let over = self.tunnel.is_draining() || self.tunnel.is_ended();
        let budget = self.options.budget.as_ref().filter(|_| !over);
        budget?.refusal(call.queued)
    }

    /// Opens the calls that wait, as far as there is room, whether their tasks are polled or not.
    pub(crate) fn open_waiting(&mut self, deferred: &mut Deferred) {
        while let Some((call, expires)) = self.waiting_calls.first() {
            let waited = if expires <= self.now {
                Waited::Expired
            } else if let Some(status) = self.over_budget(call) {
                Waited::OverBudget(status)
            } else {
                match open(&mut self.tunnel, self.now, call) {
                    Ok(stream) => Waited::Opened(stream),
                    Err(OpenError::NotSettled | OpenError::Full) => return,
                    Err(error) => Waited::Refused(error),
                }
            };
            let opened = match &waited {
                Waited::Opened(stream) => Some(*stream),
                Waited::Refused(_) | Waited::OverBudget(_) | Waited::Expired => None,
            };
            let call = self.waiting_calls.decide(waited, deferred);
            if let Some((stream, call)) = opened.zip(call) {
                self.insert(stream, call, deferred);
            }
        }
    }

    fn insert(&mut self, stream: Key, call: NewCall, deferred: &mut Deferred) {
        self.streams.insert(stream, self.queue.share(), deferred);
        if let Some(entry) = self.streams.get(stream) {
            entry.head = call.head;
        }
        self.dropped = self.dropped.saturating_add(u64::from(call.dropped));
    }
}

fn open(tunnel: &mut Tunnel<Client, Growing>, now: Time, call: &NewCall) -> Result<Key, OpenError> {
    let head_len = u32::try_from(call.head.len()).unwrap_or(u32::MAX);
    tunnel.open(now, Encoded::kept(head_len, true), call.options)
}

/// The deadline of a call that was `made` at this time, by its `grpc-timeout`. None: none that could
/// come.
pub(crate) fn deadline(headers: &HeaderMap, made: Instant) -> Result<Option<Instant>, Status> {
    let mut timeouts = headers.get_all(GRPC_TIMEOUT).iter();
    let timeout = timeouts
        .next_back()
        .and_then(|value| Timeout::parse(value.as_bytes()));
    match timeout {
        None => Ok(None),
        Some(Timeout::After(timeout)) => Ok(made.checked_add(timeout)),
        Some(Timeout::Expired) => Err(deadline_exceeded()),
    }
}

/// The deadline and the kind of a call that was `made` at this time.
fn open_options<B>(
    request: &Request<B>,
    made: Instant,
    shared: &Shared<Client>,
) -> Result<OpenOptions, Status> {
    let deadline = deadline(request.headers(), made)?.map(|deadline| shared.time(deadline));
    let kind = match request.extensions().get::<MethodKind>() {
        Some(kind) => *kind,
        None => shared.options.method_kinds.get(request.uri().path()),
    };
    Ok(OpenOptions { deadline, kind })
}

pub(crate) fn deadline_exceeded() -> Status {
    let reason = StreamReason::DeadlineExceeded;
    Status::new(reason.code(Side::Client), reason.text())
}

fn too_many_wait(options: &Options) -> Status {
    let text = format!(
        "the tunnel has no room for the call, and {} others wait already: the limit is \
         options.max_waiting",
        options.max_waiting
    );
    Status::new(Code::ResourceExhausted, text)
}

fn waited_too_long(options: &Options) -> Status {
    let text = format!(
        "the tunnel had no room for the call within {:?}: the limit is options.max_wait",
        options.max_wait
    );
    Status::new(Code::ResourceExhausted, text)
}

impl<B: Body<Error: Into<BoxError>>> PendingCall<B> {
    /// A call that was `made` at this time.
    pub(crate) fn new(
        handle: Arc<Handle<Client>>,
        request: Request<B>,
        made: Instant,
    ) -> Result<Self, Status> {
        let shared = handle.shared.clone();
        let options = open_options(&request, made, &shared)?;
        let (parts, body) = request.into_parts();
        Ok(Self {
            new: Some((parts.uri, parts.headers)),
            options,
            flag_wait: FlagWait::default(),
            sleep: None,
            sender: RequestSender::new(body, shared.queue.share()),
            turn: None,
            handle,
        })
    }

    /// The tunnel of the call.
    pub(crate) fn shared(&self) -> &Arc<Shared<Client>> {
        &self.handle.shared
    }

    /// Opens the call, and sends what there is of its request. Also returns what is to be done next
    /// for it; the task is woken when its response begins.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Opened> {
        let shared = self.shared().clone();
        let has_read = self.reads_now(&shared);
        if has_read {
            self.sender.read(cx, &shared.options);
        }
        if let Some(end) = self.sender.take_failure() {
            return Poll::Ready(Err(Box::new(end)));
        }
        let now = shared.now();
        if let Some((uri, headers)) = self.new.take() {
            let deadline = self.options.deadline;
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(Err(self.expired()));
            }
            let head = match self.poll_head(cx, &shared, &uri, &headers) {
                Poll::Ready(Ok(head)) => head,
                Poll::Ready(Err(end)) => return Poll::Ready(Err(Box::new(end))),
                Poll::Pending => {
                    self.new = Some((uri, headers));
                    return self.poll_deadline(cx, &shared);
                }
            };
            let call = NewCall {
                head: head.bytes,
                dropped: head.dropped,
                options: self.options,
                queued: self.sender.queued(),
            };
            let longest = now.saturating_add(shared.options.max_wait);
            let expires = deadline.map_or(longest, |deadline| deadline.min(longest));
            let (entry, progress) = self.enter(cx, &shared, call, (now, expires), has_read);
            match entry {
                Entry::Opened(stream) => return Poll::Ready(Ok((stream, progress))),
                Entry::Refused(error) => return Poll::Ready(Err(self.refused(error))),
                Entry::TooManyWait => {
                    let end = CallEnd::never_processed(too_many_wait(&shared.options));
                    return Poll::Ready(Err(Box::new(end)));
                }
                Entry::OverBudget(status) => {
                    return Poll::Ready(Err(Box::new(CallEnd::never_processed(status))));
                }
                Entry::Waits(place) => {
                    self.turn = Some(Turn {
                        place,
                        expires,
                        sleep: shared.runtime.sleep_until(shared.instant(expires)),
                        shared,
                    });
                }
            }
        }
        self.poll_turn(cx, now)
    }

    /// Asks the tunnel to take the call, and sends what there is of its request if it does.
    fn enter(
        &mut self,
        cx: &Context<'_>,
        shared: &Shared<Client>,
        call: NewCall,
        (now, expires): (Time, Time),
        has_read: bool,
    ) -> (Entry, SendProgress) {
        shared.with(|state, deferred| {
            state.advance_clock(now);
            let entry = state.enter(call, expires, cx, deferred);
            let progress = match entry {
                Entry::Opened(stream) => {
                    let progress = self.begin(cx, state, stream, deferred);
                    // What was left alone is read next.
                    progress.or_read(!has_read)
                }
                _ => SendProgress::Wait,
            };
            (entry, progress)
        })
    }

    /// Sends what there is of the request of a call that was opened, under the lock.
    fn begin(
        &mut self,
        cx: &Context<'_>,
        state: &mut State<Client>,
        stream: Key,
        deferred: &mut Deferred,
    ) -> SendProgress {
        if let Some(entry) = state.streams.get(stream) {
            deferred.register(&mut entry.reader, cx.waker());
        }
        self.sender.send(cx, state, stream, deferred)
    }

    /// Whether the body is read before the call is open. While there is no room, or never will be, it
    /// is left alone, so that the call can be made elsewhere; unless its first message decides
    /// whether the tunnel carries it.
    fn reads_now(&self, shared: &Shared<Client>) -> bool {
        let Some((_, headers)) = &self.new else {
            return false;
        };
        let state = shared.state();
        state.is_usable() && (state.room > 0 || names_encoding(headers))
    }

    /// Encodes the head of the call for the extensions in effect: a channel is handed out when its
    /// tunnel is settled, so they are known. Where they do not carry compressed messages, a call that
    /// names an encoding waits for the flag of its first message.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared<Client>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Poll<Result<Head, CallEnd>> {
        let extensions = shared.call_extensions();
        if !extensions.contains(Extension::Transparent) {
            if self.sender.refuse_compressed() {
                return Poll::Ready(Err(encoding::refused()));
            }
            if names_encoding(headers)
                && self.sender.first_flag().is_none()
                && self.flag_wait.poll(cx, &shared.runtime).is_pending()
            {
                return Poll::Pending;
            }
        }
        let head = heads::open(uri, headers, extensions, &shared.options);
        Poll::Ready(head.map_err(CallEnd::status))
    }

    /// A call that is not open is not known to the core, and neither is its deadline.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, shared: &Shared<Client>) -> Poll<Opened> {
        let Some(deadline) = self.options.deadline else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| shared.runtime.sleep_until(shared.instant(deadline)));
        sleep.as_mut().poll(cx).map(|()| Err(self.expired()))
    }

    /// Waits until there is room for the call.
    fn poll_turn(&mut self, cx: &mut Context<'_>, now: Time) -> Poll<Opened> {
        let Some(turn) = self.turn.take() else {
            return Poll::Pending;
        };
        let shared = turn.shared.clone();
        let (waited, progress) = shared.with(|state, deferred| {
            state.advance_clock(now);
            let waited = state.waiting_calls.poll(&turn.place, cx, deferred);
            let progress = match waited {
                Some(Waited::Opened(stream)) => {
                    self.begin(cx, state, stream, deferred).or_read(true)
                }
                _ => SendProgress::Wait,
            };
            (waited, progress)
        });
        let turn = self.turn.insert(turn);
        match waited {
            Some(Waited::Opened(stream)) => Poll::Ready(Ok((stream, progress))),
            Some(Waited::Refused(error)) => Poll::Ready(Err(self.refused(error))),
            Some(Waited::OverBudget(status)) => {
                Poll::Ready(Err(Box::new(CallEnd::never_processed(status))))
            }
            Some(Waited::Expired) => Poll::Ready(Err(self.expired())),
            None if turn.expires <= now => Poll::Ready(Err(self.expired())),
            None => {
                let slept = turn.sleep.as_mut().poll(cx);
                slept.map(|()| Err(self.expired()))
            }
        }
    }

    /// The end of a call that was not opened in time. Only room can be had at another try.
    fn expired(&self) -> Box<CallEnd> {
        let by_deadline = match &self.turn {
            Some(turn) => self.options.deadline == Some(turn.expires),
            None => true,
        };
        Box::new(if by_deadline {
            CallEnd::status(deadline_exceeded())
        } else {
            CallEnd::never_processed(waited_too_long(&self.shared().options))
        })
    }

    /// The end of a call that the tunnel does not take.
    fn refused(&self, error: OpenError) -> Box<CallEnd> {
        let status = Status::new(error.code(), error.to_string());
        Box::new(match error {
            // Nor does any other tunnel.
            OpenError::HeadTooLarge => CallEnd::status(status),
            _ => {
                let end = self.shared().read(|state| state.end.clone());
                CallEnd::never_processed(status).with_tunnel_end(end.map(Arc::new))
            }
        })
    }
}
