//! The members of a group.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::client::Channel;
use crate::deferred::Deferred;
use crate::group::pick::Member;
use crate::tunnel::id::TunnelId;
use crate::watchers::Watchers;

/// What the clones of a group share.
pub(crate) struct Tunnels {
    inner: Mutex<Inner>,
    /// Whose turn it is.
    pub(crate) turn: AtomicUsize,
    _guard: Option<Box<dyn Send + Sync>>,
}

#[derive(Default)]
struct Inner {
    /// In the order of their places. Copied only where it changes while somebody reads it.
    members: Arc<Vec<Arc<Member>>>,
    next: u64,
    /// Tunnels that are on their way.
    expected: usize,
    /// Counts the changes.
    version: u64,
    /// Woken by each change.
    watchers: Watchers,
}

impl Tunnels {
    /// None yet. `guard` is dropped with the last handle of them.
    pub(crate) fn new(guard: Option<Box<dyn Send + Sync>>) -> Self {
        Self {
            inner: Mutex::default(),
            turn: AtomicUsize::new(0),
            _guard: guard,
        }
    }

    /// No code of users, and of no tunnel, runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a tunnel, until the result is dropped.
    pub(crate) fn add(self: &Arc<Self>, channel: Channel) -> Membership {
        let id = channel.id();
        let extensions = channel.extensions();
        let place = self.change(|inner| {
            let place = inner.next;
            inner.next = place.wrapping_add(1);
            let member = Member {
                place,
                channel,
                extensions,
            };
            Arc::make_mut(&mut inner.members).push(Arc::new(member));
            place
        });
        Membership {
            tunnels: self.clone(),
            place,
            id,
        }
    }

    /// Says that a tunnel is on its way, until the result is dropped.
    pub(crate) fn expect(self: &Arc<Self>) -> Expected {
        self.change(|inner| {
            inner.expected = inner.expected.saturating_add(1);
        });
        Expected {
            tunnels: self.clone(),
        }
    }

    pub(crate) fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.lock().members.clone()
    }

    /// Whether any tunnel takes a call at once.
    pub(crate) fn is_ready(&self) -> bool {
        let members = self.members();
        members
            .iter()
            .any(|member| member.channel.state().takes_calls())
    }

    pub(crate) fn members_and_version(&self) -> (Arc<Vec<Arc<Member>>>, u64) {
        let inner = self.lock();
        (inner.members.clone(), inner.version)
    }

    /// Whether there is no tunnel, and none is on its way.
    pub(crate) fn is_deserted(&self) -> bool {
        let inner = self.lock();
        inner.members.is_empty() && inner.expected == 0
    }

    /// Whether a tunnel is on its way.
    pub(crate) fn is_expecting(&self) -> bool {
        self.lock().expected > 0
    }

    /// Whether there were changes since `version`; if not, the task is woken by the next.
    pub(crate) fn poll_changed(
        &self,
        version: u64,
        ticket: &mut Option<u64>,
        cx: &Context<'_>,
    ) -> Poll<()> {
        self.with(|inner, deferred| {
            if inner.version == version {
                inner.watchers.watch(ticket, cx, deferred);
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
    }

    pub(crate) fn forget(&self, ticket: Option<u64>) {
        if ticket.is_some() {
            self.with(|inner, deferred| inner.watchers.forget(ticket, deferred));
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner, &mut Deferred) -> T) -> T {
        let mut deferred = Deferred::default();
        let result = act(&mut self.lock(), &mut deferred);
        deferred.run();
        result
    }

    /// What `change` takes out is returned, to be dropped while nothing is locked: the last handle
    /// of a tunnel drains it.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        self.with(|inner, deferred| {
            inner.version = inner.version.wrapping_add(1);
            inner.watchers.wake(deferred);
            change(inner)
        })
    }
}

/// A tunnel in a group, see [`TunnelGroup::add`](crate::TunnelGroup::add). Dropping this takes the tunnel out.
#[must_use = "the tunnel leaves the group when this is dropped"]
pub struct Membership {
    tunnels: Arc<Tunnels>,
    place: u64,
    id: TunnelId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let removed = self.tunnels.change(|inner| {
            let members = &inner.members;
            let index = members.binary_search_by_key(&self.place, |member| member.place);
            let members = Arc::make_mut(&mut inner.members);
            index.ok().map(|index| members.remove(index))
        });
        drop(removed);
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Membership").field(&self.id).finish()
    }
}

/// A tunnel that is on its way to a group, see [`TunnelGroup::expect`](crate::TunnelGroup::expect). Dropping this says that it
/// is there, or does not come.
#[must_use = "no tunnel is expected any more when this is dropped"]
pub struct Expected {
    tunnels: Arc<Tunnels>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.tunnels.change(|inner| {
            inner.expected = inner.expected.saturating_sub(1);
        });
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").finish_non_exhaustive()
    }
}
