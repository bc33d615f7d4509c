//! For searches over the states of a tunnel: everything that decides what it does next, hashed.
//!
//! Every type is taken apart field by field, so that a new field does not compile before it is
//! decided whether it belongs to the state.

use core::hash::{Hash, Hasher};

use super::liveness::{Alive, Asked, Question};
use super::revision_zero::RevisionZero;
use super::{Due, Rejection, Role, Tunnel};
use crate::error::{Side, TunnelError};
use crate::storage::{Queue, Storage};
use crate::time::Time;
use crate::types::Key;

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Writes what decides the tunnel's future, seen from `now`. Two tunnels with the same
    /// settings that write the same do the same from then on, whatever is done to them.
    ///
    /// Left out are the settings, what was counted, what the peer has left of its budgets, the
    /// numbers of the stream ids (only their distance from the next one counts), the generation
    /// of keys, and the point in time (only what is left until a timer counts). Slots are in:
    /// which one is whose decides the order in which streams are told of a common end.
    #[expect(clippy::too_many_lines, reason = "one line a field")]
    pub fn fingerprint<H: Hasher>(&self, now: Time, state: &mut H) {
        let Self {
            limits,
            flow_control: _,
            own_extensions: _,
            budget: _,
            counters: _,
            role: _,
            phase,
            phase_until,
            negotiated,
            revision,
            peer_window,
            streams,
            rejections,
            ids,
            // Follow from what is due.
            urgent: _,
            wakes: _,
            settings_due,
            may_open_wanted,
            extensions,
            peer_extends,
            extensions_due,
            draining,
            finish_held,
            drain_until,
            drain_last,
            drain_due,
            peer_drains,
            alive,
            revision_zero,
            due,
            error,
            growth,
        } = self;
        let base = match R::SIDE {
            Side::Client => ids.next(),
            Side::Server => ids.highest(),
        };
        ids.fingerprint(state);
        (*phase as u8, negotiated, revision, peer_window).hash(state);
        (phase_until.nanos_left(now), drain_until.nanos_left(now)).hash(state);
        streams.fingerprint(base, now, state);
        write_rejections(rejections, base, state);
        (settings_due, may_open_wanted).hash(state);
        (extensions, peer_extends, extensions_due).hash(state);
        (draining, finish_held, drain_due, peer_drains).hash(state);
        // Who has not named its extensions may still have to be told.
        (*drain_due || *draining && !*peer_extends)
            .then(|| drain_last.wrapping_sub(base))
            .hash(state);
        self.write_alive(alive, base, now, state);
        write_revision_zero(revision_zero, now, state);
        write_due(due, state);
        if limits.receive_window.max > limits.receive_window.initial {
            growth.fingerprint(state);
        }
        error.as_ref().map(TunnelError::reason).hash(state);
    }

    /// What the peer's credit lets this end send on the stream; revision one only.
    #[must_use]
    pub fn send_credit(&self, stream: Key) -> Option<u32> {
        let stream = self.streams.find(stream)?;
        (stream.revision == crate::wire::Revision::One).then(|| stream.send.window().available())
    }

    /// From now on nothing is granted on the stream before `bytes` are to be granted:
    /// a fault for a search to find, if that is above the window.
    #[doc(hidden)]
    pub fn withhold_grants(&mut self, stream: Key, bytes: u16) {
        if let Some(slot) = self.streams.slot(stream) {
            self.streams.get_mut(slot).withheld = bytes;
        }
    }

    /// The times count as far as they lead to a timer.
    fn write_alive<H: Hasher>(&self, alive: &Alive, base: i64, now: Time, state: &mut H) {
        let Alive {
            heard: _,
            said: _,
            last_asked: _,
            pings: _,
            round_trip: _,
            asked,
            ask_due,
            heartbeat_due,
            missed,
            paused,
            backlogged,
            pongs,
        } = alive;
        let times = [self.asks_at(), self.heartbeat_at(), self.answer_at()];
        for time in times.into_iter().chain([self.half_close_at()]) {
            time.nanos_left(now).hash(state);
        }
        (ask_due, heartbeat_due, missed, paused).hash(state);
        (backlogged, pongs.len()).hash(state);
        if let Some(asked) = asked {
            let Asked {
                question,
                at: _,
                heard,
                taken,
            } = asked;
            (heard, taken).hash(state);
            match question {
                Question::Probe { id, half_close } => {
                    (id.wrapping_sub(base), half_close).hash(state);
                }
                Question::Ping(_) => 1_u8.hash(state),
            }
        }
        asked.is_some().hash(state);
    }
}

fn write_due<H: Hasher>(due: &Due, state: &mut H) {
    let Due {
        settled,
        may_open,
        draining,
        round_trip,
        responsive,
        carrier,
        any: _,
    } = due;
    (settled, may_open, draining, round_trip, responsive).hash(state);
    carrier.is_some().hash(state);
}

fn write_rejections<Q: Queue<Rejection>, H: Hasher>(rejections: &Q, base: i64, state: &mut H) {
    for Rejection { id, reason } in rejections.iter() {
        (id.wrapping_sub(base), reason).hash(state);
    }
    rejections.len().hash(state);
}

fn write_revision_zero<H: Hasher>(revision_zero: &RevisionZero, now: Time, state: &mut H) {
    let RevisionZero {
        unread,
        over,
        saw_flow_control,
        stalled_since,
    } = revision_zero;
    (unread, over, saw_flow_control).hash(state);
    stalled_since.map(|since| since.nanos_left(now)).hash(state);
}
