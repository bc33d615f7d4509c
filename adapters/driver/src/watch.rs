//! Tasks that wait for something that happens once.

use std::task::{Context, Waker};

use crate::after::After;

/// Wakers of tasks that wait, each of which can be taken back.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    next: u64,
    waiting: Vec<(u64, Option<Waker>)>,
}

impl Watchers {
    /// Notes that the task waits. `ticket` is what it got before, if it has waited.
    pub(crate) fn watch(&mut self, ticket: &mut Option<u64>, cx: &Context<'_>, after: &mut After) {
        let id = *ticket.get_or_insert_with(|| {
            self.next = self.next.wrapping_add(1);
            self.next
        });
        match self.waiting.iter_mut().find(|(other, _)| *other == id) {
            Some((_, waker)) => after.register(waker, cx.waker()),
            None => self.waiting.push((id, Some(cx.waker().clone()))),
        }
    }

    /// Notes that the task no longer waits.
    pub(crate) fn forget(&mut self, ticket: Option<u64>, after: &mut After) {
        let place = self
            .waiting
            .iter()
            .position(|(other, _)| Some(*other) == ticket);
        if let Some(place) = place {
            let (_, waker) = self.waiting.swap_remove(place);
            after.drop_waker(waker);
        }
    }

    /// Wakes all.
    pub(crate) fn wake(&mut self, after: &mut After) {
        after.wake_all(self.waiting.drain(..).filter_map(|(_, waker)| waker));
    }
}
