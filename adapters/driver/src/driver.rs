//! The task of a tunnel: it reads the carrier, and keeps the time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use grpctunnel_core::wire::{Deframer, Piece};
use grpctunnel_core::{Cause, Negotiation, Reason, Time};
use http::Response;
use http::response::Parts;
use http_body::Body;

use crate::after::After;
use crate::error::{BoxError, TunnelEnd};
use crate::input::Intake;
use crate::opening;
use crate::peer::TunnelPeer;
use crate::runtime::Sleep;
use crate::shared::{Shared, chain};
use crate::state::{Half, State};
use crate::status::Status;
use crate::transmit::Network;

/// Frames and bytes that one poll takes in before others get their turn.
const MAX_FRAMES: usize = 64;
const MAX_BYTES: usize = 256 << 10;
/// Memory for a frame in pieces that is kept between two of them.
const KEEP: usize = 64 << 10;

/// The carrier's incoming half.
pub(crate) enum Carrier<F, B> {
    /// The response to the request that opens the tunnel is outstanding.
    Opening(Pin<Box<F>>),
    Open(Pin<Box<B>>),
    Ended,
}

/// What was read of the carrier besides frames.
enum News {
    Response(Parts),
    /// It ended: with this status, where there was one, or with this error.
    End(Option<Status>, Option<BoxError>, Cause),
}

/// Runs when the tunnel has started.
pub(crate) type Hook = Box<dyn FnOnce() + Send>;

/// The task of a tunnel. It ends with the tunnel.
pub(crate) struct Driver<R: Half, F, B, I> {
    shared: Arc<Shared<R>>,
    network: Network,
    carrier: Carrier<F, B>,
    intake: I,
    hook: Option<Hook>,
    /// What was read and not taken in.
    chunk: Bytes,
    news: Option<News>,
    deframer: Deframer,
    /// What came of a frame that is in several chunks.
    gathered: Vec<u8>,
    /// The last poll stopped although there was more in `chunk`.
    more: bool,
    paused: bool,
    sleep: Option<Sleep>,
    sleeps_until: Time,
    after: After,
    /// Held as long as the task.
    member: Option<Box<dyn Send>>,
}

impl<R: Half, F, B, I> Unpin for Driver<R, F, B, I> {}

/// How far one poll may go.
struct Allowance {
    frames: usize,
    bytes: usize,
}

impl Allowance {
    const fn is_spent(&self) -> bool {
        self.frames == 0 || self.bytes == 0
    }

