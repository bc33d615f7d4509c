//! One end of a tunnel, shared by its handles, calls, carrier and task.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use grpctunnel_core::wire::ExtensionSet;
use grpctunnel_core::{ConfigError, Opening, Time, TunnelReason};

use crate::body::send_queue::SendQueue;
use crate::counters::Counters;
use crate::deferred::Deferred;
use crate::error::TunnelEnd;
use crate::grpc::status::Status;
use crate::options::Options;
use crate::peer::TunnelPeer;
use crate::runtime::Runtime;
use crate::tunnel::id::TunnelId;
use crate::tunnel::published::{Published, TunnelState};
use crate::tunnel::sibling::{LinkedTunnel, Sibling};
use crate::tunnel::state::{State, TunnelRole};
use crate::watchers::Watchers;

/// One end of a tunnel.
#[derive(Debug)]
pub(crate) struct Shared<R: TunnelRole> {
    pub(crate) id: TunnelId,
    state: Mutex<State<R>>,
    pub(crate) runtime: Runtime,
    pub(crate) options: Arc<Options>,
    published: Published,
    /// `Outgoing::parked`, as the last update left it.
    sending_is_parked: AtomicBool,
    /// Those in effect, once a call has asked for them.
    extensions: OnceLock<ExtensionSet>,
    /// What waits to be sent on all streams.
    pub(crate) queue: SendQueue,
    /// The origin of the core's time.
    origin: Instant,
    /// The peer, once it is known.
    pub(crate) peer: OnceLock<TunnelPeer>,
    /// The other tunnel on the same byte stream.
    pub(crate) sibling: OnceLock<Sibling>,
}

impl<R: TunnelRole> Shared<R> {
    pub(crate) fn new(
        runtime: Runtime,
        options: Arc<Options>,
        opening: Opening,
    ) -> Result<Arc<Self>, ConfigError> {
        let state = State::new(options.clone(), opening)?;
        let published = Published::default();
        published.set(TunnelState::of(&state));
        Ok(Arc::new(Self {
            id: TunnelId::next(),
            queue: state.queue.clone(),
            state: Mutex::new(state),
            published,
            sending_is_parked: AtomicBool::new(false),
            extensions: OnceLock::new(),
            origin: runtime.now(),
            runtime,
            options,
            peer: OnceLock::new(),
            sibling: OnceLock::new(),
        }))
    }

    /// The time now, as the core counts it.
    pub(crate) fn now(&self) -> Time {
        self.time(self.runtime.now())
    }

    /// An instant as the core counts it; zero where it is earlier than the tunnel.
    pub(crate) fn time(&self, instant: Instant) -> Time {
        Time::ZERO.saturating_add(instant.saturating_duration_since(self.origin))
    }

