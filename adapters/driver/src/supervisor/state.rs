//! What the tunnels of a supervisor are doing, and who waits for it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::deferred::Deferred;
use crate::supervisor::interruption::Interruption;
use crate::watchers::Watchers;

/// What the tunnels of a [`Supervisor`](crate::Supervisor) are doing at a moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SupervisorState {
    /// The tunnels that are kept open: those of the first gateway, of the second, and so on.
    pub tunnels: Vec<SupervisedTunnel>,
    /// The supervisor was told to stop: no tunnel is opened any more.
    pub stopping: bool,
    /// Everything is over.
    pub over: bool,
}

impl SupervisorState {
    /// Tunnels that are open and do not drain.
    #[must_use]
    pub fn open(&self) -> usize {
        let open = |tunnel: &&SupervisedTunnel| tunnel.phase == SupervisedPhase::Open;
        self.tunnels.iter().filter(open).count()
    }
}

/// One tunnel that a supervisor keeps open: each time that it is lost, another takes its place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SupervisedTunnel {
    /// The name of its gateway.
    pub gateway: Arc<str>,
    /// What it is doing.
    pub phase: SupervisedPhase,
    /// Tunnels before it that drain and are not over.
    pub draining: usize,
    /// Failed attempts since it lived; see [`Backoff::lived`](crate::Backoff::lived).
    pub failures: u32,
    /// Why it was not there the last time.
    pub interruption: Option<Interruption>,
}

/// What a supervised tunnel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupervisedPhase {
    /// A connection is made, and the tunnel opened on it.
    Connecting,
    /// It is open, and takes calls.
    Open,
    /// The next attempt is made after this pause.
    Waiting(Duration),
    /// It is not opened any more: the supervisor stops, or gave it up because of the
    /// [`interruption`](SupervisedTunnel::interruption).
    Ended,
}

/// How a supervisor ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SupervisorEnd {
    /// Calls that were open when their time was up.
    pub cut_off: usize,
    /// Why it gave up its last tunnel, where nobody stopped it.
    pub gave_up: Option<Interruption>,
}

/// How far a supervisor is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Not at all.
    Not,
    /// Open calls may go on until then, or without limit.
    Drain(Option<Instant>),
    /// Everything ends now.
    Now,
}

/// What the tasks and the handles of a supervisor share.
pub(crate) struct Board {
    inner: Mutex<Inner>,
}

struct Inner {
    state: SupervisorState,
    /// Counts the changes of the state.
    version: u64,
    stop: Stop,
    /// Tasks that have not ended.
    tasks: usize,
    cut_off: usize,
    gave_up: Option<Interruption>,
    watchers: Watchers,
}

