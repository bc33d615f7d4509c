//! Tasks that wait for a change that happens once.

use std::task::{Context, Waker};

use crate::deferred::Deferred;

/// Wakers of tasks that wait. Each can be removed again.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    next: u64,
    waiting: Vec<(u64, Option<Waker>)>,
}

impl Watchers {
    /// Registers the task. `ticket` is the one that it got when it was first registered.
    pub(crate) fn watch(
        &mut self,
        ticket: &mut Option<u64>,
        cx: &Context<'_>,
        deferred: &mut Deferred,
    ) {
        let id = *ticket.get_or_insert_with(|| {
            self.next = self.next.wrapping_add(1);
            self.next
        });
        match self.waiting.iter_mut().find(|(other, _)| *other == id) {
            Some((_, waker)) => deferred.register(waker, cx.waker()),
            None => self.waiting.push((id, Some(cx.waker().clone()))),
        }
    }

    /// Removes the task.
    pub(crate) fn forget(&mut self, ticket: Option<u64>, deferred: &mut Deferred) {
        let place = self
            .waiting
            .iter()
            .position(|(other, _)| Some(*other) == ticket);
        if let Some(place) = place {
            let (_, waker) = self.waiting.swap_remove(place);
            deferred.drop_waker(waker);
        }
    }

    /// Wakes all tasks, and removes them.
    pub(crate) fn wake(&mut self, deferred: &mut Deferred) {
        deferred.wake_all(self.waiting.drain(..).filter_map(|(_, waker)| waker));
    }
}
