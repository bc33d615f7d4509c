//! For searches over the states of a tunnel: everything that decides what it does next, hashed.
//!
//! Every type is taken apart field by field, so that a new field does not compile before it is
//! decided whether it belongs to the state.

use core::hash::{Hash, Hasher};

use super::liveness::{Alive, Asked, Question};
use super::revision_zero::RevisionZero;
use super::{Due, Rejection, Role, Tunnel};
use crate::error::{Side, TunnelError};
use crate::slab::Slab;
use crate::storage::{List, Queue, Storage};
use crate::stream::{Flag, NO_ID, SendHalf, Stream};
use crate::time::Time;
use crate::timers::TimerHeap;
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
            slab,
            index,
            timers,
            data,
            control,
            events,
            spent,
            rejections,
            highest,
            next_id,
            unsent,
            active,
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
            Side::Client => *next_id,
            Side::Server => *highest,
        };
        // Until the first id, every lower one is unknown; from then on all of them are late.
        (*highest == i64::MIN).hash(state);
        (*phase as u8, negotiated, revision, peer_window).hash(state);
        (left(*phase_until, now), left(*drain_until, now)).hash(state);
        write_slab(slab, base, now, state);
        // The ids are in the records; where the entries lie decides nothing.
        index.slots().for_each(|slot| slot.hash(state));
        let TimerHeap { slots } = timers;
        slots.as_slice().hash(state);
        (data, control, events, spent).hash(state);
        write_rejections(rejections, base, state);
        (unsent, active, settings_due, may_open_wanted).hash(state);
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
        let stream = self.slab.find(stream)?;
        (stream.revision == crate::wire::Revision::One).then(|| stream.send.window.available())
    }

    /// From now on nothing is granted on the stream before `bytes` are to be granted:
    /// a fault for a search to find, if that is above the window.
    #[doc(hidden)]
    pub fn withhold_grants(&mut self, stream: Key, bytes: u16) {
        if let Some(stream) = self.slab.find_mut(stream) {
            stream.withheld = bytes;
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
            ask_early,
            heartbeat_due,
            missed,
            paused,
            backlogged,
            pongs,
        } = alive;
        let times = [self.asks_at(), self.heartbeat_at(), self.answer_at()];
        for time in times.into_iter().chain([self.half_close_at()]) {
            left(time, now).hash(state);
        }
        (ask_due, ask_early, heartbeat_due, missed, paused).hash(state);
        (backlogged, pongs.len()).hash(state);
        if let Some(asked) = asked {
            let Asked {
                question,
                at: _,
                heard,
                taken,
                early,
            } = asked;
            (heard, taken, early).hash(state);
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

/// What is left until a timer.
fn left(time: Time, now: Time) -> u64 {
    if time == Time::MAX {
        u64::MAX
    } else {
        time.as_nanos().wrapping_sub(now.as_nanos())
    }
}

fn write_slab<S: Storage, H: Hasher>(slab: &Slab<S>, base: i64, now: Time, state: &mut H) {
    let Slab {
        records,
        free,
        in_use,
    } = slab;
    in_use.hash(state);
    free.hash(state);
    for record in records.as_slice() {
        record.has(Flag::InUse).hash(state);
        if record.has(Flag::InUse) {
            write_stream(record, base, now, state);
        } else {
            // The slot that was freed before it.
            record.id.hash(state);
        }
    }
}

fn write_stream<H: Hasher>(stream: &Stream, base: i64, now: Time, state: &mut H) {
    let Stream {
        generation: _,
        id,
        deadline,
        hold_until,
        timer,
        links,
        receive,
        incoming,
        send,
        kind,
        revision,
        flags,
        ended,
        unread,
        close_due,
        withheld,
    } = stream;
    (*id != NO_ID).then(|| id.wrapping_sub(base)).hash(state);
    (left(*deadline, now), left(*hold_until, now), timer).hash(state);
    (links, receive, incoming, withheld).hash(state);
    // An ended stream sends nothing more.
    if ended.is_none() {
        write_send_half(send, state);
    }
    (kind, revision, flags).hash(state);
    (ended, unread, close_due).hash(state);
}

fn write_send_half<H: Hasher>(send: &SendHalf, state: &mut H) {
    let SendHalf {
        window,
        size,
        ready,
        sent,
        head_len,
        close_len,
        sending,
        head,
        half_close,
        close,
    } = send;
    (window, head_len, close_len, sending).hash(state);
    (head, half_close, close).hash(state);
    // What the last message was decides nothing.
    if send.is_inside() {
        (size, ready, sent).hash(state);
    }
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
    stalled_since.map(|since| left(since, now)).hash(state);
}
