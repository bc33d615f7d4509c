//! The task of a tunnel: it reads the carrier and handles timeouts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use grpctunnel_core::wire::{Deframer, Piece};
use grpctunnel_core::{Carrier, Cause, Negotiation, Side, Time, TunnelReason};
use http::Response;
use http::response::Parts;
use http_body::Body;

use crate::body::inbox::Source;
use crate::carrier::opening;
use crate::carrier::receive::{CarrierEvent, CarrierReader, ReadBudget};
use crate::deferred::Deferred;
use crate::error::{BoxError, CarrierEnd};
use crate::peer::{Direction, TunnelPeer};
use crate::runtime::Sleep;
use crate::telemetry::{self, Meter};
use crate::tunnel::input::CallAcceptor;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::{State, TunnelRole};

/// Memory for frames in several chunks that is kept between two of them, and by a tunnel that has
/// nothing to read.
const KEPT_MEMORY: usize = 64 << 10;
const IDLE_MEMORY: usize = 4 << 10;

/// Called once when the tunnel may carry calls. What it returns is dropped when the tunnel is over.
pub(crate) type OnStart = Box<dyn FnOnce() -> Option<Box<dyn Send>> + Send>;

/// The task of a tunnel. It ends with the tunnel.
pub(crate) struct Driver<R: TunnelRole, F, B, I> {
    shared: Arc<Shared<R>>,
    reader: CarrierReader<F, B>,
    acceptor: I,
    on_start: Option<OnStart>,
    /// What `on_start` returned.
    kept: Option<Box<dyn Send>>,
    started: bool,
    /// What was read and not processed, and how much there was.
    chunk: Bytes,
    chunk_len: usize,
    deframer: Deframer,
    /// What has come of a frame that is in several chunks.
    partial: Vec<u8>,
    /// The chunk has more than the last step processed.
    more: bool,
    paused: bool,
    /// The sending direction is gone, and nothing that was read says why.
    lost: bool,
    sleep: Option<Sleep>,
    sleeps_until: Time,
    deferred: Deferred,
    meter: Meter,
    /// Dropped when the task has ended.
    guard: Option<Box<dyn Send>>,
}

impl<R: TunnelRole, F, B, I> Unpin for Driver<R, F, B, I> {}

