//! A bound on the bytes that wait in several tunnels together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use grpctunnel_core::Code;

use crate::grpc::status::Status;

/// A bound on the bytes that wait in all tunnels that have it in their
/// [`Options::budget`](crate::Options::budget): messages that wait to be sent, and payload that
/// came and was not read. Clones are the same budget.
///
/// - While [`waiting`](Self::waiting) has reached the limit, new calls are refused, at both ends of a
///   tunnel: RESOURCE_EXHAUSTED, marked as never processed.
/// - Receive windows grow, beyond `limits.receive_window.initial`, only while what waits and what
///   they have [`grown`](Self::grown) by are together below the limit.
/// - A call that was accepted is never held up by it. So what waits may exceed the limit, by at most
///   the initial window and the [`send_queue`](crate::Options::send_queue) of each call that was
///   open when the limit was reached; that of one tunnel is bounded by
///   [`Options::memory_bound`](crate::Options::memory_bound) in any case.
///
/// ```
/// use grpctunnel_driver::{MemoryBudget, Options};
///
/// let budget = MemoryBudget::new(256 << 20);
/// let mut options = Options::default();
/// options.budget = Some(budget.clone());
/// // Tunnels with these options share the budget.
/// assert_eq!(budget.waiting(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    waiting: AtomicUsize,
    grown: AtomicUsize,
    refused: AtomicU64,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            limit,
            waiting: AtomicUsize::new(0),
            grown: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes that wait now: to be sent, each message with 16 bytes more than its size, or to be read.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Bytes by which receive windows have grown.
    #[must_use]
    pub fn grown(&self) -> usize {
        self.0.grown.load(Ordering::Relaxed)
    }

    /// Calls that were refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Why a new call is refused now, if it is. Counts the refusal. `own`: the bytes of the call
    /// itself, which are not held against it.
    pub(crate) fn refusal(&self, own: usize) -> Option<Status> {
        let waiting = self.waiting().saturating_sub(own);
        if waiting < self.0.limit {
            return None;
        }
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        let text = format!(
            "no new calls: {waiting} bytes wait in the tunnels of this process, and the limit \
             (options.budget) is {}",
            self.0.limit
        );
        Some(Status::new(Code::ResourceExhausted, text))
    }

    pub(crate) fn add_waiting(&self, bytes: usize) {
        self.0.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove_waiting(&self, bytes: usize) {
        self.0.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes by which the windows of one tunnel may grow now. It is half of what is left, so that
    /// two tunnels that grow at the same time do not exceed it.
    pub(crate) fn room_to_grow(&self) -> usize {
        let taken = self.waiting().saturating_add(self.grown());
        self.0.limit.saturating_sub(taken) / 2
    }
}

/// What is counted of bytes that wait.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Waiting,
    Grown,
}

/// The bytes of one stream, or of one tunnel, in a budget. Dropping it gives them back.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    budget: Option<MemoryBudget>,
    kind: Kind,
    bytes: usize,
}

impl BudgetShare {
    /// Of bytes that wait.
    pub(crate) const fn waiting(budget: Option<MemoryBudget>) -> Self {
        Self {
            budget,
            kind: Kind::Waiting,
            bytes: 0,
        }
    }

    /// Of bytes by which windows have grown.
    pub(crate) const fn grown(budget: Option<MemoryBudget>) -> Self {
        Self {
            budget,
            kind: Kind::Grown,
            bytes: 0,
        }
    }

    pub(crate) const fn budget(&self) -> Option<&MemoryBudget> {
        self.budget.as_ref()
    }

    /// Sets what it has in the budget.
    pub(crate) fn set(&mut self, bytes: usize) {
        let Some(MemoryBudget(inner)) = &self.budget else {
            return;
        };
        let level = match self.kind {
            Kind::Waiting => &inner.waiting,
            Kind::Grown => &inner.grown,
        };
        if bytes >= self.bytes {
            level.fetch_add(bytes.saturating_sub(self.bytes), Ordering::Relaxed);
        } else {
            level.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.set(0);
    }
}
