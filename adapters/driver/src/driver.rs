//! The task of a tunnel: it reads the carrier, and keeps the time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use grpctunnel_core::wire::{Deframer, Piece};
use grpctunnel_core::{Cause, Negotiation, Reason, Side, Time};
use http::Response;
use http::response::Parts;
use http_body::Body;

use crate::after::After;
use crate::error::{BoxError, TunnelEnd};
use crate::input::Intake;
use crate::log;
use crate::peer::TunnelPeer;
use crate::reader::{Allowance, Carrier, CarrierEnd, News, Reader};
use crate::runtime::Sleep;
use crate::shared::{Shared, chain};
use crate::state::{Half, State};
use crate::tunnels::Member;

/// Memory for a frame in pieces that is kept between two of them.
const KEEP: usize = 64 << 10;

/// Runs when the tunnel has started.
pub(crate) type Hook = Box<dyn FnOnce() + Send>;

/// The task of a tunnel. It ends with the tunnel.
pub(crate) struct Driver<R: Half, F, B, I> {
    shared: Arc<Shared<R>>,
    reader: Reader<F, B>,
    intake: I,
    hook: Option<Hook>,
    announced: bool,
    /// What was read and not taken in.
    chunk: Bytes,
    deframer: Deframer,
    /// What came of a frame that is in several chunks.
    gathered: Vec<u8>,
    /// There is more to take in than the last poll did.
    more: bool,
    paused: bool,
    sleep: Option<Sleep>,
    sleeps_until: Time,
    after: After,
    /// Held as long as the task.
    member: Option<Member>,
}

impl<R: Half, F, B, I> Unpin for Driver<R, F, B, I> {}

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
            reader: Reader::new(carrier),
            intake,
            hook: None,
            announced: false,
            chunk: Bytes::new(),
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
    pub(crate) fn member(mut self, member: Member) -> Self {
        self.member = Some(member);
        self
    }

    /// Reads what there is to take in. `None`: nothing, or not now.
    fn read(&mut self, cx: &mut Context<'_>, allowance: &mut Allowance) -> Option<News> {
        if self.more || self.paused {
            return None;
        }
        match self.reader.poll_next(cx, allowance) {
            Poll::Ready(news) => Some(news),
            Poll::Pending => None,
        }
    }

    /// Takes in what was read, under the lock. When to wake next; `None`: the tunnel is over.
    fn take_in(
        &mut self,
        cx: &Context<'_>,
        news: Option<News>,
        allowance: &mut Allowance,
    ) -> Option<Time> {
        let shared = self.shared.clone();
        let now = shared.now();
        let mut after = std::mem::take(&mut self.after);
        let idle = news.is_none() && !self.more;
        let armed = shared.with_after(&mut after, |state, after| {
            state.touch(now);
            after.register(&mut state.driver, cx.waker());
            if matches!(news, Some(News::Chunk(_))) {
                // A part of a frame proves that the peer lives, before anything is found late.
                state.tunnel.handle_activity(now);
            }
            expire(state, after);
            match news {
                Some(News::Response(parts)) => self.answered(state, parts, after),
                Some(News::End(end)) => self.ended(state, end),
                Some(News::Chunk(chunk)) => {
                    self.chunk = chunk;
                    self.frames(state, allowance, after);
                }
                None if self.more => self.frames(state, allowance, after),
                None => {}
            }
            // The sender went away, and the reader has nothing that says why.
            let lost = state.outgoing.gone && state.carrier.is_none();
            if idle && lost && self.reader.is_open() {
                state.tunnel.handle_end(state.now, Cause::Failed);
                self.reader.stop();
            }
            state.events(after);
            if state.is_over() || self.reader.has_ended() {
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

    /// The response headers came.
    fn answered(&mut self, state: &mut State<R>, parts: Parts, after: &mut After) {
        let negotiation = {
            let values = parts.headers.get_all(Negotiation::HEADER);
            Negotiation::from_header(values.iter().map(|value| value.as_bytes()))
        };
        let peer = TunnelPeer::new(parts.headers, parts.extensions);
        // The first one stays; there is no second.
        let _ = self.shared.peer.set(peer);
        state.negotiated = negotiation == Negotiation::On;
        state.tunnel.handle_opened(state.now, negotiation);
        if R::END == Side::Server && state.tunnel.is_open() {
            state.start(after);
        }
    }

    fn ended(&self, state: &mut State<R>, end: CarrierEnd) {
        state.peer_status = end.status;
        state.transport_error = end.error.map(|error| chain(error.as_ref()).into());
        if self.deframer.is_between_messages() || end.cause == Cause::Failed {
            state.tunnel.handle_end(state.now, end.cause);
        } else {
            state.tunnel.abort(state.now, Reason::FrameTruncated);
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
                Piece::Data { bytes, ends: false } => {
                    allowance.spend(bytes.len());
                    self.gathered.extend_from_slice(bytes);
                }
                Piece::Data { bytes, ends: true } => {
                    allowance.spend(bytes.len());
                    let whole = if self.gathered.is_empty() {
                        bytes
                    } else {
                        self.gathered.extend_from_slice(bytes);
                        &self.gathered
                    };
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

    /// Does what follows, once, when the tunnel has started.
    fn announce(&mut self) {
        if self.announced || !self.shared.look(|state| state.started) {
            return;
        }
        self.announced = true;
        log::started(R::END);
        if let Some(member) = &mut self.member {
            member.start();
        }
        if let Some(hook) = self.hook.take() {
            hook();
        }
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

/// Does what is due because of the time.
fn expire<R: Half>(state: &mut State<R>, after: &mut After) {
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

/// Notes how the tunnel ended.
fn conclude<R: Half>(state: &mut State<R>, after: &mut After) {
    if state.end.is_none() {
        let end = TunnelEnd {
            error: state.tunnel.error().cloned(),
            peer: state.peer_status.clone(),
            transport: state.transport_error.clone(),
        };
        log::ended(R::END, &end);
        state.end = Some(end);
    }
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
        let mut allowance = Allowance::new();
        loop {
            let news = this.read(cx, &mut allowance);
            let was_paused = this.paused;
            let nothing = news.is_none() && (!this.more || was_paused);
            let armed = this.take_in(cx, news, &mut allowance);
            // Where a pause has just ended, nobody has asked the reader yet.
            let idle = nothing && this.paused == was_paused;
            this.intake.start(&this.shared);
            this.announce();
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
