//! What a connection's task, its handles and its streams share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_util::future::{Either, FutureExt, Shared as SharedFuture, select};
use futures_util::task::AtomicWaker;
use grpctunnel_driver::Runtime;

use crate::backlog::Backlog;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;

/// A connection's state, as its parts see it.
#[derive(Default)]
pub(crate) struct Shared {
    /// The connection's task.
    pub(crate) task: AtomicWaker,
    pub(crate) max_header_list: usize,
    open: AtomicUsize,
    pub(crate) max_open: AtomicUsize,
    /// Payload bytes that readers took; wraps.
    pub(crate) consumed: AtomicUsize,
    /// Bytes that were received; wraps.
    pub(crate) received: AtomicUsize,
    pub(crate) backlog: Backlog,
    pub(crate) established: AtomicBool,
    pub(crate) draining: AtomicBool,
    pub(crate) silent: AtomicBool,
    pub(crate) ping_wanted: AtomicBool,
    control: Mutex<Control>,
}

#[derive(Default)]
pub(crate) struct Control {
    /// When streams that are still open are cut, once a shutdown was asked for.
    pub(crate) shutdown: Option<Instant>,
    /// What a peer speaks that does not speak HTTP/2.
    pub(crate) stranger: Option<ErrorKind>,
    pub(crate) pings: Vec<oneshot::Sender<Duration>>,
    /// The windows that a stream and the connection are to have from now on.
    pub(crate) windows: Option<(u32, u32)>,
    /// How the connection ended.
    pub(crate) ended: Option<Result<(), Error>>,
}

impl Shared {
    pub(crate) fn new(settings: &Settings, max_open: usize) -> Self {
        Self {
            max_header_list: settings.max_header_list,
            backlog: Backlog::new(settings.small_frame_budget),
            max_open: AtomicUsize::new(max_open),
            ..Self::default()
        }
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// How the connection failed, if it did.
    pub(crate) fn cause(&self) -> Option<Error> {
        match &self.control().ended {
            Some(Err(error)) => Some(error.clone()),
            _ => None,
        }
    }
}

/// What comes of a handshake within its time limit.
pub(crate) async fn within<F: Future + Unpin>(
    runtime: &Runtime,
    limit: Duration,
    future: F,
) -> Result<F::Output, Error> {
    let Some(deadline) = runtime.now().checked_add(limit) else {
        return Ok(future.await);
    };
    match select(future, runtime.sleep_until(deadline)).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(_) => Err(Error::new(ErrorKind::HandshakeTimeout(limit))),
    }
}

/// One open stream, counted until each part of it is gone.
pub(crate) struct OpenStream {
    shared: Arc<Shared>,
    request_failure: OnceLock<Error>,
}

impl OpenStream {
    pub(crate) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        // The first stream starts the clock of silence.
        if shared.open.fetch_add(1, Ordering::AcqRel) == 0 {
            shared.task.wake();
        }
        Arc::new(Self {
            shared: Arc::clone(shared),
            request_failure: OnceLock::new(),
        })
    }

    /// The call of this stream was cancelled since its request body failed.
    pub(crate) fn request_failed(&self, error: Error) {
        // Only one task sends the body.
        let _ = self.request_failure.set(error);
    }

    /// Gives an error of this stream what is known of its cause.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match self.request_failure.get() {
            Some(failure) => failure.clone(),
            None => error.because(self.shared.cause()),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.shared.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.task.wake();
        }
    }
}

/// A connection, as its users see it: what state it is in, and how it ends.
///
/// It is a handle: dropping it changes nothing.
#[derive(Clone)]
pub struct Connection {
    pub(crate) shared: Arc<Shared>,
    runtime: Runtime,
    ended: SharedFuture<oneshot::Receiver<()>>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, runtime: Runtime) -> (Self, Ending) {
        let (sender, receiver) = oneshot::channel();
        let ending = Ending {
            shared: Arc::clone(&shared),
            _sender: sender,
        };
        let connection = Self {
            shared,
            runtime,
            ended: receiver.shared(),
        };
        (connection, ending)
    }

    /// Streams that are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.shared.open()
    }

    /// Streams that may be open at once: for a client what the peer allows, for a server what it
    /// allows itself.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.shared.max_open.load(Ordering::Acquire)
    }

    /// How many more streams may be opened at this moment; none on a connection that is ending.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.is_draining() || self.is_closed() {
            return 0;
        }
        self.max_streams().saturating_sub(self.open_streams())
    }

    /// Whether no new streams are taken any more: this end or the peer is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }

    /// Whether the peer is not known to be silent: false from the time that it owes an answer to
    /// the [`SilencePing`](crate::SilencePing) until it is heard again.
    #[must_use]
    pub fn is_responsive(&self) -> bool {
        !self.shared.silent.load(Ordering::Acquire)
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.control().ended.is_some()
    }

    /// Waits until the connection has ended.
    ///
    /// # Errors
    /// What ended it, if it was not finished in good order.
    pub async fn closed(&self) -> Result<(), Error> {
        let _ = self.ended.clone().await;
        let ended = self.shared.control().ended.clone();
        ended.unwrap_or_else(|| Err(Error::new(ErrorKind::Connection)))
    }

    /// Asks the peer for a sign of life, and waits for the answer: the round trip's time. Waits as
    /// long as the connection lasts, so give it a limit.
    ///
    /// # Errors
    /// If the connection ends before.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut control = self.shared.control();
            match control.ended {
                None => control.pings.push(sender),
                Some(_) => drop(sender),
            }
        }
        self.shared.ping_wanted.store(true, Ordering::Release);
        self.shared.task.wake();
        receiver
            .await
            .map_err(|_| Error::closed(self.shared.cause()))
    }

    /// Gives the streams and the connection these windows, where they are larger than what they
    /// have: for a server that learns by a request what a connection is for. They count in no
    /// [`WindowBudget`](crate::WindowBudget).
    pub fn raise_windows(&self, settings: &Settings) {
        let (stream, connection, _) = settings.windows();
        self.shared.control().windows = Some((stream, connection));
        self.shared.task.wake();
    }

    /// Takes no new streams, and ends the connection when those that are open have ended, at the
    /// latest after `grace`: then they are cut. A server says so by GOAWAY.
    ///
    /// Of several calls the earliest limit counts.
    pub fn shutdown(&self, grace: Duration) {
        let deadline = deadline(&self.runtime, grace);
        {
            let mut control = self.shared.control();
            control.shutdown = Some(control.shutdown.map_or(deadline, |set| set.min(deadline)));
        }
        self.shared.draining.store(true, Ordering::Release);
        self.shared.task.wake();
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// When a grace is over. A century cannot be told from none.
pub(crate) fn deadline(runtime: &Runtime, grace: Duration) -> Instant {
    let now = runtime.now();
    now.checked_add(grace).unwrap_or_else(|| now + CENTURY)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("open_streams", &self.open_streams())
            .finish_non_exhaustive()
    }
}

/// Held by the connection's task: tells that it has ended, however it ends.
pub(crate) struct Ending {
    shared: Arc<Shared>,
    _sender: oneshot::Sender<()>,
}

impl Ending {
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How the connection ended. The first one counts.
    pub(crate) fn set(&self, result: Result<(), Error>) {
        let pings = {
            let mut control = self.shared.control();
            control.ended.get_or_insert(result);
            std::mem::take(&mut control.pings)
        };
        drop(pings);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.set(Err(Error::new(ErrorKind::Connection)));
    }
}
