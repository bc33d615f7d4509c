//! The tunnels of a service.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use grpctunnel_core::Code;

use crate::deferred::Deferred;
use crate::grpc::status::Status;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::TunnelRole;
use crate::watchers::Watchers;

/// A tunnel that can be drained.
trait Drain: Send + Sync {
    fn drain(&self, limit: Duration);
}

impl<R: TunnelRole> Drain for Shared<R> {
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
    /// How many are not settled.
    unsettled: usize,
    draining: bool,
    watchers: Watchers,
}

impl Tunnels {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a tunnel that is not settled, unless the service takes none now. Under the same lock as
    /// [`drain`](Self::drain), so that every tunnel is either refused or drained.
    pub(crate) fn admit<R: TunnelRole>(
        self: &Arc<Self>,
        tunnel: &Arc<Shared<R>>,
    ) -> Result<(Registration, Unsettled), Status> {
        let options = tunnel.options.clone();
        let tunnel: Weak<Shared<R>> = Arc::downgrade(tunnel);
        let mut inner = self.lock();
        if inner.draining {
            let text = "the tunnel server is shutting down";
            return Err(Status::new(Code::Unavailable, text));
        }
        let full = |count: usize, most: usize, what: &str, limit: &str| {
            let text = format!("{count} {what} are there already: the limit is options.{limit}");
            (count >= most).then(|| Status::new(Code::ResourceExhausted, text))
        };
        let (all, unsettled) = (inner.tunnels.len(), inner.unsettled);
        let refused = full(all, options.max_tunnels, "tunnels", "max_tunnels").or_else(|| {
            let what = "tunnels that are not settled yet";
            full(unsettled, options.max_unsettled, what, "max_unsettled")
        });
        if let Some(refused) = refused {
            return Err(refused);
        }
        let id = inner.next;
        inner.next = id.wrapping_add(1);
        inner.tunnels.insert(id, tunnel);
        inner.unsettled = inner.unsettled.saturating_add(1);
        let registration = Registration {
            tunnels: self.clone(),
            id,
        };
        Ok((registration, Unsettled(self.clone())))
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().tunnels.len()
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
        let mut drained = Drained {
            tunnels: self,
            ticket: None,
        };
        poll_fn(move |cx| drained.poll(cx))
    }
}

/// Waits until the last tunnel is over.
struct Drained {
    tunnels: Arc<Tunnels>,
    ticket: Option<u64>,
}

impl Drained {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut deferred = Deferred::default();
        let poll = {
            let mut inner = self.tunnels.lock();
            if inner.tunnels.is_empty() {
                Poll::Ready(())
            } else {
                inner.watchers.watch(&mut self.ticket, cx, &mut deferred);
                Poll::Pending
            }
        };
        deferred.run();
        poll
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let mut deferred = Deferred::default();
        self.tunnels
            .lock()
            .watchers
            .forget(self.ticket, &mut deferred);
        deferred.run();
    }
}

/// A tunnel's entry among those of its service. Dropping it removes the tunnel.
pub(crate) struct Registration {
    tunnels: Arc<Tunnels>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut deferred = Deferred::default();
        {
            let mut inner = self.tunnels.lock();
            inner.tunnels.remove(&self.id);
            if inner.tunnels.is_empty() {
                inner.watchers.wake(&mut deferred);
            }
        }
        deferred.run();
    }
}

/// Counts a tunnel as unsettled until it is dropped.
pub(crate) struct Unsettled(Arc<Tunnels>);

impl Drop for Unsettled {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.unsettled = inner.unsettled.saturating_sub(1);
    }
}
