//! What the windows of several connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes by which the windows of several connections may grow together.
///
/// What a connection took comes back when it ends.
#[derive(Clone, Debug)]
pub struct WindowBudget {
    left: Arc<AtomicUsize>,
}

impl WindowBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(bytes)),
        }
    }

    /// Bytes that no connection has taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes bytes out of the budget, for a connection whose windows are [raised][raise]. `None`
    /// where fewer are left.
    ///
    /// [raise]: crate::Connection::raise_windows
    #[must_use]
    pub fn reserve(&self, bytes: usize) -> Option<Reserved> {
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        left.is_ok().then(|| Reserved {
            budget: self.clone(),
            bytes,
        })
    }
}

/// Bytes of a [`WindowBudget`], which come back when this is dropped.
#[derive(Debug)]
pub struct Reserved {
    budget: WindowBudget,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}