    /// A time of the core as an instant; far in the future where it cannot be expressed.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        let since = Duration::from_nanos(time.as_nanos());
        let century = Duration::from_secs(100 * 365 * 86_400);
        self.origin
            .checked_add(since.min(century))
            .unwrap_or(self.origin)
    }

    /// Ignores poisoning: a panic under the lock is a defect of this crate, and its other users
    /// shall not panic because of it.
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        #[cfg(test)]
        crate::costs::count_lock(R::OWN_SIDE);
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the state under the lock, then runs what was deferred.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State<R>, &mut Deferred) -> T) -> T {
        self.with_after(&mut Deferred::default(), act)
    }

    /// As [`with`](Self::with), for callers that reuse the memory of `deferred`.
    pub(crate) fn with_after<T>(
        &self,
        deferred: &mut Deferred,
        act: impl FnOnce(&mut State<R>, &mut Deferred) -> T,
    ) -> T {
        let sibling = self.sibling.get();
        let (result, news) = {
            let mut state = self.lock();
            state.begin_update();
            let result = act(&mut state, deferred);
            state.finish_update(|| self.now(), deferred);
            self.published.set(TunnelState::of(&state));
            let parked = state.outgoing.parked;
            self.sending_is_parked.store(parked, Ordering::Release);
            (result, sibling.map(|sibling| sibling.observe(&state)))
        };
        deferred.run();
        if let (Some(sibling), Some(news)) = (sibling, news) {
            sibling.tell(news);
        }
        result
    }

    /// As [`with`](Self::with), with the clock advanced to now.
    pub(crate) fn with_now<T>(&self, act: impl FnOnce(&mut State<R>, &mut Deferred) -> T) -> T {
        let now = self.now();
        self.with(|state, deferred| {
            state.advance_clock(now);
            act(state, deferred)
        })
    }

    /// Whether there is nothing to send, and the task that sends is woken when there is.
    pub(crate) fn sending_is_parked(&self) -> bool {
        self.sending_is_parked.load(Ordering::Acquire)
    }

    /// The extensions in effect for calls: when there is a call they are known, and do not change.
    pub(crate) fn call_extensions(&self) -> ExtensionSet {
        *self
            .extensions
            .get_or_init(|| self.read(|state| state.tunnel.extensions()))
    }

    /// Reads the state under the lock.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State<R>) -> T) -> T {
        read(&self.lock())
    }

    /// What the tunnel is doing.
    pub(crate) fn state(&self) -> TunnelState {
        self.published.get()
    }

    /// Begins to drain. After `limit` what is open ends, and a carrier that does not take what is
    /// left is cut.
    pub(crate) fn drain(&self, limit: Duration) {
        self.with_now(|state, deferred| {
            state.tunnel.drain(state.now, limit);
            state.drain_timeout.limit(state.now.saturating_add(limit));
            state.set_draining(deferred);
        });
    }

    /// As [`drain`](Self::drain), and tells the peer why. The first reason counts.
    pub(crate) fn dismiss(&self, status: Status, limit: Duration) {
        self.with(|state, _| {
            state.finish_status.get_or_insert(status);
        });
        self.drain(limit);
    }

    pub(crate) fn abort(&self) {
        self.with_now(|state, _| {
            state.tunnel.abort(state.now, TunnelReason::Aborted);
        });
    }

    pub(crate) fn counters(&self) -> Counters {
        self.read(|state| Counters::new(state.tunnel.counters(), state.dropped))
    }

    /// Waits until the tunnel is over.
    pub(crate) fn closed(self: &Arc<Self>) -> Watch<R, TunnelEnd> {
        Watch::new(self.clone(), |state| state.end.clone())
    }

    /// Waits until the tunnel drains, or is over.
    pub(crate) fn draining(self: &Arc<Self>) -> Watch<R, ()> {
        Watch::new(self.clone(), |state| {
            let over = state.end.is_some() || state.tunnel.is_ended();
            (over || state.tunnel.is_draining()).then_some(())
        })
    }

    /// Waits until the tunnel takes a call at once, or never will again.
    pub(crate) fn takes_calls(self: &Arc<Self>) -> Watch<R, ()> {
        let mut watch = Watch::new(self.clone(), |state| {
            let now = TunnelState::of(state);
            (now.takes_calls() || !now.is_usable()).then_some(())
        });
        watch.watchers = |state| &mut state.ready_watchers;
        watch
    }

    /// Waits until the tunnel may carry calls, or has ended before.
    pub(crate) fn started(self: &Arc<Self>) -> Watch<R, Result<(), TunnelEnd>> {
        Watch::new(self.clone(), |state| match &state.end {
            Some(end) if !state.started => Some(Err(end.clone())),
            _ => state.started.then_some(Ok(())),
        })
    }
}

impl<R: TunnelRole> LinkedTunnel for Shared<R> {
    fn drain(&self) {
        self.drain(Duration::MAX);
    }

    fn let_finish(&self) {
        self.with_now(|state, _| state.hold_finish(false));
    }
}

/// Makes two tunnels drain and finish together, before either of them can drain.
pub(crate) fn link<A: TunnelRole, B: TunnelRole>(one: &Arc<Shared<A>>, other: &Arc<Shared<B>>) {
    fn weak<R: TunnelRole>(tunnel: &Arc<Shared<R>>) -> Weak<dyn LinkedTunnel> {
        let tunnel: Weak<Shared<R>> = Arc::downgrade(tunnel);
        tunnel
    }
    // Each is linked once.
    let _ = one.sibling.set(Sibling::new(weak(other)));
    let _ = other.sibling.set(Sibling::new(weak(one)));
    one.with(|state, _| state.hold_finish(true));
    other.with(|state, _| state.hold_finish(true));
}

/// Waits for a change of a tunnel.
pub(crate) struct Watch<R: TunnelRole, T> {
    shared: Arc<Shared<R>>,
    ready: fn(&State<R>) -> Option<T>,
    /// Those that are woken when it may be ready.
    watchers: fn(&mut State<R>) -> &mut Watchers,
    ticket: Option<u64>,
}

impl<R: TunnelRole, T> Watch<R, T> {
    fn new(shared: Arc<Shared<R>>, ready: fn(&State<R>) -> Option<T>) -> Self {
        Self {
            shared,
            ready,
            watchers: |state| &mut state.watchers,
            ticket: None,
        }
    }
}

impl<R: TunnelRole, T> Future for Watch<R, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        this.shared
            .with(|state, deferred| match (this.ready)(state) {
                Some(value) => Poll::Ready(value),
                None => {
                    (this.watchers)(state).watch(&mut this.ticket, cx, deferred);
                    Poll::Pending
                }
            })
    }
}

impl<R: TunnelRole, T> Drop for Watch<R, T> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.shared
                .with(|state, deferred| (self.watchers)(state).forget(self.ticket, deferred));
        }
    }
}
