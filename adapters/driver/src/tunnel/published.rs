//! What a tunnel is doing, to be read by anybody at any time without its lock.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::tunnel::state::{State, TunnelRole};

const OPEN: u8 = 1;
const SETTLED: u8 = 2;
const DRAINING: u8 = 4;
const RESPONSIVE: u8 = 8;

/// What a tunnel is doing at a moment. Reading it takes no lock and waits for nobody, so that one
/// of many tunnels can be picked by it for each call.
///
/// When it is used it may be out of date: a call can still find the tunnel full or draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelState {
    /// The tunnel is not over, and this end has not finished it.
    pub open: bool,
    /// The tunnel may carry calls, or did: the ends have agreed how.
    pub settled: bool,
    /// The tunnel drains, begun by this end or by the peer: open calls go on, new ones are refused.
    pub draining: bool,
    /// The peer answers. No longer if nothing came for
    /// [`Options::ask_after`](crate::Options::ask_after) after a call had left, and for
    /// [`Options::doubt_after`](crate::Options::doubt_after) after the peer was asked for a sign of
    /// life, or if it did not answer a ping or probe of [`Limits`](crate::Limits)`::liveness`. Yes
    /// again with whatever comes next.
    pub responsive: bool,
    /// Calls that have not ended.
    pub calls: u32,
    /// New calls that there is room for. A call beyond that waits at the tunnel client, and is
    /// refused by the tunnel server.
    pub room: u32,
}

impl TunnelState {
    /// Whether new calls can be made, though they may have to wait: the tunnel is open and settled
    /// and does not drain.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.open && self.settled && !self.draining
    }

    /// Whether the tunnel is one to pick for a new call: it is usable, its peer answers, and there
    /// is room.
    #[must_use]
    pub const fn takes_calls(&self) -> bool {
        self.is_usable() && self.responsive && self.room > 0
    }

    pub(crate) fn of<R: TunnelRole>(state: &State<R>) -> Self {
        let tunnel = &state.tunnel;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            open: state.end.is_none() && !tunnel.is_ended(),
            settled: state.started,
            draining: tunnel.is_draining(),
            responsive: tunnel.is_responsive() && !state.silence.is_doubted(),
            calls: number(tunnel.active_streams()),
            room: number(tunnel.room()),
        }
    }
}

/// The published state of a tunnel. Written under the tunnel's lock, after every update.
#[derive(Debug, Default)]
pub(crate) struct Published {
    flags: AtomicU8,
    calls: AtomicU32,
    room: AtomicU32,
}

impl Published {
    pub(crate) fn set(&self, state: TunnelState) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(state.open, OPEN)
            | flag(state.settled, SETTLED)
            | flag(state.draining, DRAINING)
            | flag(state.responsive, RESPONSIVE);
        // Whoever sees an end sees what came before it.
        self.calls.store(state.calls, Ordering::Relaxed);
        self.room.store(state.room, Ordering::Relaxed);
        self.flags.store(flags, Ordering::Release);
    }

    pub(crate) fn get(&self) -> TunnelState {
        let flags = self.flags.load(Ordering::Acquire);
        TunnelState {
            open: flags & OPEN != 0,
            settled: flags & SETTLED != 0,
            draining: flags & DRAINING != 0,
            responsive: flags & RESPONSIVE != 0,
            calls: self.calls.load(Ordering::Relaxed),
            room: self.room.load(Ordering::Relaxed),
        }
    }
}