    const fn spend(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl<R, F, B, I> Driver<R, F, B, I>
where
    R: Half,
    F: Future<Output = Result<Response<B>, BoxError>>,
    B: Body<Data: Buf, Error: Into<BoxError>>,
    I: Intake<R>,
{
    pub(crate) fn new(shared: Arc<Shared<R>>, carrier: Carrier<F, B>, intake: I) -> Self {
        Self {
            deframer: Deframer::new(shared.options.limits.max_frame),
            shared,
            network: match carrier {
                Carrier::Opening(_) => Network::Client,
                Carrier::Open(_) | Carrier::Ended => Network::Server,
            },
            carrier,
            intake,
            hook: None,
            chunk: Bytes::new(),
            news: None,
            gathered: Vec::new(),
            more: false,
            paused: false,
            sleep: None,
            sleeps_until: Time::MAX,
            after: After::default(),
            member: None,
        }
    }

    /// Runs `hook` when the tunnel has started.
    pub(crate) fn on_start(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// Holds `member` until the task has ended.
    pub(crate) fn member(mut self, member: Box<dyn Send>) -> Self {
        self.member = Some(member);
        self
    }

    /// Reads the carrier until there is something to take in. False: there is nothing now.
    fn read(&mut self, cx: &mut Context<'_>, allowance: &mut Allowance) -> bool {
        if self.more || self.news.is_some() {
            return true;
        }
        while !self.paused && !allowance.is_spent() {
            match &mut self.carrier {
                Carrier::Opening(response) => match response.as_mut().poll(cx) {
                    Poll::Pending => return false,
                    Poll::Ready(response) => {
                        self.opened(response);
                        return true;
                    }
                },
                Carrier::Open(body) => match body.as_mut().poll_frame(cx) {
                    Poll::Pending => return false,
                    Poll::Ready(Some(Ok(frame))) => {
                        let frame = frame.into_data().map(|mut data| {
                            let len = data.remaining();
                            data.copy_to_bytes(len)
                        });
                        match frame {
                            // An empty frame is not free.
                            Ok(data) if data.is_empty() => allowance.spend(0),
                            Ok(data) => {
                                self.chunk = data;
                                return true;
                            }
                            Err(frame) => {
                                let trailers = frame.into_trailers().unwrap_or_default();
                                self.ended(Status::from_headers(&trailers), None);
                                return true;
                            }
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        self.ended(None, Some(error.into()));
                        return true;
                    }
                    Poll::Ready(None) => {
                        // A request has no trailers; a response without them was cut.
                        let cause = match self.network {
                            Network::Client => Cause::Failed,
                            Network::Server => Cause::Finished,
                        };
                        self.news = Some(News::End(None, None, cause));
                        self.carrier = Carrier::Ended;
                        return true;
                    }
                },
                Carrier::Ended => return false,
            }
        }
        false
    }

    fn opened(&mut self, response: Result<Response<B>, BoxError>) {
        match response {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                match opening::refusal(&parts) {
                    Some(status) => self.ended(Some(status), None),
                    None => {
                        self.carrier = Carrier::Open(Box::pin(body));
                        self.news = Some(News::Response(parts));
                    }
                }
            }
            Err(error) => self.ended(None, Some(error)),
        }
    }

    fn ended(&mut self, status: Option<Status>, error: Option<BoxError>) {
        let ok = status.as_ref() == Some(&Status::ok());
        let cause = if ok { Cause::Finished } else { Cause::Failed };
        self.news = Some(News::End(status, error, cause));
        self.carrier = Carrier::Ended;
    }

    /// Takes in what was read, under the lock. When to wake next; `None`: the tunnel is over.
    fn take_in(&mut self, cx: &Context<'_>, idle: bool, allowance: &mut Allowance) -> Option<Time> {
        let shared = self.shared.clone();
        let now = shared.now();
        let mut after = std::mem::take(&mut self.after);
        let armed = shared.with_after(&mut after, |state, after| {
            state.touch(now);
            after.register(&mut state.driver, cx.waker());
            self.expire(state, after);
            match self.news.take() {
                Some(News::Response(parts)) => self.answered(state, parts, after),
                Some(News::End(status, error, cause)) => {
                    state.peer_status = status.filter(|status| *status != Status::ok());
                    state.transport_error = error.map(|error| chain(error.as_ref()).into());
                    if self.deframer.is_between_messages() || cause == Cause::Failed {
                        state.tunnel.handle_end(state.now, cause);
                    } else {
                        state.tunnel.abort(state.now, Reason::FrameTruncated);
                    }
                }
                None => self.frames(state, allowance, after),
            }
            // The sender went away, and the reader has nothing that says why.
            let reading = matches!(self.carrier, Carrier::Open(_));
            if idle && reading && state.outgoing.gone && state.carrier.is_none() {
                state.tunnel.handle_end(state.now, Cause::Failed);
                self.carrier = Carrier::Ended;
            }
            state.events(after);
            if state.is_over() || matches!(self.carrier, Carrier::Ended) {
                conclude(state, after);
                return None;
            }
            self.paused = !state.tunnel.wants_read();
            state.paused = self.paused;
            state.armed = state.next_timeout().min(self.sleeps_until);
            Some(state.armed)
        });
        self.after = after;
        armed
    }

    /// Does what is due because of the time.
    fn expire(&mut self, state: &mut State<R>, after: &mut After) {
        let now = state.now;
        if state.tunnel.poll_timeout().is_some_and(|time| time <= now) {
            state.tunnel.handle_timeout(now);
        }
        if state.stall_ends() <= now {
            // Whether there is anything to send is known only when it has been gathered.
            state.gather(1, after);
            if state.outgoing.batch.is_empty() {
                state.outgoing.asked = now;
            } else {
                state.tunnel.abort(now, Reason::Stalled);
            }
        }
    }

    /// The response headers came.
    fn answered(&mut self, state: &mut State<R>, parts: Parts, after: &mut After) {
        let negotiation = {
            let values = parts.headers.get_all(Negotiation::HEADER);
            Negotiation::from_header(values.iter().map(|value| value.as_bytes()))
        };
        let peer = TunnelPeer::new(parts.headers, parts.extensions);
        // The first one stays; there is no second.
        let _ = self.shared.peer.set(peer);
        state.tunnel.handle_opened(state.now, negotiation);
        if R::END == grpctunnel_core::Side::Server && state.tunnel.is_open() {
            state.start(after);
        }
    }

    /// Takes in frames.
    fn frames(&mut self, state: &mut State<R>, allowance: &mut Allowance, after: &mut After) {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.more = false;
        loop {
            if allowance.is_spent() || !state.tunnel.wants_read() {
                self.more = true;
                break;
            }
            let (consumed, piece) = match self.deframer.next(&chunk) {
                Ok((consumed, Some(piece))) => (consumed, piece),
                // All of it was taken.
                Ok((_, None)) => return,
                Err(_) => {
                    state.tunnel.abort(state.now, Reason::FrameTooLarge);
                    return;
                }
            };
            match piece {
                Piece::Begin { flags: 0, .. } => {}
                Piece::Begin { .. } => {
                    state.tunnel.abort(state.now, Reason::FrameFlags);
                    return;
                }
                Piece::Data { bytes, ends: false } => self.gathered.extend_from_slice(bytes),
                Piece::Data { bytes, ends: true } => {
                    let whole = if self.gathered.is_empty() {
                        bytes
                    } else {
                        self.gathered.extend_from_slice(bytes);
                        &self.gathered
                    };
                    allowance.spend(whole.len());
                    let Ok(input) = state.tunnel.handle_frame(state.now, whole) else {
                        return;
                    };
                    if let Some(call) = state.input(input, after) {
                        self.intake.admit(&self.shared, state, call, after);
                    }
                    self.gathered.clear();
                    self.gathered.shrink_to(KEEP);
                }
            }
            chunk.advance(consumed);
        }
        self.chunk = chunk;
    }

    /// Sleeps until something is due. True: it is due now.
    fn sleep(&mut self, cx: &mut Context<'_>, until: Time) -> bool {
        if until == Time::MAX {
            return false;
        }
        if until < self.sleeps_until {
            self.sleeps_until = until;
            let until = self.shared.instant(until);
            self.sleep = Some(self.shared.runtime.sleep_until(until));
        }
        let Some(sleep) = &mut self.sleep else {
            return false;
        };
        if sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.sleep = None;
        self.sleeps_until = Time::MAX;
        true
    }
}

/// Notes how the tunnel ended.
fn conclude<R: Half>(state: &mut State<R>, after: &mut After) {
    state.end.get_or_insert_with(|| TunnelEnd {
        error: state.tunnel.error().cloned(),
        peer: state.peer_status.clone(),
        transport: state.transport_error.clone(),
    });
    state.watchers.wake(after);
    state.refuse_waiters(after);
}

impl<R, F, B, I> Future for Driver<R, F, B, I>
where
    R: Half,
    F: Future<Output = Result<Response<B>, BoxError>>,
    B: Body<Data: Buf, Error: Into<BoxError>>,
    I: Intake<R>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut allowance = Allowance {
            frames: MAX_FRAMES,
            bytes: MAX_BYTES,
        };
        loop {
            let idle = !this.read(cx, &mut allowance);
            let armed = this.take_in(cx, idle, &mut allowance);
            this.intake.start(&this.shared);
            if this.hook.is_some()
                && this.shared.look(|state| state.started)
                && let Some(hook) = this.hook.take()
            {
                hook();
            }
            let Some(armed) = armed else {
                return Poll::Ready(());
            };
            if allowance.is_spent() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if idle && !this.sleep(cx, armed) {
                return Poll::Pending;
            }
        }
    }
}

impl<R: Half, F, B, I> Drop for Driver<R, F, B, I> {
    fn drop(&mut self) {
        // A task that is dropped by its executor takes its tunnel with it.
        self.shared.with(|state, after| {
            if state.end.is_none() {
                state.tunnel.handle_end(state.now, Cause::Failed);
                state.events(after);
                conclude(state, after);
            }
            after.drop_waker(state.driver.take());
        });
        drop(self.member.take());
    }
}
