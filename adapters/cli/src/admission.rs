//! How many connections a listener takes, and for what.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use grpctunnel_http2::Reserved;
use tokio::sync::oneshot;

/// A connection that was taken out of the reserve has to open a tunnel in this time.
pub(crate) const TUNNEL_LIMIT: Duration = Duration::from_secs(2);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Of any kind.
    pub(crate) open: usize,
    /// Beyond these, for those that open a tunnel at once.
    pub(crate) reserve: usize,
}

/// Counts the connections of a listener. Clones are the same.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Inner>);

struct Inner {
    capacity: Capacity,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    next: u64,
    /// Those that have not shown yet what they speak, the oldest first. Dropping one's sender ends
    /// it.
    silent: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Admission {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self(Arc::new(Inner {
            capacity,
            state: Mutex::default(),
        }))
    }

    pub(crate) fn capacity(&self) -> Capacity {
        self.0.capacity
    }

    /// Takes a connection that was accepted. Where there is no room, the one that has been silent
    /// for longest makes room; where none is silent, the reserve has to do; `None` where that is
    /// used up.
    pub(crate) fn admit(&self) -> Option<(Admitted, Silent)> {
        let Capacity { open, reserve } = self.0.capacity;
        let mut state = self.state();
        let is_full = state.open >= open;
        let made_room = is_full && state.silent.pop_first().is_some();
        let reserved = is_full && !made_room;
        if reserved && state.open >= open.saturating_add(reserve) {
            return None;
        }
        state.open += 1;
        state.next += 1;
        let number = state.next;
        let (sender, evicted) = oneshot::channel();
        state.silent.insert(number, sender);
        let admitted = Admitted {
            admission: self.clone(),
            number,
            made_room,
            purpose: Purpose(Arc::new(Use {
                reserved,
                ..Use::default()
            })),
        };
        Some((admitted, Silent(evicted)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is whole between any two statements.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admission")
            .field(&self.state().open)
            .finish()
    }
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Admission,
    number: u64,
    made_room: bool,
    purpose: Purpose,
}

impl Admitted {
    /// It speaks, and is no longer the first to make room.
    pub(crate) fn spoke(&self) {
        self.admission.state().silent.remove(&self.number);
    }

    /// Whether a silent one had to make room for it.
    pub(crate) const fn made_room(&self) -> bool {
        self.made_room
    }

    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose.clone()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.silent.remove(&self.number);
        state.open = state.open.saturating_sub(1);
    }
}

/// Tells a silent connection to make room.
#[derive(Debug)]
pub(crate) struct Silent(oneshot::Receiver<()>);

impl Silent {
    /// Waits until it has to make room.
    pub(crate) async fn evicted(self) {
        // Nothing is ever sent.
        let _ = self.0.await;
    }
}

/// What a connection is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purpose(Arc<Use>);

#[derive(Debug, Default)]
struct Use {
    /// Whether it is one of the reserve.
    reserved: bool,
    tunnel: AtomicBool,
    /// What its windows take of the budget of callers.
    memory: Mutex<Option<Reserved>>,
}

impl Purpose {
    /// It opens a tunnel, and is no caller's.
    pub(crate) fn tunnel(&self) {
        self.0.tunnel.store(true, Ordering::SeqCst);
        self.release();
    }

    /// Whether it is out of the reserve, and has not opened a tunnel.
    pub(crate) fn owes_tunnel(&self) -> bool {
        self.0.reserved && !self.0.tunnel.load(Ordering::SeqCst)
    }

    /// Keeps what a caller's windows take, as long as it is a caller's.
    pub(crate) fn hold(&self, memory: Reserved) {
        *self.memory() = Some(memory);
        if self.0.tunnel.load(Ordering::SeqCst) {
            self.release();
        }
    }

    /// Gives that back.
    pub(crate) fn release(&self) {
        *self.memory() = None;
    }

    fn memory(&self) -> MutexGuard<'_, Option<Reserved>> {
        let memory = &self.0.memory;
        memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_silent_make_room_and_the_reserve_is_for_tunnels() {
        let admission = Admission::new(Capacity {
            open: 2,
            reserve: 1,
        });
        let (first, evicted) = admission.admit().unwrap();
        let (second, _) = admission.admit().unwrap();
        second.spoke();
        let (third, _) = admission.admit().unwrap();
        evicted.evicted().await;
        drop(first);
        third.spoke();
        assert!(!third.purpose().owes_tunnel());

        let (fourth, _) = admission.admit().unwrap();
        assert!(fourth.purpose().owes_tunnel());
        fourth.spoke();
        assert!(admission.admit().is_none());
        fourth.purpose().tunnel();
        assert!(!fourth.purpose().owes_tunnel());
        drop(third);
        drop(fourth);
        assert!(admission.admit().is_some());
    }
}
