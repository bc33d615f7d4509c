//! How many calls are open.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts calls from their request to the end of their response. Clones count the same calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<AtomicUsize>);

impl Calls {
    /// A call begins; it is over when the result is dropped.
    pub(crate) fn begin(&self) -> Open {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A call that is open.
#[derive(Debug)]
pub(crate) struct Open(Calls);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
