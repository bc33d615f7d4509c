//! Small frames that wait to be read, which this end may receive faster than it reads them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use grpctunnel_driver::{Runtime, Sleep};

/// h2 charges DATA frames that are smaller with the difference, until they are read.
pub(crate) const SMALL: usize = 256;
/// How long no more is received for the sake of readers that do not catch up.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the small frames cost that were received and not read.
///
/// What h2 drops of streams that nobody reads any more is counted until it is
/// [forgotten](Self::forget).
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    unread: AtomicUsize,
    /// The cost above which no more is received.
    limit: usize,
    /// Whether the connection's task waits for readers.
    waits: AtomicBool,
}

impl Backlog {
    /// Part of a budget above which h2 gives up the connection.
    pub(crate) const fn new(budget: usize) -> Self {
        Self {
            unread: AtomicUsize::new(0),
            limit: budget / 4 * 3,
            waits: AtomicBool::new(false),
        }
    }

    /// Counts a DATA frame that was received.
    pub(crate) fn received(&self, length: usize) {
        self.unread.fetch_add(cost(length), Ordering::SeqCst);
    }

    /// Counts a DATA frame that was read, and wakes the connection's task if it waits for that.
    pub(crate) fn read(&self, length: usize, task: &AtomicWaker) {
        let cost = cost(length);
        if cost == 0 {
            return;
        }
        let less = |unread: usize| Some(unread.saturating_sub(cost));
        // It never fails.
        let _ = self
            .unread
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if self.waits.load(Ordering::SeqCst) && !self.is_full() {
            self.waits.store(false, Ordering::SeqCst);
            task.wake();
        }
    }

    fn is_full(&self) -> bool {
        self.unread.load(Ordering::SeqCst) > self.limit
    }

    /// Takes what was counted for what nobody will read.
    fn forget(&self) {
        self.unread.store(0, Ordering::SeqCst);
    }
}

/// What a DATA frame costs. h2 keeps no empty one.
const fn cost(length: usize) -> usize {
    match length {
        0 => 0,
        length => SMALL.saturating_sub(length),
    }
}

/// Lets readers catch up, so that an honest peer is not given up because this end is slow. Those who
/// read nothing hold the connection up for a moment, and then only h2's own budget bounds them.
pub(crate) struct Pause {
    runtime: Runtime,
    sleep: Option<Sleep>,
}

impl Pause {
    pub(crate) const fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            sleep: None,
        }
    }

    /// Waits until more may be received.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, backlog: &Backlog) -> Poll<()> {
        if !backlog.is_full() {
            self.sleep = None;
            return Poll::Ready(());
        }
        let sleep = self.sleep.get_or_insert_with(|| {
            let now = self.runtime.now();
            self.runtime
                .sleep_until(now.checked_add(PATIENCE).unwrap_or(now))
        });
        backlog.waits.store(true, Ordering::SeqCst);
        if backlog.is_full() {
            if Pin::new(sleep).poll(cx).is_pending() {
                return Poll::Pending;
            }
            backlog.forget();
        }
        backlog.waits.store(false, Ordering::SeqCst);
        self.sleep = None;
        Poll::Ready(())
    }
}
