//! For searches over the states of a tunnel: what its streams do next, hashed.
//!
//! Every type is taken apart field by field, so that a new field does not compile before it is
//! decided whether it belongs to the state.

use core::hash::{Hash, Hasher};

use super::Streams;
use super::slab::Slab;
use super::stream::{NO_ID, Stream};
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
        record.is_vacant().hash(state);
        if !record.is_vacant() {
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
        send,
        kind,
        revision,
        marks,
        end,
    } = stream;
    (*id != NO_ID).then(|| id.wrapping_sub(base)).hash(state);
    (deadline.nanos_left(now), hold_until.nanos_left(now), timer).hash(state);
    (links, receive).hash(state);
    // An ended stream sends nothing more.
    if end.is_open() {
        send.fingerprint(state);
    }
    (kind, revision, marks, end).hash(state);
}
