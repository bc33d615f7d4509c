//! The connections of a server.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grpctunnel_driver::{BoxError, Runtime};
use http::{Request, Response};
use http_body::Body;
use hyper::rt::{Read, Write};
use tower_service::Service;

use crate::incoming::IncomingBody;
use crate::server::serve;
use crate::settings::Settings;
use crate::shared::{Connection, deadline};

/// The pause after an `accept` that failed since the process has no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections above which those that have ended are looked for.
const MIN_SWEEP: usize = 64;

/// How long to wait after an error of a listener's `accept` before the next one: `None` where the
/// error was that of one connection, which its client gave up.
#[must_use]
pub fn accept_pause(error: &io::Error) -> Option<Duration> {
    let of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    );
    (!of_one_connection).then_some(ACCEPT_PAUSE)
}

/// The connections that a server has accepted, to be shut down together. Clones are the same.
///
/// What accepts is a runtime's own; each connection that it accepted is given to
/// [`serve`](Self::serve). Dropping it changes nothing.
#[derive(Clone)]
pub struct Connections {
    settings: Settings,
    runtime: Runtime,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Some of them may have ended.
    all: Vec<Connection>,
    /// Their number at which those that have ended are taken out.
    sweep: usize,
    /// When what is open is cut, once a shutdown was asked for.
    deadline: Option<Instant>,
}

impl State {
    fn sweep(&mut self) {
        self.all.retain(|connection| !connection.is_closed());
        self.sweep = self.all.len().saturating_mul(2).max(MIN_SWEEP);
    }
}

impl Connections {
    /// None yet. Each is served with these settings.
    #[must_use]
    pub fn new(settings: Settings, runtime: Runtime) -> Self {
        Self {
            settings,
            runtime,
            state: Arc::default(),
        }
    }

    /// Serves a connection, as [`serve`] does. During a shutdown it is told so at once.
    pub fn serve<T, S, B>(&self, io: T, service: S) -> Connection
    where
        T: Read + Write + Unpin + Send + 'static,
        S: Service<Request<IncomingBody>, Response = Response<B>> + Clone + Send + 'static,
        S: Service<Request<IncomingBody>, Error: Into<BoxError>, Future: Send>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let connection = serve(io, service, &self.settings, &self.runtime);
        let mut state = self.state();
        if state.all.len() >= state.sweep {
            state.sweep();
        }
        state.all.push(connection.clone());
        if let Some(deadline) = state.deadline {
            connection.shutdown(deadline.saturating_duration_since(self.runtime.now()));
        }
        connection
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let mut state = self.state();
        state.sweep();
        state.all.len()
    }

    /// Shuts all of them down, and those that come later: see [`Connection::shutdown`]. Of several
    /// calls the earliest limit counts.
    pub fn shutdown(&self, grace: Duration) {
        let mut state = self.state();
        let deadline = deadline(&self.runtime, grace);
        state.deadline = Some(state.deadline.map_or(deadline, |set| set.min(deadline)));
        for connection in &state.all {
            connection.shutdown(grace);
        }
    }

    /// Waits until there is none.
    pub async fn closed(&self) {
        while let Some(open) = self.any() {
            // How it ended is seen by its calls.
            let _ = open.closed().await;
        }
    }

    fn any(&self) -> Option<Connection> {
        let mut state = self.state();
        state.sweep();
        state.all.first().cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.count()).finish()
    }
}
