//! What a tunnel needs of an async runtime: an executor and a clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// A task that a tunnel starts. It ends by itself, at the latest with its tunnel.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// A future that is ready when a point in time has come.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Runs tasks.
pub trait Executor: Send + Sync + 'static {
    /// Starts the task. Must not poll it before it returns, and must not block.
    fn execute(&self, task: Task);
}

/// A monotonic clock that can wake a task.
pub trait Timer: Send + Sync + 'static {
    /// The time now. Deadlines are computed from it.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// A future that is ready at `deadline`, or a little later.
    fn sleep_until(&self, deadline: Instant) -> Sleep;
}

/// The runtime of a tunnel.
#[derive(Clone)]
pub struct Runtime {
    executor: Arc<dyn Executor>,
    timer: Arc<dyn Timer>,
}

impl Runtime {
    /// A runtime of an executor and a timer.
    pub fn new(executor: impl Executor, timer: impl Timer) -> Self {
        Self {
            executor: Arc::new(executor),
            timer: Arc::new(timer),
        }
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.execute(Box::pin(task));
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.timer.now()
    }

    /// A future that is ready at `deadline`.
    #[must_use]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.timer.sleep_until(deadline)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}
