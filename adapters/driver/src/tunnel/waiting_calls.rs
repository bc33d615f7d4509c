//! The calls that wait until the tunnel has room for them.

use std::task::{Context, Waker};

use grpctunnel_core::{Key, OpenError, OpenOptions, Time};

use crate::deferred::Deferred;
use crate::grpc::status::Status;

/// Slots that are kept when no call waits.
const KEPT_SLOTS: usize = 16;

/// A call that is not opened yet.
#[derive(Debug)]
pub(crate) struct NewCall {
    pub(crate) head: Vec<u8>,
    /// Metadata values that were left out of the head.
    pub(crate) dropped: u32,
    pub(crate) options: OpenOptions,
    /// Bytes of its request that were read already.
    pub(crate) queued: usize,
}

/// What became of a call that waited.
#[derive(Debug)]
pub(crate) enum Waited {
    /// It was opened when there was room.
    Opened(Key),
    /// It cannot be opened any more.
    Refused(OpenError),
    /// Too many bytes wait in the tunnels that share a budget.
    OverBudget(Status),
    /// Its time was over when it would have been its turn.
    Expired,
}

#[derive(Debug)]
enum Slot {
    Free,
    Waiting {
        call: NewCall,
        expires: Time,
        waker: Option<Waker>,
        before: Option<usize>,
        behind: Option<usize>,
    },
    Done(Waited),
}

/// The place of a call. It is given back once, with [`WaitingCalls::leave`].
#[derive(Debug)]
pub(crate) struct Place(usize);

/// The calls that wait to be opened, first come first served.
///
/// A list that is linked both ways, in slots: a call joins and leaves in constant time, wherever it
/// is. Nothing here needs the task of a call: one that is not polled stops no other.
#[derive(Debug, Default)]
pub(crate) struct WaitingCalls {
    slots: Vec<Slot>,
    free: Vec<usize>,
    first: Option<usize>,
    last: Option<usize>,
    waiting: usize,
}

impl WaitingCalls {
    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.waiting
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Joins the queue, at its end.
    pub(crate) fn join(&mut self, call: NewCall, expires: Time, cx: &Context<'_>) -> Place {
        let waiting = Slot::Waiting {
            call,
            expires,
            waker: Some(cx.waker().clone()),
            before: self.last,
            behind: None,
        };
        let index = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(index) {
            Some(slot) => *slot = waiting,
            None => self.slots.push(waiting),
        }
        self.link(self.last, Some(index));
        self.last = Some(index);
        self.waiting = self.waiting.saturating_add(1);
        Place(index)
    }

    /// What became of a call, if that is known; else its task is woken when it is.
    pub(crate) fn poll(
        &mut self,
        place: &Place,
        cx: &Context<'_>,
        deferred: &mut Deferred,
    ) -> Option<Waited> {
        match self.slots.get_mut(place.0)? {
            Slot::Waiting { waker, .. } => {
                deferred.register(waker, cx.waker());
                None
            }
            Slot::Done(waited) => Some(std::mem::replace(waited, Waited::Expired)),
            Slot::Free => None,
        }
    }

    /// Gives a place back. Returns what became of the call, unless that was taken.
    pub(crate) fn leave(&mut self, place: &Place, deferred: &mut Deferred) -> Option<Waited> {
        let waited = match self.take(place.0, Slot::Free, deferred) {
            Slot::Done(waited) => Some(waited),
            Slot::Waiting { .. } | Slot::Free => None,
        };
        self.free.push(place.0);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT_SLOTS {
            *self = Self::default();
        }
        waited
    }

    /// The call whose turn it is, and when its time is over.
    pub(crate) fn first(&self) -> Option<(&NewCall, Time)> {
        match self.slots.get(self.first?)? {
            Slot::Waiting { call, expires, .. } => Some((call, *expires)),
            Slot::Free | Slot::Done(_) => None,
        }
    }

