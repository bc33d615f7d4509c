//! tokio as the runtime of tunnels.

use std::time::Instant;

use grpctunnel_driver::{Executor, Runtime, Sleep, Task, Timer};

/// Tasks and timers of the tokio runtime that is entered when they are used.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioRuntime;

impl Executor for TokioRuntime {
    fn execute(&self, task: Task) {
        tokio::spawn(task);
    }
}

impl Timer for TokioRuntime {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

/// The runtime to give to `grpctunnel_driver`, for what this crate has no helper for.
#[must_use]
pub fn runtime() -> Runtime {
    Runtime::new(TokioRuntime, TokioRuntime)
}
