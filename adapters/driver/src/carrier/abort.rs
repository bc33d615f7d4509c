//! Resetting a carrier whose peer takes nothing.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

use crate::deferred::Deferred;

/// Tells the HTTP stack of a server when this end has aborted a tunnel.
///
/// The [`TransmitBody`](crate::TransmitBody) of such a tunnel ends with the reason. But a stack does
/// not ask it for more while its peer takes nothing; after some seconds of that the stack is to reset
/// the stream. It finds this among the extensions of the response that accepts the tunnel.
/// `grpctunnel-http2` heeds it; with another stack such a stream stays until its peer takes
/// something, or its connection ends.
#[derive(Clone, Debug, Default)]
pub struct CarrierAbort(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    aborted: AtomicBool,
    task: AtomicWaker,
}

impl CarrierAbort {
    /// Waits until the tunnel was aborted; for ever, if it ends otherwise. One task may wait.
    pub fn aborted(self) -> impl Future<Output = ()> + Send + 'static {
        poll_fn(move |cx| {
            self.0.task.register(cx.waker());
            if self.0.aborted.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    pub(crate) fn set(&self, deferred: &mut Deferred) {
        self.0.aborted.store(true, Ordering::Release);
        deferred.wake(&mut self.0.task.take());
    }
}
