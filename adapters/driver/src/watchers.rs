//! Tasks that wait for a change.

use std::task::{Context, Waker};

use crate::deferred::Deferred;

/// Wakers of tasks that wait. Each can be removed again.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    next: u64,
    /// In the order of the tickets.
    waiting: Vec<(u64, Option<Waker>)>,
}

impl Watchers {
    /// Registers the task. `ticket` is the one that it got when it was last registered.
    pub(crate) fn watch(
        &mut self,
        ticket: &mut Option<u64>,
        cx: &Context<'_>,
        deferred: &mut Deferred,
    ) {
        let place = self.place(*ticket);
        match place.and_then(|place| self.waiting.get_mut(place)) {
            Some((_, waker)) => deferred.register(waker, cx.waker()),
            None => {
                self.next = self.next.wrapping_add(1);
                *ticket = Some(self.next);
                self.waiting.push((self.next, Some(cx.waker().clone())));
            }
        }
    }

    /// Removes the task.
    pub(crate) fn forget(&mut self, ticket: Option<u64>, deferred: &mut Deferred) {
        if let Some(place) = self.place(ticket) {
            let (_, waker) = self.waiting.remove(place);
            deferred.drop_waker(waker);
        }
    }

    /// Wakes all tasks, and removes them.
    pub(crate) fn wake(&mut self, deferred: &mut Deferred) {
        deferred.wake_all(self.waiting.drain(..).filter_map(|(_, waker)| waker));
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn place(&self, ticket: Option<u64>) -> Option<usize> {
        let ticket = ticket?;
        self.waiting
            .binary_search_by_key(&ticket, |(other, _)| *other)
            .ok()
    }
}
