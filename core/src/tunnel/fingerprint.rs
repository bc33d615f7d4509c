//! For searches over the states of a tunnel: everything that decides what it does next, hashed.
//!
//! Every type is taken apart field by field, so that a new field does not compile before it is
//! decided whether it belongs to the state.

use core::hash::{Hash, Hasher};

use super::{Role, Tunnel};
use crate::code::Side;
use crate::error::TunnelError;
use crate::storage::Storage;
use crate::time::Time;

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Writes what decides the tunnel's future, seen from `now`. Two tunnels with the same
    /// settings that write the same do the same from then on, whatever is done to them.
    ///
    /// Left out are the settings, what was counted, what the peer has left of its budgets, the
    /// numbers of the stream ids (only their distance from the next one counts), the generation
    /// of keys, and the point in time (only what is left until a timer counts). Slots are in:
    /// which one is whose decides the order in which streams are told of a common end.
    pub fn fingerprint<H: Hasher>(&self, now: Time, state: &mut H) {
        let Self {
            limits,
            budget: _,
            counters: _,
            role: _,
            // Follow from what is due.
            urgent: _,
            no_timer_before: _,
            phase,
            phase_until,
            may_open_wanted,
            handshake,
            ids,
            streams,
            refusals,
            growth,
            revision_zero,
            liveness,
            drain,
            notices,
            error,
        } = self;
        let base = match R::SIDE {
            Side::Client => ids.next(),
            Side::Server => ids.highest(),
        };
        (*phase as u8, phase_until.nanos_left(now)).hash(state);
        may_open_wanted.hash(state);
        handshake.fingerprint(state);
        ids.fingerprint(state);
        streams.fingerprint(base, now, state);
        refusals.fingerprint(base, state);
        if limits.receive_window.max > limits.receive_window.initial {
            growth.fingerprint(state);
        }
        revision_zero.fingerprint(now, state);
        liveness.fingerprint(self.liveness_rules(), base, now, state);
        drain.fingerprint(!handshake.peer_answered(), base, now, state);
        notices.fingerprint(state);
        error.as_ref().map(TunnelError::reason).hash(state);
    }
}
