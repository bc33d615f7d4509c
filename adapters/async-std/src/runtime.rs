//! Runtimes of tunnels.

use std::time::Instant;

use grpctunnel_driver::Sleep;
#[cfg(any(feature = "async-std", feature = "smol"))]
use grpctunnel_driver::{Executor, Runtime, Task, Timer};

/// Tasks of async-std, timers of async-io.
#[cfg(feature = "async-std")]
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncStdRuntime;

#[cfg(feature = "async-std")]
impl Executor for AsyncStdRuntime {
    fn execute(&self, task: Task) {
        async_std::task::spawn(task);
    }
}

#[cfg(feature = "async-std")]
impl Timer for AsyncStdRuntime {
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        sleep_until(deadline)
    }
}

#[cfg(feature = "async-std")]
crate::network!(AsyncStdRuntime);

/// async-std as the runtime of tunnels and connections.
#[cfg(feature = "async-std")]
#[must_use]
pub fn async_std() -> Runtime {
    Runtime::new(AsyncStdRuntime, AsyncStdRuntime)
}

/// Tasks of smol's global executor, timers of async-io.
///
/// The executor has one thread, unless the environment's `SMOL_THREADS` says otherwise.
#[cfg(feature = "smol")]
#[derive(Clone, Copy, Debug, Default)]
pub struct SmolRuntime;

#[cfg(feature = "smol")]
impl Executor for SmolRuntime {
    fn execute(&self, task: Task) {
        smol::spawn(task).detach();
    }
}

#[cfg(feature = "smol")]
impl Timer for SmolRuntime {
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        sleep_until(deadline)
    }
}

#[cfg(feature = "smol")]
crate::network!(SmolRuntime);

/// smol as the runtime of tunnels and connections.
#[cfg(feature = "smol")]
#[must_use]
pub fn smol() -> Runtime {
    Runtime::new(SmolRuntime, SmolRuntime)
}

/// A timer of async-io, for a [`Timer`](grpctunnel_driver::Timer) of another futures-io runtime: a
/// `smol::Executor` of your own, for example.
#[must_use]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Box::pin(async move {
        async_io::Timer::at(deadline).await;
    })
}
