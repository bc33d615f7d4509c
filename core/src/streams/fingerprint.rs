//! For searches over the states of a tunnel: what its streams do next, hashed.
//!
//! Every type is taken apart field by field, so that a new field does not compile before it is
//! decided whether it belongs to the state.

use core::hash::{Hash, Hasher};

use super::Streams;
use super::slab::Slab;
use super::stream::{Flag, NO_ID, Stream};
use super::timers::TimerHeap;
use crate::storage::{List, Storage};
use crate::time::Time;

impl<S: Storage> Streams<S> {
    /// Writes what decides the future of all streams, seen from `now`; of their ids, the distance
    /// from `base`.
    pub(crate) fn fingerprint<H: Hasher>(&self, base: i64, now: Time, state: &mut H) {
        let Self {
            slab,
            index,
            timers,
            turns,
            control,
            events,
            active,
            unsent,
        } = self;
        write_slab(slab, base, now, state);
        // The ids are in the records; where the entries lie decides nothing.
        index.slots().for_each(|slot| slot.hash(state));
        let TimerHeap { slots } = timers;
        slots.as_slice().hash(state);
        (turns, control, events).hash(state);
        (active, unsent).hash(state);
    }
}

fn write_slab<S: Storage, H: Hasher>(slab: &Slab<S>, base: i64, now: Time, state: &mut H) {
    let Slab {
        records,
        free,
        in_use,
        vacant: _,
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
        withheld,
    } = stream;
    (*id != NO_ID).then(|| id.wrapping_sub(base)).hash(state);
    (deadline.nanos_left(now), hold_until.nanos_left(now), timer).hash(state);
    (links, receive, incoming, withheld).hash(state);
    // An ended stream sends nothing more.
    if ended.is_none() {
        send.fingerprint(state);
    }
    (kind, revision, flags).hash(state);
    (ended, unread).hash(state);
}
