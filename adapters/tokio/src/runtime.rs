//! tokio as the runtime of tunnels.

use std::time::Instant;

use grpctunnel_driver::{BoxError, Executor, Runtime, Sleep, Task, Timer};
use tokio::runtime::Handle;

/// Tasks and timers of one tokio runtime, whoever uses them: a task of that runtime, of another, or
/// none.
///
/// The runtime needs its timers, see [`enable_time`](tokio::runtime::Builder::enable_time). When it
/// is shut down, its tunnels end.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
}

impl TokioRuntime {
    /// Tasks and timers of this runtime.
    #[must_use]
    pub const fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

impl From<TokioRuntime> for Runtime {
    fn from(runtime: TokioRuntime) -> Self {
        Self::new(runtime.clone(), runtime)
    }
}

impl Executor for TokioRuntime {
    fn execute(&self, task: Task) {
        self.handle.spawn(task);
    }
}

impl Timer for TokioRuntime {
    fn now(&self) -> Instant {
        // A paused clock is paused in its own runtime only.
        let _entered = self.handle.enter();
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let _entered = self.handle.enter();
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

/// The runtime that is entered when a tunnel is made, and is captured then; see [`runtime`].
#[derive(Clone, Copy, Debug, Default)]
pub struct EnteredRuntime;

impl Executor for EnteredRuntime {
    fn execute(&self, task: Task) {
        if let Ok(handle) = Handle::try_current() {
            handle.spawn(task);
        }
    }

    fn capture(&self) -> Result<Option<Runtime>, BoxError> {
        let handle = Handle::try_current()?;
        Ok(Some(TokioRuntime::new(handle).into()))
    }
}

impl Timer for EnteredRuntime {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        match Handle::try_current() {
            Ok(handle) => TokioRuntime::new(handle).sleep_until(deadline),
            Err(_) => Box::pin(std::future::pending()),
        }
    }
}

/// The runtime to give to `grpctunnel_driver`, for what this crate has no helper for.
///
/// Each tunnel captures the tokio runtime that is entered when it is made, and uses no other from
/// then on. Outside of any, tunnels are not made: the opening fails with INTERNAL. A task that is
/// started directly on what this returns, outside of any runtime, is dropped, and a timer is never
/// ready. For a runtime that is not entered use [`TokioRuntime`].
#[must_use]
pub fn runtime() -> Runtime {
    Runtime::new(EnteredRuntime, EnteredRuntime)
}
