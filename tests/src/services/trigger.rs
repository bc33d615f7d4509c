//! `TunnelTestService`: calls back through the reverse tunnel that a client has opened.

use std::collections::HashMap;
use std::fmt;
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
    tunnels: Mutex<HashMap<String, T>>,
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
            added: Notify::new(),
        }))
    }
}

impl<T: Clone> KeyedTunnels<T> {
    /// Adds a tunnel; an older one of the same key is forgotten.
    pub fn add(&self, key: impl Into<String>, tunnel: T) {
        self.lock().insert(key.into(), tunnel);
        self.0.added.notify_waiters();
    }

    /// The tunnel of this key, as soon as there is one.
    pub async fn get(&self, key: &str) -> T {
        loop {
            let added = self.0.added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            if let Some(tunnel) = self.lock().get(key).cloned() {
                return tunnel;
            }
            added.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.0
            .tunnels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