impl<R, F, B, I> Driver<R, F, B, I>
where
    R: TunnelRole,
    F: Future<Output = Result<Response<B>, BoxError>>,
    B: Body<Error: Into<BoxError>>,
    I: CallAcceptor<R>,
{
    pub(crate) fn new(shared: Arc<Shared<R>>, reader: CarrierReader<F, B>, acceptor: I) -> Self {
        Self {
            deframer: Deframer::new(shared.options.limits.max_frame),
            shared,
            reader,
            acceptor,
            on_start: None,
            kept: None,
            started: false,
            chunk: Bytes::new(),
            chunk_len: 0,
            partial: Vec::new(),
            more: false,
            paused: false,
            lost: false,
            sleep: None,
            sleeps_until: Time::MAX,
            deferred: Deferred::default(),
            meter: Meter::default(),
            guard: None,
        }
    }

    /// Calls `on_start` when the tunnel may carry calls.
    pub(crate) fn on_start(mut self, on_start: OnStart) -> Self {
        self.on_start = Some(on_start);
        self
    }

    /// Holds `guard` until the task has ended.
    pub(crate) fn with_guard(mut self, guard: impl Send + 'static) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }

    /// Reads the next event. `None`: there is none, or nothing may be read.
    fn read(&mut self, cx: &mut Context<'_>, budget: &mut ReadBudget) -> Option<CarrierEvent> {
        if self.more || self.paused {
            return None;
        }
        match self.reader.poll_next(cx, budget) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }

    /// Processes what was read, under the lock. Returns when to wake next; `None` when the tunnel
    /// is over.
    fn process(
        &mut self,
        cx: &Context<'_>,
        event: Option<CarrierEvent>,
        budget: &mut ReadBudget,
    ) -> Option<Time> {
        let shared = self.shared.clone();
        let now = shared.now();
        let mut deferred = std::mem::take(&mut self.deferred);
        let idle = event.is_none() && !self.more;
        let wakes_at = shared.with_after(&mut deferred, |state, deferred| {
            state.advance_clock(now);
            deferred.register(&mut state.driver, cx.waker());
            if matches!(
                event,
                Some(CarrierEvent::Data(_) | CarrierEvent::Response(_))
            ) {
                state.silence.heard();
            }
            if matches!(event, Some(CarrierEvent::Data(_))) {
                // A part of a frame proves that the peer lives, before anything is found late.
                state.tunnel.handle_activity(now);
            }
            handle_timeouts(state, deferred);
            match event {
                Some(CarrierEvent::Response(parts)) => self.handle_response(state, parts, deferred),
                Some(CarrierEvent::End(end, cause)) => self.handle_end(state, end, cause),
                Some(CarrierEvent::Data(chunk)) => {
                    self.chunk_len = chunk.len();
                    self.meter.received(R::OWN_SIDE, chunk.len());
                    self.chunk = chunk;
                    self.handle_frames(state, budget, deferred);
                }
                None if self.more => self.handle_frames(state, budget, deferred),
                None => {}
            }
            self.lost = state.outgoing.closed && state.carrier.is_none();
            if idle && self.lost && self.reader.is_open() {
                state.tunnel.handle_end(state.now, Cause::Failed);
                self.reader.stop();
            }
            state.handle_events(deferred);
            self.acceptor.look_after(state, deferred);
            self.meter.observe(state);
            if state.is_over() || self.reader.has_ended() {
                conclude(state, &mut self.meter, deferred);
                return None;
            }
            let was_paused = std::mem::replace(&mut self.paused, !state.tunnel.wants_read());
            if was_paused && !self.paused {
                // What the peer said in the meantime is still to be read.
                state.silence.heard();
            }
            state.paused = self.paused;
            state.wakes_at = state.next_timeout().min(self.sleeps_until);
            Some(state.wakes_at)
        });
        self.deferred = deferred;
        wakes_at
    }

    fn handle_response(&mut self, state: &mut State<R>, parts: Parts, deferred: &mut Deferred) {
        let negotiation = opening::negotiation(&parts.headers);
        let direction = match R::OWN_SIDE {
            Side::Client => Direction::Forward,
            Side::Server => Direction::Reverse,
        };
        let peer = TunnelPeer::new(self.shared.id, direction, parts.headers, parts.extensions);
        // There is only one response.
        let _ = self.shared.peer.set(peer);
        state.negotiated = negotiation == Negotiation::On;
        state.tunnel.handle_opened(state.now, negotiation);
        if R::OWN_SIDE == Side::Server && state.tunnel.is_open() {
            state.set_started(deferred);
        }
    }

    fn handle_end(&self, state: &mut State<R>, mut end: CarrierEnd, cause: Cause) {
        end.was_idle = cause == Cause::Finished
            && state.tunnel.is_open()
            && state.tunnel.active_streams() == 0
            && self.deframer.is_between_messages();
        state.carrier_end = end;
        if self.deframer.is_between_messages() || cause == Cause::Failed {
            state.tunnel.handle_end(state.now, cause);
        } else {
            state.tunnel.abort(state.now, TunnelReason::FrameTruncated);
        }
    }

    /// Hands frames to the core, as far as the budget goes.
    fn handle_frames(
        &mut self,
        state: &mut State<R>,
        budget: &mut ReadBudget,
        deferred: &mut Deferred,
    ) {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.more = false;
        loop {
            if budget.is_spent() || !state.tunnel.wants_read() {
                self.more = true;
                break;
            }
            let (consumed, piece) = match self.deframer.next(&chunk) {
                Ok((consumed, Some(piece))) => (consumed, piece),
                // All of it was processed.
                Ok((_, None)) => return,
                Err(_) => {
                    state.tunnel.abort(state.now, TunnelReason::FrameTooLarge);
                    return;
                }
            };
            match piece {
                Piece::Begin { flags: 0, .. } => {}
                Piece::Begin { .. } => {
                    state.tunnel.abort(state.now, TunnelReason::FrameFlags);
                    return;
                }
                Piece::Data { bytes, ends: false } => {
                    budget.spend(bytes.len());
                    self.partial.extend_from_slice(bytes);
                }
                Piece::Data { bytes, ends: true } => {
                    budget.spend(bytes.len());
                    let (whole, source) = if self.partial.is_empty() {
                        (bytes, Some(Source::new(&chunk, self.chunk_len)))
                    } else {
                        self.partial.extend_from_slice(bytes);
                        (&*self.partial, None)
                    };
                    let Ok(input) = state.tunnel.handle_frame(state.now, whole) else {
                        return;
                    };
                    if let Some(call) = state.handle_input(input, source.as_ref(), deferred) {
                        self.acceptor.accept(&self.shared, state, call, deferred);
                    }
                    self.partial.clear();
                    self.partial.shrink_to(KEPT_MEMORY);
                }
            }
            chunk.advance(consumed);
        }
        self.chunk = chunk;
    }

    /// Does what follows, once, when the tunnel has started.
    fn check_started(&mut self) {
        if self.started || !self.shared.read(|state| state.started) {
            return;
        }
        self.started = true;
        telemetry::started(R::OWN_SIDE);
        self.meter.started(R::OWN_SIDE);
        if let Some(on_start) = self.on_start.take() {
            self.kept = on_start();
        }
    }

    /// Sleeps until a timeout is due. Returns whether it is due now.
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

/// Handles the timeouts that are due.
fn handle_timeouts<R: TunnelRole>(state: &mut State<R>, deferred: &mut Deferred) {
    let now = state.now;
    if state.tunnel.poll_timeout().is_some_and(|time| time <= now) {
        state.tunnel.handle_timeout(now);
    }
    let stalled_at = state.stall_timeout();
    if stalled_at <= now {
        // Only gathering tells whether there is anything to send.
        state.gather(1, deferred);
        if state.outgoing.batch.is_empty() || state.slept_since(stalled_at) {
            state.outgoing.last_polled = now;
        } else {
            state.tunnel.abort(now, TunnelReason::Stalled);
        }
    }
    state.handle_drain_timeout(deferred);
    state.handle_silence(deferred);
}

/// Sets how the tunnel ended, and wakes everybody who waits.
fn conclude<R: TunnelRole>(state: &mut State<R>, meter: &mut Meter, deferred: &mut Deferred) {
    if state.end.is_none() {
        let end = state.tunnel_end();
        telemetry::ended(R::OWN_SIDE, &end);
        meter.ended(R::OWN_SIDE, &end);
        state.end = Some(end);
        if matches!(state.carrier, Some(Carrier::Abort(_))) {
            state.outgoing.abort.set(deferred);
        }
    }
    state.watchers.wake(deferred);
    R::may_open(state, deferred);
}

impl<R, F, B, I> Future for Driver<R, F, B, I>
where
    R: TunnelRole,
    F: Future<Output = Result<Response<B>, BoxError>>,
    B: Body<Error: Into<BoxError>>,
    I: CallAcceptor<R>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut budget = ReadBudget::new();
        // When to wake next, by an update in this poll that left nothing to find out.
        let mut known = None;
        loop {
            let event = this.read(cx, &mut budget);
            let was_paused = this.paused;
            let nothing = event.is_none() && (!this.more || was_paused);
            let wakes_at = match known.take().filter(|_| nothing) {
                Some(wakes_at) => wakes_at,
                None => {
                    let wakes_at = this.process(cx, event, &mut budget);
                    this.acceptor.spawn_accepted(&this.shared);
                    this.check_started();
                    let Some(wakes_at) = wakes_at else {
                        return Poll::Ready(());
                    };
                    wakes_at
                }
            };
            // Where a pause has just ended, the reader was not polled yet.
            let idle = nothing && this.paused == was_paused;
            if budget.is_spent() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !idle && !this.lost {
                known = Some(wakes_at);
            }
            if idle && !this.sleep(cx, wakes_at) {
                if this.partial.is_empty() {
                    this.partial.shrink_to(IDLE_MEMORY);
                }
                return Poll::Pending;
            }
        }
    }
}

impl<R: TunnelRole, F, B, I> Drop for Driver<R, F, B, I> {
    fn drop(&mut self) {
        // Without its task, dropped by the executor, the tunnel cannot go on.
        self.shared.with(|state, deferred| {
            if state.end.is_none() {
                state.tunnel.handle_end(state.now, Cause::Failed);
                state.handle_events(deferred);
                conclude(state, &mut self.meter, deferred);
            }
            deferred.drop_waker(state.driver.take());
        });
        drop(self.on_start.take());
        drop(self.kept.take());
        drop(self.guard.take());
    }
}
