//! What a tunnel needs of an async runtime: an executor and a clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use grpctunnel_core::Code;

use crate::error::{BoxError, error_chain};
use crate::grpc::status::Status;

/// A task that a tunnel starts. It ends by itself, at the latest with its tunnel.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// A future that is ready when a point in time has come.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Runs tasks.
pub trait Executor: Send + Sync + 'static {
    /// Starts the task. Must not poll it before it returns, and must not block. A task that cannot
    /// be started is dropped, which ends what it was for.
    fn execute(&self, task: Task);

    /// The runtime of a tunnel. Called when the tunnel is made, by the task that makes it; from
    /// then on all tasks and timers of the tunnel are that runtime's, whoever uses its handles and
    /// wherever. `None`, the default: this one.
    ///
    /// For executors that mean the runtime that is entered.
    ///
    /// # Errors
    /// There is no runtime. The tunnel is not made, and nothing is sent.
    fn capture(&self) -> Result<Option<Runtime>, BoxError> {
        Ok(None)
    }
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

/// The runtime of a tunnel. A tunnel keeps the one that it was made with, or that its executor
/// [captured](Executor::capture) then, whoever uses its handles.
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

    /// The runtime of a tunnel that is made now.
    pub(crate) fn capture(&self) -> Result<Self, Status> {
        match self.executor.capture() {
            Ok(captured) => Ok(captured.unwrap_or_else(|| self.clone())),
            Err(error) => {
                let text = format!(
                    "there is no runtime for the tunnel's tasks: {}",
                    error_chain(&*error)
                );
                Err(Status::new(Code::Internal, text))
            }
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
