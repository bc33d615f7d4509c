//! Tasks on one thread, polled only when they were woken, each in turn. A test can drop one of them
//! wherever it waits.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use grpctunnel_driver::{Executor, Runtime, Sleep, Task, Timer};

/// What a task that goes on for ever would reach.
const MOST_POLLS: usize = 100_000;

/// The tasks. Without a clock nothing is ever due.
#[derive(Clone, Default)]
pub struct Steps(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    slots: Vec<Slot>,
    /// Tasks that were started so far.
    started: usize,
    /// A task by the number of its start, and after how many polls it is dropped.
    cut: Option<(usize, usize)>,
    was_cut: bool,
}

struct Slot {
    number: usize,
    /// None while it is polled.
    task: Option<Task>,
    woken: Arc<Woken>,
    polls: usize,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Steps {
    /// The task that is started as number `task`, from 0, is dropped when it was polled so often.
    pub fn cutting(task: usize, polls: usize) -> Self {
        let steps = Self::default();
        steps.with(|inner| inner.cut = Some((task, polls)));
        steps
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        match self.0.lock() {
            Ok(mut inner) => act(&mut inner),
            Err(_) => panic!("a test has panicked"),
        }
    }

    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.clone(), Never)
    }

    pub fn runtime_with(&self, timer: impl Timer) -> Runtime {
        Runtime::new(self.clone(), timer)
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.execute(Box::pin(task));
    }

    /// Tasks that have not ended.
    pub fn alive(&self) -> usize {
        self.with(|inner| inner.slots.len())
    }

    /// Tasks that were started so far.
    pub fn started(&self) -> usize {
        self.with(|inner| inner.started)
    }

    /// Whether the task that was to be dropped was.
    pub fn was_cut(&self) -> bool {
        self.with(|inner| inner.was_cut)
    }

    /// Polls what is woken until nothing is.
    pub fn run(&self) {
        for _ in 0..MOST_POLLS {
            let next = self.with(|inner| {
                let slot = inner
                    .slots
                    .iter_mut()
                    .find(|slot| slot.woken.0.load(Ordering::SeqCst) && slot.task.is_some())?;
                slot.woken.0.store(false, Ordering::SeqCst);
                slot.polls += 1;
                let task = slot.task.take()?;
                Some((task, slot.number, slot.polls, slot.woken.clone()))
            });
            let Some((mut task, number, polls, woken)) = next else {
                return;
            };
            let waker = Waker::from(woken);
            let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
            let cut = self.with(|inner| {
                let cut = poll.is_pending() && inner.cut == Some((number, polls));
                inner.was_cut |= cut;
                let place = inner.slots.iter().position(|slot| slot.number == number);
                if let Some(place) = place {
                    // Behind the others, so that each gets its turn.
                    let mut slot = inner.slots.remove(place);
                    if poll.is_pending() && !cut {
                        slot.task = Some(task);
                        inner.slots.push(slot);
                        return None;
                    }
                }
                Some(task)
            });
            // Without the lock: it may start others.
            drop(cut);
        }
        panic!("the tasks go on for ever");
    }

    /// Polls a future, and what it wakes, until it is ready. None: nothing is woken any more.
    pub fn drive<F: Future + Unpin>(&self, future: &mut F) -> Option<F::Output> {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        while woken.0.swap(false, Ordering::SeqCst) {
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut cx) {
                return Some(output);
            }
            self.run();
        }
        None
    }
}

impl Executor for Steps {
    fn execute(&self, task: Task) {
        let dropped = self.with(|inner| {
            let number = inner.started;
            inner.started += 1;
            if inner.cut == Some((number, 0)) {
                inner.was_cut = true;
                return Some(task);
            }
            inner.slots.push(Slot {
                number,
                task: Some(task),
                woken: Arc::new(Woken(AtomicBool::new(true))),
                polls: 0,
            });
            None
        });
        drop(dropped);
    }
}

struct Never;

impl Timer for Never {
    fn sleep_until(&self, _deadline: Instant) -> Sleep {
        Box::pin(std::future::pending())
    }
}
