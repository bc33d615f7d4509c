//! One end of a tunnel, shared by its handles, its calls, its carrier and its driver.

use std::error::Error;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use grpctunnel_core::{ConfigError, Opening, Reason, Time};

use crate::after::After;
use crate::counters::Counters;
use crate::error::TunnelEnd;
use crate::options::Options;
use crate::peer::TunnelPeer;
use crate::queue::Queue;
use crate::runtime::Runtime;
use crate::state::{Half, State};

/// One end of a tunnel.
#[derive(Debug)]
pub(crate) struct Shared<R: Half> {
    state: Mutex<State<R>>,
    pub(crate) runtime: Runtime,
    pub(crate) options: Arc<Options>,
    /// What waits to be sent on all streams.
    pub(crate) queue: Queue,
    /// The origin of the core's time.
    origin: Instant,
    /// Who is at the other end, once that is known.
    pub(crate) peer: OnceLock<TunnelPeer>,
}

impl<R: Half> Shared<R> {
    pub(crate) fn new(
        runtime: Runtime,
        options: Arc<Options>,
        opening: Opening,
    ) -> Result<Arc<Self>, ConfigError> {
        let state = State::new(options.clone(), opening)?;
        Ok(Arc::new(Self {
            queue: state.queue.clone(),
            state: Mutex::new(state),
            origin: runtime.now(),
            runtime,
            options,
            peer: OnceLock::new(),
        }))
    }

    /// The time now.
    pub(crate) fn now(&self) -> Time {
        Time::ZERO.saturating_add(self.runtime.now().saturating_duration_since(self.origin))
    }

    /// The caller's clock at a time of the core; far in the future where there is no such time.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        let since = Duration::from_nanos(time.as_nanos());
        let century = Duration::from_secs(100 * 365 * 86_400);
        self.origin
            .checked_add(since.min(century))
            .unwrap_or(self.origin)
    }

    /// A panic under the lock is a defect of this crate; what it left is no worse than a tunnel
    /// that is given up, so nobody else is made to panic.
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under the lock, then what follows from it outside.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State<R>, &mut After) -> T) -> T {
        let mut after = After::default();
        self.with_after(&mut after, act)
    }

    /// The same, for a caller that does so often: `after` keeps its memory.
    pub(crate) fn with_after<T>(
        &self,
        after: &mut After,
        act: impl FnOnce(&mut State<R>, &mut After) -> T,
    ) -> T {
        let result = {
            let mut state = self.lock();
            let result = act(&mut state, after);
            state.settle(|| self.now(), after);
            result
        };
        after.run();
        result
    }

    /// The same, where the time counts.
    pub(crate) fn with_now<T>(&self, act: impl FnOnce(&mut State<R>, &mut After) -> T) -> T {
        let now = self.now();
        self.with(|state, after| {
            state.touch(now);
            act(state, after)
        })
    }

    /// Looks at something.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State<R>) -> T) -> T {
        look(&self.lock())
    }

    pub(crate) fn drain(&self, limit: Duration) {
        self.with_now(|state, after| {
            state.tunnel.drain(state.now, limit);
            state.refuse_waiters(after);
        });
    }

    pub(crate) fn abort(&self) {
        self.with_now(|state, _| {
            state.tunnel.abort(state.now, Reason::Aborted);
        });
    }

    pub(crate) fn counters(&self) -> Counters {
        self.look(|state| Counters::new(state.tunnel.counters(), state.dropped))
    }

    /// Waits until the tunnel is over.
    pub(crate) fn closed(self: &Arc<Self>) -> Watch<R, TunnelEnd> {
        Watch::new(self.clone(), |state| state.end.clone())
    }

    /// Waits until the tunnel has started, or will not.
    pub(crate) fn started(self: &Arc<Self>) -> Watch<R, Result<(), TunnelEnd>> {
        Watch::new(self.clone(), |state| match &state.end {
            Some(end) if !state.started => Some(Err(end.clone())),
            _ => state.started.then_some(Ok(())),
        })
    }
}

/// Waits for something that happens to a tunnel once.
pub(crate) struct Watch<R: Half, T> {
    shared: Arc<Shared<R>>,
    ready: fn(&State<R>) -> Option<T>,
    ticket: Option<u64>,
}

impl<R: Half, T> Watch<R, T> {
    fn new(shared: Arc<Shared<R>>, ready: fn(&State<R>) -> Option<T>) -> Self {
        Self {
            shared,
            ready,
            ticket: None,
        }
    }
}

impl<R: Half, T> Future for Watch<R, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        this.shared.with(|state, after| match (this.ready)(state) {
            Some(value) => Poll::Ready(value),
            None => {
                state.watchers.watch(&mut this.ticket, cx, after);
                Poll::Pending
            }
        })
    }
}

impl<R: Half, T> Drop for Watch<R, T> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.shared
                .with(|state, after| state.watchers.forget(self.ticket, after));
        }
    }
}

/// An error with everything behind it, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {more}");
        }
        source = error.source();
    }
    text
}