    /// Decides what becomes of the call whose turn it is, and returns it.
    pub(crate) fn decide(&mut self, waited: Waited, deferred: &mut Deferred) -> Option<NewCall> {
        match self.take(self.first?, Slot::Done(waited), deferred) {
            Slot::Waiting {
                call, mut waker, ..
            } => {
                deferred.wake(&mut waker);
                Some(call)
            }
            Slot::Free | Slot::Done(_) => None,
        }
    }

    /// Lets calls whose time is over make room in the queue, from its front on.
    pub(crate) fn expire(&mut self, now: Time, deferred: &mut Deferred) {
        while self.first().is_some_and(|(_, expires)| expires <= now) {
            self.decide(Waited::Expired, deferred);
        }
    }

    /// Replaces what is in a slot. A call that waits is taken out of the queue.
    fn take(&mut self, index: usize, slot: Slot, deferred: &mut Deferred) -> Slot {
        let Some(place) = self.slots.get_mut(index) else {
            return Slot::Free;
        };
        let mut old = std::mem::replace(place, slot);
        if let Slot::Waiting {
            waker,
            before,
            behind,
            ..
        } = &mut old
        {
            let (before, behind) = (*before, *behind);
            if matches!(self.slots.get(index), Some(Slot::Free)) {
                deferred.drop_waker(waker.take());
            }
            self.link(before, behind);
            if self.last == Some(index) {
                self.last = before;
            }
            self.waiting = self.waiting.saturating_sub(1);
        }
        old
    }

    /// Makes two places neighbours. None: the queue's front, or its end.
    fn link(&mut self, front: Option<usize>, back: Option<usize>) {
        match front.map(|index| self.slots.get_mut(index)) {
            Some(Some(Slot::Waiting { behind, .. })) => *behind = back,
            Some(_) => {}
            None => self.first = back,
        }
        if let Some(Some(Slot::Waiting { before, .. })) =
            back.map(|index| self.slots.get_mut(index))
        {
            *before = front;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u32) -> NewCall {
        NewCall {
            head: Vec::new(),
            dropped: number,
            options: OpenOptions::default(),
            queued: 0,
        }
    }

    /// The numbers of the calls that wait, in order.
    fn turns(calls: &mut WaitingCalls, deferred: &mut Deferred) -> Vec<u32> {
        std::iter::from_fn(|| calls.decide(Waited::Expired, deferred))
            .map(|call| call.dropped)
            .collect()
    }

    #[test]
    fn calls_leave_from_anywhere_and_the_others_keep_their_order() {
        let cx = Context::from_waker(Waker::noop());
        let mut deferred = Deferred::default();
        for leaving in 0..32_u32 {
            let mut calls = WaitingCalls::default();
            for _ in 0..2 {
                let mut places: Vec<_> = (0..5)
                    .map(|number| calls.join(call(number), Time::MAX, &cx))
                    .collect();
                let mut expected = Vec::new();
                for number in (0..5).rev() {
                    if leaving >> number & 1 == 1 {
                        let place = places.remove(usize::try_from(number).unwrap());
                        assert!(calls.leave(&place, &mut deferred).is_none());
                    } else {
                        expected.insert(0, number);
                    }
                }
                assert_eq!(calls.len(), expected.len());
                assert_eq!(turns(&mut calls, &mut deferred), expected);
                assert!(calls.is_empty());
                for place in places {
                    let waited = calls.poll(&place, &cx, &mut deferred);
                    assert!(matches!(waited, Some(Waited::Expired)));
                    calls.leave(&place, &mut deferred);
                }
                assert_eq!(calls.slots.len(), 5);
            }
        }
    }

    #[test]
    fn an_empty_queue_keeps_little() {
        let cx = Context::from_waker(Waker::noop());
        let mut deferred = Deferred::default();
        let mut calls = WaitingCalls::default();
        let places: Vec<_> = (0..1_000)
            .map(|number| calls.join(call(number), Time::MAX, &cx))
            .collect();
        for place in &places {
            calls.leave(place, &mut deferred);
        }
        assert!(calls.slots.capacity() <= KEPT_SLOTS);
    }
}
