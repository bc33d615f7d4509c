//! Connections to the local server: as many as its limit of concurrent streams makes necessary.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use grpctunnel_http2::{Client, Settings, SilencePing};
use tokio::sync::Notify;

use crate::connect::Connector;

/// How long a call waits for a stream.
const WAIT: Duration = Duration::from_secs(5);
/// How long nobody connects again after a server that left as soon as it had spoken.
const AFTER_LEAVING: Duration = Duration::from_millis(10);
/// How often a waiting call looks whether the server allows more streams than before, which
/// nobody is told of.
const LOOK_EVERY: Duration = Duration::from_millis(100);

type BoxError = Box<dyn Error + Send + Sync>;

/// The settings of the connections: a caller that does not read stops nobody else, since a
/// connection has room for every stream.
fn settings() -> Settings {
    let mut settings = Settings::calls();
    settings.connection_window = settings.stream_window * crate::MAX_STREAMS;
    settings.max_connection_window = settings.connection_window;
    settings.silence_ping = Some(SilencePing::default());
    settings
}

/// Connections to one server. Clones are the same pool.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    connector: Connector,
    settings: Settings,
    limit: usize,
    /// Held by the call that looks for a stream or waits for one: they go in order.
    turn: tokio::sync::Mutex<()>,
    lines: Mutex<Vec<Arc<Line>>>,
    changed: Arc<Notify>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = lock(&self.0.lines).len();
        f.debug_struct("Pool").field("lines", &lines).finish()
    }
}

/// One connection.
struct Line {
    client: Client<Bytes>,
    /// Streams that are in use, or about to be.
    used: Mutex<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is no stream to the server.
#[derive(Debug)]
pub(super) enum NoStream {
    /// It was not reached, or does not speak HTTP/2.
    Connect(BoxError),
    /// All connections are in use to their limits.
    Full { connections: usize, streams: usize },
}

impl Pool {
    pub(super) fn new(connector: Connector, limit: usize) -> Self {
        Self(Arc::new(Inner {
            connector,
            settings: settings(),
            limit: limit.max(1),
            turn: tokio::sync::Mutex::default(),
            lines: Mutex::default(),
            changed: Arc::default(),
        }))
    }

    /// A stream to the server, on a new connection if need be and the limit allows it. Calls that
    /// have to wait do so in order, for 5 s at most.
    pub(super) async fn stream(&self) -> Result<Lease, NoStream> {
        match tokio::time::timeout(WAIT, self.stream_in_turn()).await {
            Ok(found) => found,
            Err(_) => Err(self.why()),
        }
    }

    async fn stream_in_turn(&self) -> Result<Lease, NoStream> {
        let _turn = self.0.turn.lock().await;
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            match self.look() {
                Look::Found(lease) => return Ok(lease),
                Look::Grow => {
                    let line = self.connect().await.map_err(NoStream::Connect)?;
                    if line.is_over() {
                        // The server is not asked again and again without a pause.
                        tokio::time::sleep(AFTER_LEAVING).await;
                    }
                    lock(&self.0.lines).push(Arc::new(line));
                }
                Look::Wait => drop(tokio::time::timeout(LOOK_EVERY, changed).await),
            }
        }
    }

    fn look(&self) -> Look {
        let mut lines = lock(&self.0.lines);
        // The calls of one that is ending go on, and count no more.
        lines.retain(|line| !line.is_over());
        let leased = lines.iter().find_map(|line| line.lease(&self.0.changed));
        let silent = lines.iter().filter(|line| line.is_silent()).count();
        // Silent ones are replaced, but not for ever.
        let may_grow = lines.len() - silent < self.0.limit && silent <= self.0.limit;
        match leased {
            Some(lease) => Look::Found(lease),
            None if may_grow => Look::Grow,
            None => Look::Wait,
        }
    }

    fn why(&self) -> NoStream {
        let lines = lock(&self.0.lines);
        let heard = lines.iter().filter(|line| !line.is_silent());
        let streams = heard.map(|line| line.allowed()).max();
        match streams {
            None => NoStream::Connect(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            Some(streams) => NoStream::Full {
                connections: lines.len(),
                streams,
            },
        }
    }

    async fn connect(&self) -> Result<Line, BoxError> {
        let client = self.0.connector.http2(&self.0.settings).await?;
        let (connection, changed) = (client.connection().clone(), Arc::clone(&self.0.changed));
        tokio::spawn(async move {
            // How it ended is told by its calls.
            let _ = connection.closed().await;
            changed.notify_waiters();
        });
        Ok(Line {
            client,
            used: Mutex::new(0),
        })
    }
}

enum Look {
    Found(Lease),
    Grow,
    Wait,
}

impl Line {
    /// Streams that the server allows at once.
    fn allowed(&self) -> usize {
        self.client.connection().max_streams()
    }

    fn is_over(&self) -> bool {
        let connection = self.client.connection();
        connection.is_closed() || connection.is_draining()
    }

    /// Whether the server owes the answer to a ping: no new calls go there.
    fn is_silent(&self) -> bool {
        !self.client.connection().is_responsive()
    }

    fn lease(self: &Arc<Self>, changed: &Arc<Notify>) -> Option<Lease> {
        if self.is_silent() {
            return None;
        }
        let allowed = self.allowed();
        let mut used = lock(&self.used);
        if *used >= allowed {
            return None;
        }
        *used += 1;
        Some(Lease {
            client: self.client.clone(),
            used: Used {
                line: Arc::clone(self),
                changed: Arc::clone(changed),
            },
        })
    }
}

/// The right to one stream.
pub(super) struct Lease {
    client: Client<Bytes>,
    used: Used,
}

impl Lease {
    pub(super) fn into_parts(self) -> (Client<Bytes>, Used) {
        (self.client, self.used)
    }
}

/// A stream that is in use until this is dropped.
pub(super) struct Used {
    line: Arc<Line>,
    changed: Arc<Notify>,
}

impl Drop for Used {
    fn drop(&mut self) {
        *lock(&self.line.used) -= 1;
        self.changed.notify_waiters();
    }
}

impl fmt::Debug for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Used").finish_non_exhaustive()
    }
}
