//! Tasks that are polled by hand, so that a test decides what happens when.

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Instant;

use grpctunnel_driver::{Executor, Runtime, Sleep, Task, Timer};

/// Keeps tasks. Nobody polls them but the test; without a clock nothing is ever due.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    started: usize,
    tasks: Vec<Task>,
}

impl Tasks {
    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.clone(), Never)
    }

    pub fn runtime_with(&self, timer: impl Timer) -> Runtime {
        Runtime::new(self.clone(), timer)
    }

    /// Tasks that were started so far.
    pub fn started(&self) -> usize {
        self.0.lock().unwrap().started
    }

    /// Tasks that have not ended.
    pub fn alive(&self) -> usize {
        self.0.lock().unwrap().tasks.len()
    }

    /// Polls the first task that has not ended, once: in a test of one tunnel the tunnel's own.
    pub fn poll_first(&self) {
        self.poll(1);
    }

    /// Polls every task that has not ended, once.
    pub fn poll_all(&self) {
        self.poll(usize::MAX);
    }

    fn poll(&self, most: usize) {
        let mut kept = self.0.lock().unwrap();
        let most = most.min(kept.tasks.len());
        let mut tasks: Vec<Task> = kept.tasks.drain(..most).collect();
        drop(kept);
        let mut cx = Context::from_waker(Waker::noop());
        tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
        self.0.lock().unwrap().tasks.splice(0..0, tasks);
    }
}

impl Executor for Tasks {
    fn execute(&self, task: Task) {
        let mut kept = self.0.lock().unwrap();
        kept.started += 1;
        kept.tasks.push(task);
    }
}

struct Never;

impl Timer for Never {
    fn sleep_until(&self, _deadline: Instant) -> Sleep {
        Box::pin(std::future::pending())
    }
}
