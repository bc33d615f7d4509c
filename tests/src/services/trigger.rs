//! `TunnelTestService`: calls back through the reverse tunnel that a client has opened.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tonic::{Request, Response, Status};

use super::{Caller, send_batches};
use crate::protos::tunneltest::tunnel_test_service_server::{
    TunnelTestService, TunnelTestServiceServer,
};
use crate::protos::tunneltest::{TriggerTestRpCsRequest, TriggerTestRpCsResponse};

/// How long a caller's tunnel is waited for.
const WAIT: Duration = Duration::from_secs(5);

/// Reverse tunnels by the key that their openers gave in the metadata `test-client-key`.
#[derive(Debug)]
pub struct KeyedTunnels<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    tunnels: Mutex<HashMap<String, (u64, T)>>,
    numbers: AtomicU64,
    added: Notify,
}

impl<T> Clone for KeyedTunnels<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for KeyedTunnels<T> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            tunnels: Mutex::default(),
            numbers: AtomicU64::new(0),
            added: Notify::new(),
        }))
    }
}

impl<T: Clone> KeyedTunnels<T> {
    /// Adds a tunnel, until the value that is returned is dropped. The newest of a key is the one
    /// that is found.
    pub fn add(&self, key: impl Into<String>, tunnel: T) -> Added<T> {
        let added = Added {
            tunnels: self.clone(),
            key: key.into(),
            number: self.0.numbers.fetch_add(1, Ordering::Relaxed),
        };
        self.lock()
            .insert(added.key.clone(), (added.number, tunnel));
        self.0.added.notify_waiters();
        added
    }

    /// The tunnel of this key, as soon as there is one.
    pub async fn get(&self, key: &str) -> T {
        loop {
            let added = self.0.added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            if let Some((_, tunnel)) = self.lock().get(key) {
                return tunnel.clone();
            }
            added.await;
        }
    }
}

impl<T> KeyedTunnels<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, T)>> {
        let tunnels = &self.0.tunnels;
        tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a tunnel among those that can be found.
#[derive(Debug)]
#[must_use = "the tunnel is found only as long as this lives"]
pub struct Added<T> {
    tunnels: KeyedTunnels<T>,
    key: String,
    number: u64,
}

impl<T> Drop for Added<T> {
    fn drop(&mut self) {
        let mut tunnels = self.tunnels.lock();
        if tunnels
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            tunnels.remove(&self.key);
        }
    }
}

/// The handler of `TunnelTestService`.
pub struct Trigger<T> {
    tunnels: KeyedTunnels<T>,
    time: Duration,
}

impl<T> fmt::Debug for Trigger<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Trigger")
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

impl<T: Caller + Sync> Trigger<T> {
    /// The service, ready to be added to a server: it makes calls for `time` (see
    /// [`send_batches`]) through the tunnel that the request names.
    pub fn service(tunnels: KeyedTunnels<T>, time: Duration) -> TunnelTestServiceServer<Self> {
        TunnelTestServiceServer::new(Self { tunnels, time })
    }
}

#[tonic::async_trait]
impl<T: Caller + Sync> TunnelTestService for Trigger<T> {
    async fn trigger_test_rp_cs(
        &self,
        request: Request<TriggerTestRpCsRequest>,
    ) -> Result<Response<TriggerTestRpCsResponse>, Status> {
        let key = request.into_inner().client_key;
        let tunnel = tokio::time::timeout(WAIT, self.tunnels.get(&key))
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no reverse tunnel of key {key:?}")))?;
        send_batches(tunnel, self.time).await?;
        Ok(Response::new(TriggerTestRpCsResponse {}))
    }
}
