//! The tunnels of a service.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::after::After;
use crate::shared::Shared;
use crate::state::Half;
use crate::watch::Watchers;

/// A tunnel that can be drained.
trait Drain: Send + Sync {
    fn drain(&self, limit: Duration);
}

impl<R: Half> Drain for Shared<R> {
    fn drain(&self, limit: Duration) {
        Self::drain(self, limit);
    }
}

/// The tunnels of a service that are not over.
#[derive(Default)]
pub(crate) struct Tunnels {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    tunnels: HashMap<u64, Weak<dyn Drain>>,
    /// How many have not started.
    waiting: usize,
    draining: bool,
    watchers: Watchers,
}

impl Tunnels {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a tunnel that has not started, until what is returned is dropped.
    pub(crate) fn enter<R: Half>(self: &Arc<Self>, tunnel: &Arc<Shared<R>>) -> Member {
        let tunnel: Weak<Shared<R>> = Arc::downgrade(tunnel);
        let mut inner = self.lock();
        let id = inner.next;
        inner.next = id.wrapping_add(1);
        inner.tunnels.insert(id, tunnel);
        inner.waiting = inner.waiting.saturating_add(1);
        Member {
            tunnels: self.clone(),
            id,
            waiting: true,
        }
    }

    /// Tunnels that have not started.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().tunnels.len()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    pub(crate) fn drain(&self, limit: Duration) {
        let tunnels: Vec<_> = {
            let mut inner = self.lock();
            inner.draining = true;
            inner.tunnels.values().filter_map(Weak::upgrade).collect()
        };
        for tunnel in tunnels {
            tunnel.drain(limit);
        }
    }

    pub(crate) fn drained(self: Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let mut wait = Wait {
            tunnels: self,
            ticket: None,
        };
        poll_fn(move |cx| wait.poll(cx))
    }
}

/// Waits until there is no tunnel.
struct Wait {
    tunnels: Arc<Tunnels>,
    ticket: Option<u64>,
}

impl Wait {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut after = After::default();
        let poll = {
            let mut inner = self.tunnels.lock();
            if inner.tunnels.is_empty() {
                Poll::Ready(())
            } else {
                inner.watchers.watch(&mut self.ticket, cx, &mut after);
                Poll::Pending
            }
        };
        after.run();
        poll
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut after = After::default();
        self.tunnels.lock().watchers.forget(self.ticket, &mut after);
        after.run();
    }
}

/// A tunnel among those of its service. Takes it out when it is dropped.
pub(crate) struct Member {
    tunnels: Arc<Tunnels>,
    id: u64,
    waiting: bool,
}

impl Member {
    /// The tunnel has started.
    pub(crate) fn start(&mut self) {
        if std::mem::take(&mut self.waiting) {
            let mut inner = self.tunnels.lock();
            inner.waiting = inner.waiting.saturating_sub(1);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.start();
        let mut after = After::default();
        {
            let mut inner = self.tunnels.lock();
            inner.tunnels.remove(&self.id);
            if inner.tunnels.is_empty() {
                inner.watchers.wake(&mut after);
            }
        }
        after.run();
    }
}
