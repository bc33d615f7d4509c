//! Panics of code that is not ours, in tasks that are.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does something that runs code of the application. `None`: it panicked, and what it worked on is
/// to be dropped.
pub(crate) fn contain<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act)).ok()
}