impl Board {
    pub(crate) fn new(gateways: impl IntoIterator<Item = Arc<str>>) -> Arc<Self> {
        let tunnel = |gateway| SupervisedTunnel {
            gateway,
            phase: SupervisedPhase::Connecting,
            draining: 0,
            failures: 0,
            interruption: None,
        };
        Arc::new(Self {
            inner: Mutex::new(Inner {
                state: SupervisorState {
                    tunnels: gateways.into_iter().map(tunnel).collect(),
                    stopping: false,
                    over: false,
                },
                version: 0,
                stop: Stop::Not,
                tasks: 0,
                cut_off: 0,
                gave_up: None,
                watchers: Watchers::default(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut deferred = Deferred::default();
        let result = {
            let mut inner = self.lock();
            let result = change(&mut inner);
            inner.version = inner.version.wrapping_add(1);
            inner.watchers.wake(&mut deferred);
            result
        };
        deferred.run();
        result
    }

    /// Changes what is told of a tunnel.
    pub(crate) fn update(&self, tunnel: usize, update: impl FnOnce(&mut SupervisedTunnel)) {
        self.change(|inner| inner.state.tunnels.get_mut(tunnel).map(update));
    }

    pub(crate) fn gave_up(&self, why: Interruption) {
        self.change(|inner| inner.gave_up = Some(why));
    }

    pub(crate) fn cut_off(&self, calls: usize) {
        self.change(|inner| inner.cut_off = inner.cut_off.saturating_add(calls));
    }

    pub(crate) fn state(&self) -> SupervisorState {
        self.lock().state.clone()
    }

    pub(crate) fn stop(&self) -> Stop {
        self.lock().stop
    }

    /// Tells to stop. What was told before can only be made shorter.
    pub(crate) fn set_stop(&self, stop: Stop) {
        self.change(|inner| {
            inner.stop = match (inner.stop, stop) {
                (Stop::Now, _) | (_, Stop::Now) => Stop::Now,
                (Stop::Drain(Some(old)), Stop::Drain(Some(new))) => Stop::Drain(Some(old.min(new))),
                (old @ Stop::Drain(_), Stop::Not | Stop::Drain(None)) => old,
                (_, new) => new,
            };
            inner.state.stopping |= inner.stop != Stop::Not;
        });
    }

    /// Counts a task until the result is dropped. With the last one everything is over.
    pub(crate) fn task(self: &Arc<Self>) -> TaskOfBoard {
        self.change(|inner| inner.tasks = inner.tasks.saturating_add(1));
        TaskOfBoard(self.clone())
    }

    /// Waits until `ready` has an answer, which is asked at every change.
    pub(crate) fn wait<T, F>(self: &Arc<Self>, mut ready: F) -> impl Future<Output = T> + use<T, F>
    where
        F: FnMut(&SupervisorState, Stop) -> Option<T>,
    {
        let mut watch = Watch::new(self.clone());
        poll_fn(move |cx| watch.poll(cx, |inner| ready(&inner.state, inner.stop)))
    }

    /// Waits until this supervisor is told to stop.
    pub(crate) fn stopping(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        self.wait(|_, stop| (stop != Stop::Not).then_some(()))
    }

    /// Waits until everything is over.
    pub(crate) fn over(self: &Arc<Self>) -> impl Future<Output = SupervisorEnd> + use<> {
        let mut watch = Watch::new(self.clone());
        poll_fn(move |cx| {
            watch.poll(cx, |inner| {
                inner.state.over.then(|| SupervisorEnd {
                    cut_off: inner.cut_off,
                    gave_up: match inner.stop {
                        Stop::Not => inner.gave_up.clone(),
                        Stop::Drain(_) | Stop::Now => None,
                    },
                })
            })
        })
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

/// A task of a supervisor.
pub(crate) struct TaskOfBoard(Arc<Board>);

impl Drop for TaskOfBoard {
    fn drop(&mut self) {
        self.0.change(|inner| {
            inner.tasks = inner.tasks.saturating_sub(1);
            inner.state.over |= inner.tasks == 0;
        });
    }
}

/// Somebody who waits for a change.
struct Watch {
    board: Arc<Board>,
    ticket: Option<u64>,
}

impl Watch {
    const fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            ticket: None,
        }
    }

    fn poll<T>(&mut self, cx: &Context<'_>, ready: impl FnOnce(&Inner) -> Option<T>) -> Poll<T> {
        let mut deferred = Deferred::default();
        let poll = {
            let mut inner = self.board.lock();
            match ready(&inner) {
                Some(value) => Poll::Ready(value),
                None => {
                    inner.watchers.watch(&mut self.ticket, cx, &mut deferred);
                    Poll::Pending
                }
            }
        };
        deferred.run();
        poll
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let mut deferred = Deferred::default();
            self.board
                .lock()
                .watchers
                .forget(self.ticket, &mut deferred);
            deferred.run();
        }
    }
}

/// The states of a supervisor, as they change: a stream, which is never behind. Who reads it slowly
/// misses states in between, but not the last one; behind that the stream ends.
///
/// It does not keep the supervisor running.
#[must_use = "streams do nothing unless polled"]
pub struct SupervisorStates {
    watch: Watch,
    /// The version that was read last.
    seen: Option<u64>,
    over: bool,
}

impl SupervisorStates {
    pub(crate) const fn new(board: Arc<Board>) -> Self {
        Self {
            watch: Watch::new(board),
            seen: None,
            over: false,
        }
    }

    /// The state, as soon as it is another one than the last that was returned; at first the state
    /// as it is. `None` behind the last one.
    pub async fn next(&mut self) -> Option<SupervisorState> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<SupervisorState>> {
        if self.over {
            return Poll::Ready(None);
        }
        let seen = self.seen;
        let poll = self.watch.poll(cx, |inner| {
            let unseen = seen != Some(inner.version);
            unseen.then(|| (inner.version, inner.state.clone()))
        });
        poll.map(|(version, state)| {
            self.seen = Some(version);
            self.over = state.over;
            Some(state)
        })
    }
}

impl Stream for SupervisorStates {
    type Item = SupervisorState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SupervisorState>> {
        self.poll(cx)
    }
}

impl fmt::Debug for SupervisorStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SupervisorStates")
            .field(&self.watch.board)
            .finish()
    }
}
