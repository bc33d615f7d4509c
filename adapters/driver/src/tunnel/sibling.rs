//! Two tunnels on one byte stream, which drain and finish together.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::tunnel::state::{State, TunnelRole};

/// What one tunnel does because of the other.
pub(crate) trait LinkedTunnel: Send + Sync {
    /// The other drains.
    fn drain(&self);
    /// The other has nothing left to do.
    fn let_finish(&self);
}

/// The other tunnel on a tunnel's byte stream.
pub(crate) struct Sibling {
    tunnel: Weak<dyn LinkedTunnel>,
    told_drain: AtomicBool,
    told_rest: AtomicBool,
}

/// What the sibling is to be told, without the lock.
#[derive(Clone, Copy)]
pub(crate) struct News {
    drains: bool,
    rests: bool,
}

impl Sibling {
    pub(crate) const fn new(tunnel: Weak<dyn LinkedTunnel>) -> Self {
        Self {
            tunnel,
            told_drain: AtomicBool::new(false),
            told_rest: AtomicBool::new(false),
        }
    }

    /// Looks at a tunnel after an update, under its lock.
    pub(crate) fn observe<R: TunnelRole>(&self, state: &State<R>) -> News {
        let tunnel = &state.tunnel;
        let ended = tunnel.is_ended();
        let drains = ended || tunnel.is_draining();
        let rests = ended || (drains && tunnel.active_streams() == 0 && !tunnel.wants_transmit());
        News {
            drains: drains && !self.told_drain.swap(true, Ordering::Relaxed),
            rests: rests && !self.told_rest.swap(true, Ordering::Relaxed),
        }
    }

    pub(crate) fn tell(&self, news: News) {
        if !(news.drains || news.rests) {
            return;
        }
        let Some(tunnel) = self.tunnel.upgrade() else {
            return;
        };
        if news.drains {
            tunnel.drain();
        }
        if news.rests {
            tunnel.let_finish();
        }
    }
}

impl std::fmt::Debug for Sibling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sibling").finish_non_exhaustive()
    }
}
