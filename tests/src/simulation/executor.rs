//! Tasks that are polled in any order, and a clock that moves when nothing else does.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use fastrand::Rng;
use grpctunnel_driver::{Executor, Runtime, Sleep, Task, Timer};

/// One task in so many is polled although nobody woke it.
const SPURIOUS: usize = 50;
/// What tasks that go on for ever would reach.
const MOST_POLLS: u64 = 3_000_000;

/// Who started a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The simulation itself.
    Simulation,
    /// The driver, whose tasks an executor may drop.
    Driver,
}

struct Slot {
    id: u64,
    owner: Owner,
    task: Option<Task>,
    woken: Arc<Woken>,
}

struct Woken {
    id: u64,
    ready: Weak<Mutex<Vec<u64>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        if let Some(ready) = self.ready.upgrade() {
            let mut ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
            if !ready.contains(&self.id) {
                ready.push(self.id);
            }
        }
    }
}

struct Inner {
    rng: Rng,
    next: u64,
    slots: Vec<Slot>,
    now: Duration,
    timers: BTreeMap<(Duration, u64), Waker>,
    polls: u64,
    /// Nothing runs any more: what is started is dropped.
    closed: bool,
}

/// The executor and the clock of a simulated world. Clones are the same.
#[derive(Clone)]
pub(super) struct Sim {
    inner: Arc<Mutex<Inner>>,
    ready: Arc<Mutex<Vec<u64>>>,
    begun: Instant,
}

/// Tasks went on for ever.
#[derive(Debug)]
pub(super) struct Endless;

