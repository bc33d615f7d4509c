//! The time that a tunnel has when it is drained.

use grpctunnel_core::{Time, TunnelReason};

use crate::deferred::Deferred;
use crate::tunnel::state::{State, TunnelRole};

/// How far a drain with a limit has come.
///
/// The core ends what is open at the limit. What it then has to say, the end of the carrier
/// included, leaves only if the carrier takes it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum DrainTimeout {
    /// The tunnel does not drain, or without a limit.
    #[default]
    None,
    /// The limit passes at this time.
    Limit(Time),
    /// It has passed. The carrier has until this time to take what is left.
    Grace(Time),
}

impl DrainTimeout {
    /// Sets the limit. A second one can only be earlier.
    pub(crate) fn limit(&mut self, at: Time) {
        match self {
            Self::None if at != Time::MAX => *self = Self::Limit(at),
            Self::Limit(before) => *before = at.min(*before),
            Self::None | Self::Grace(_) => {}
        }
    }

    const fn at(self) -> Time {
        match self {
            Self::None => Time::MAX,
            Self::Limit(at) | Self::Grace(at) => at,
        }
    }
}

impl<R: TunnelRole> State<R> {
    /// When the drain needs attention. From the end of the carrier on the core keeps the time.
    pub(crate) fn drain_due(&self) -> Time {
        if self.carrier.is_some() {
            Time::MAX
        } else {
            self.drain_timeout.at()
        }
    }

    /// Handles the drain's timeout, if it is due. The core has handled its own before.
    pub(crate) fn handle_drain_timeout(&mut self, deferred: &mut Deferred) {
        let (now, due) = (self.now, self.drain_due());
        if due > now {
            return;
        }
        if !self.outgoing.parked {
            // Where nothing is left to be sent, the core finishes the carrier.
            self.gather(1, deferred);
        }
        let grace = DrainTimeout::Grace(now.saturating_add(self.options.limits.finish_grace));
        self.drain_timeout = match self.drain_timeout {
            // From now, not from the limit: a process that slept has not had it yet.
            DrainTimeout::Limit(_) => grace,
            DrainTimeout::Grace(_) if self.slept_since(due) => grace,
            // All was taken, and another tunnel still needs the carrier.
            DrainTimeout::Grace(_) if self.finish_held && self.outgoing.parked => grace,
            DrainTimeout::Grace(_) if self.carrier.is_none() => {
                self.tunnel.abort(now, TunnelReason::DrainLimit);
                DrainTimeout::None
            }
            DrainTimeout::None | DrainTimeout::Grace(_) => DrainTimeout::None,
        };
    }
}
