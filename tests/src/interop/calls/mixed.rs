//! Many calls at once.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Calls, Failure};
use crate::services::Caller;

/// Bytes of a message that takes several windows of 64 KiB.
const BEYOND_WINDOW: usize = 200_000;

impl<T: Caller> Calls<T> {
    /// Messages that are larger than a window, both ways, in a unary and in a bidi call.
    ///
    /// # Errors
    ///
    /// What was wrong with an answer.
    pub async fn large(&self) -> Result<(), Failure> {
        self.unary(1_000_001, BEYOND_WINDOW).await?;
        self.bidi(1_000_002, BEYOND_WINDOW, async {}).await
    }

    /// `count` calls of all kinds at once. One is cancelled and one fails while the client streams
    /// and the bidirectional calls are in their middle; all others must not notice.
    ///
    /// # Errors
    ///
    /// What was wrong with the calls that went wrong.
    pub async fn mixed(&self, count: usize) -> Result<(), Failure> {
        let arrivals = Arc::new(watch::Sender::new(0));
        let calls = (0..count).map(|index| {
            let arrival = Arrival {
                all: Arc::clone(&arrivals),
                counted: false,
                total: count,
            };
            async move {
                let outcome = self.one(index, arrival).await;
                outcome.map_err(|failure| format!("call {index}: {failure}"))
            }
        });
        let failures: Vec<_> = join_all(calls)
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        if failures.is_empty() {
            return Ok(());
        }
        Err(failures.join("\n"))
    }

    /// Call `index` of a mixed set. Only calls that leave no unread data behind wait for the
    /// others: without flow control, unread data stops a whole tunnel.
    async fn one(&self, index: usize, mut arrival: Arrival) -> Result<(), Failure> {
        let size = match index % 7 {
            6 => BEYOND_WINDOW,
            _ => 1 + 977 * index,
        };
        match (index, index % 4) {
            (0, _) => self.cancel(index, size, arrival.wait()).await,
            (1, _) => {
                arrival.wait().await;
                self.fail(index).await
            }
            (_, 0) => self.bidi(index, size, arrival.wait()).await,
            (_, 1) => self.client_stream(index, size, arrival.wait()).await,
            (_, 2) => {
                arrival.arrive();
                self.server_stream(index, size).await
            }
            _ => {
                arrival.arrive();
                self.unary(index, size).await
            }
        }
    }
}

/// One call's place among those that are waited for. A call that fails early does not keep the
/// others waiting: its place counts when it is dropped.
struct Arrival {
    all: Arc<watch::Sender<usize>>,
    counted: bool,
    total: usize,
}

impl Arrival {
    fn arrive(&mut self) {
        if !self.counted {
            self.counted = true;
            self.all.send_modify(|arrived| *arrived += 1);
        }
    }

    /// Arrives, and waits for all others.
    async fn wait(mut self) {
        self.arrive();
        let total = self.total;
        let mut arrived = self.all.subscribe();
        // The sender is held here, so that it cannot be gone.
        let _ = arrived.wait_for(|arrived| *arrived == total).await;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.arrive();
    }
}