impl Sim {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                rng: Rng::with_seed(seed),
                next: 0,
                slots: Vec::new(),
                now: Duration::ZERO,
                timers: BTreeMap::new(),
                polls: 0,
                closed: false,
            })),
            ready: Arc::default(),
            begun: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn runtime(&self) -> Runtime {
        Runtime::new(self.clone(), self.clone())
    }

    /// The time since the world began.
    pub(super) fn now(&self) -> Duration {
        self.lock().now
    }

    /// A number below `limit`, which is not zero.
    pub(super) fn below(&self, limit: u64) -> u64 {
        self.lock().rng.u64(0..limit.max(1))
    }

    /// Waits until this time.
    pub(super) fn until(&self, at: Duration) -> Sleeping {
        Sleeping {
            sim: self.clone(),
            at,
            key: None,
        }
    }

    pub(super) fn sleep(&self, duration: Duration) -> Sleeping {
        self.until(self.now().saturating_add(duration))
    }

    /// Starts a task of the simulation's own.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.start(Box::pin(task), Owner::Simulation);
    }

    fn start(&self, task: Task, owner: Owner) {
        let refused = {
            let mut inner = self.lock();
            if inner.closed {
                Some(task)
            } else {
                let id = inner.next;
                inner.next += 1;
                let woken = Arc::new(Woken {
                    id,
                    ready: Arc::downgrade(&self.ready),
                });
                inner.slots.push(Slot {
                    id,
                    owner,
                    task: Some(task),
                    woken,
                });
                self.ready().push(id);
                None
            }
        };
        drop(refused);
    }

    /// Tasks that have not ended.
    pub(super) fn alive(&self) -> usize {
        self.lock().slots.len()
    }

    /// Drops one of the driver's tasks.
    pub(super) fn drop_task(&self, number: u8) {
        let dropped = {
            let mut inner = self.lock();
            let slots = inner.slots.iter().enumerate();
            let of_driver: Vec<usize> = slots
                .filter(|(_, slot)| slot.owner == Owner::Driver && slot.task.is_some())
                .map(|(place, _)| place)
                .collect();
            let place = of_driver.get(usize::from(number) % of_driver.len().max(1));
            place.map(|place| inner.slots.remove(*place))
        };
        drop(dropped);
    }

    /// Drops everything that is left.
    pub(super) fn close(&self) {
        loop {
            let slots = {
                let mut inner = self.lock();
                inner.closed = true;
                std::mem::take(&mut inner.slots)
            };
            if slots.is_empty() {
                return;
            }
            drop(slots);
        }
    }

    /// The task to poll next, if any is ready.
    fn take_next(&self) -> Option<(u64, Task, Arc<Woken>)> {
        let mut inner = self.lock();
        loop {
            let mut ready = self.ready();
            let count = ready.len();
            if count == 0 {
                return None;
            }
            let spurious = inner.rng.usize(0..SPURIOUS) == 0 && !inner.slots.is_empty();
            let id = if spurious {
                let all = inner.slots.len();
                let place = inner.rng.usize(0..all);
                inner.slots.get(place)?.id
            } else {
                let place = inner.rng.usize(0..count);
                ready.swap_remove(place)
            };
            drop(ready);
            let slot = inner.slots.iter_mut().find(|slot| slot.id == id);
            if let Some(slot) = slot
                && let Some(task) = slot.task.take()
            {
                let woken = slot.woken.clone();
                inner.polls += 1;
                return Some((id, task, woken));
            }
        }
    }

    /// Polls one task. False: none is ready.
    fn step(&self) -> bool {
        let Some((id, mut task, woken)) = self.take_next() else {
            return false;
        };
        let waker = Waker::from(woken);
        let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
        let ended = {
            let mut inner = self.lock();
            let place = inner.slots.iter().position(|slot| slot.id == id);
            match (place, poll) {
                (Some(place), Poll::Pending) => {
                    if let Some(slot) = inner.slots.get_mut(place) {
                        slot.task = Some(task);
                    }
                    None
                }
                (Some(place), Poll::Ready(())) => {
                    inner.slots.swap_remove(place);
                    Some(task)
                }
                (None, _) => Some(task),
            }
        };
        drop(ended);
        true
    }

    /// Moves the clock to the next timer, at most to `limit`. False: there is none before.
    fn advance(&self, limit: Duration) -> bool {
        let wakers: Vec<Waker> = {
            let mut inner = self.lock();
            let Some((&(next, _), _)) = inner.timers.first_key_value() else {
                inner.now = inner.now.max(limit);
                return false;
            };
            if next > limit {
                inner.now = inner.now.max(limit);
                return false;
            }
            // A clock is a little late now and then.
            let late = match inner.rng.u64(0..4) {
                0 => Duration::from_micros(inner.rng.u64(0..3_000)),
                _ => Duration::ZERO,
            };
            inner.now = inner.now.max(next.saturating_add(late));
            let now = inner.now;
            let later = inner.timers.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut inner.timers, later);
            due.into_values().collect()
        };
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    /// Runs until `done`, or until this time. Returns whether it is done.
    pub(super) fn run(
        &self,
        limit: Duration,
        mut done: impl FnMut() -> bool,
    ) -> Result<bool, Endless> {
        loop {
            if done() {
                return Ok(true);
            }
            if self.step() {
                if self.lock().polls > MOST_POLLS {
                    return Err(Endless);
                }
            } else if !self.advance(limit) {
                return Ok(done());
            }
        }
    }

    /// Wakes every task: what moves on now had missed a wake-up.
    pub(super) fn wake_all(&self) {
        let wakers: Vec<_> = {
            let inner = self.lock();
            inner.slots.iter().map(|slot| slot.woken.clone()).collect()
        };
        wakers.into_iter().for_each(Woken::wake);
    }
}

impl Executor for Sim {
    fn execute(&self, task: Task) {
        self.start(task, Owner::Driver);
    }
}

impl Timer for Sim {
    fn now(&self) -> Instant {
        self.begun + Self::now(self)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(self.until(deadline.saturating_duration_since(self.begun)))
    }
}

/// A timer.
pub(super) struct Sleeping {
    sim: Sim,
    at: Duration,
    key: Option<u64>,
}

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut inner = this.sim.lock();
        if inner.now >= this.at {
            return Poll::Ready(());
        }
        let id = match this.key {
            Some(id) => id,
            None => {
                inner.next += 1;
                inner.next
            }
        };
        this.key = Some(id);
        let old = inner.timers.insert((this.at, id), cx.waker().clone());
        drop(inner);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        if let Some(id) = self.key {
            let waker = self.sim.lock().timers.remove(&(self.at, id));
            drop(waker);
        }
    }
}
