//! Connections to the local server: as many as its limit of concurrent streams makes necessary.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use hyper::{
    client::conn::http2::{Builder, SendRequest},
    rt::Executor,
};
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;

use crate::connect::Connector;

/// Enough for a link without much delay. The connection has room for every stream, so a
/// caller that does not read stops nobody else.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS;
const STREAMS: u32 = 1024;
const MAX_FRAME: u32 = 256 << 10;
/// Above what a tunnel carries: a head or trailers in between fail their own call, and this much
/// the connection.
const MAX_HEADERS: u32 = 4 << 20;
/// How long a call waits for a stream.
const WAIT: Duration = Duration::from_secs(5);

type BoxError = Box<dyn Error + Send + Sync>;

/// Connections to one server. Clones are the same pool.
pub(super) struct Pool<B>(Arc<Inner<B>>);

struct Inner<B> {
    connector: Connector,
    limit: usize,
    /// Held by the call that looks for a stream or waits for one: they go in order.
    turn: tokio::sync::Mutex<()>,
    lines: Mutex<Vec<Arc<Line<B>>>>,
    changed: Arc<Notify>,
}

impl<B> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = lock(&self.0.lines).len();
        f.debug_struct("Pool").field("lines", &lines).finish()
    }
}

/// One connection.
struct Line<B> {
    sender: SendRequest<B>,
    /// Streams that the server allows at once; 0 before it has said so.
    streams: Box<dyn Fn() -> usize + Send + Sync>,
    open: Mutex<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is no stream to the server.
#[derive(Debug)]
pub(super) enum NoStream {
    /// It was not reached.
    Connect(BoxError),
    /// It was reached, and never began to speak HTTP/2.
    Mute,
    /// All connections are in use to their limits.
    Full { connections: usize, streams: usize },
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(connector: Connector, limit: usize) -> Self {
        Self(Arc::new(Inner {
            connector,
            limit: limit.max(1),
            turn: tokio::sync::Mutex::default(),
            lines: Mutex::default(),
            changed: Arc::default(),
        }))
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.0.connector
    }

    /// A stream to the server, on a new connection if need be and the limit allows it. Calls that
    /// have to wait do so in order, for 5 s at most.
    pub(super) async fn stream(&self) -> Result<Lease<B>, NoStream> {
        match tokio::time::timeout(WAIT, self.stream_in_turn()).await {
            Ok(found) => found,
            Err(_) => Err(self.why()),
        }
    }

    async fn stream_in_turn(&self) -> Result<Lease<B>, NoStream> {
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
                    lock(&self.0.lines).push(Arc::new(line));
                }
                Look::Wait => changed.await,
                Look::Mute => return Err(NoStream::Mute),
            }
        }
    }

    fn look(&self) -> Look<B> {
        let mut lines = lock(&self.0.lines);
        let mut mute = false;
        lines.retain(|line| {
            let over = line.sender.is_closed();
            // A server that does this once does it each time.
            mute |= over && (line.streams)() == 0;
            !over
        });
        if mute {
            return Look::Mute;
        }
        let leased = lines.iter().find_map(|line| line.lease(&self.0.changed));
        if let Some(lease) = leased {
            return Look::Found(lease);
        }
        let settled = lines.iter().all(|line| (line.streams)() > 0);
        match settled && lines.len() < self.0.limit {
            true => Look::Grow,
            false => Look::Wait,
        }
    }

    fn why(&self) -> NoStream {
        let lines = lock(&self.0.lines);
        let streams = lines.iter().map(|line| (line.streams)()).max();
        match streams {
            None => NoStream::Connect(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            Some(0) => NoStream::Mute,
            Some(streams) => NoStream::Full {
                connections: lines.len(),
                streams,
            },
        }
    }

    async fn connect(&self) -> Result<Line<B>, BoxError> {
        let io = self.0.connector.clone().connect().await?;
        let noticing = Noticing(Arc::clone(&self.0.changed));
        let (sender, connection) = Builder::new(noticing.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(MAX_HEADERS)
            // Nothing is sent before the server has said how much at once.
            .initial_max_send_streams(0)
            .handshake(io)
            .await?;
        let connection = Arc::new(Mutex::new(Running::Now(connection)));
        let running = Arc::clone(&connection);
        noticing.execute(poll_fn(move |cx| {
            let mut connection = lock(&running);
            let Running::Now(now) = &mut *connection else {
                return Poll::Ready(());
            };
            // How it ended is told by its streams.
            let polled = Pin::new(&mut *now).poll(cx).map(drop);
            if polled.is_ready() {
                *connection = Running::Over(now.current_max_send_streams());
            }
            polled
        }));
        let streams = move || match &*lock(&connection) {
            Running::Now(connection) => connection.current_max_send_streams(),
            Running::Over(streams) => *streams,
        };
        Ok(Line {
            sender,
            streams: Box::new(streams),
            open: Mutex::new(0),
        })
    }
}

/// A connection, or what its server allowed when it ended.
enum Running<C> {
    Now(C),
    Over(usize),
}

enum Look<B> {
    Found(Lease<B>),
    Grow,
    Wait,
    /// A connection ended before the server had begun to speak HTTP/2.
    Mute,
}

impl<B> Line<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn lease(self: &Arc<Self>, changed: &Arc<Notify>) -> Option<Lease<B>> {
        let streams = (self.streams)();
        let mut open = lock(&self.open);
        if *open >= streams {
            return None;
        }
        *open += 1;
        let line = Arc::clone(self);
        let changed = Arc::clone(changed);
        Some(Lease {
            sender: self.sender.clone(),
            used: Used {
                give_back: Box::new(move || {
                    *lock(&line.open) -= 1;
                    changed.notify_waiters();
                }),
            },
        })
    }
}

/// The right to one stream.
pub(super) struct Lease<B> {
    sender: SendRequest<B>,
    used: Used,
}

/// A stream that is in use until this is dropped.
pub(super) struct Used {
    give_back: Box<dyn Fn() + Send + Sync>,
}

impl Drop for Used {
    fn drop(&mut self) {
        (self.give_back)();
    }
}

impl fmt::Debug for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Used").finish_non_exhaustive()
    }
}

impl<B> Lease<B> {
    pub(super) fn into_parts(self) -> (SendRequest<B>, Used) {
        (self.sender, self.used)
    }
}

/// Runs tasks, and says that something may have changed after each of their steps.
#[derive(Clone, Debug)]
pub(super) struct Noticing(Arc<Notify>);

impl<F> Executor<F> for Noticing
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let changed = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut task = Box::pin(task);
            poll_fn(|cx| {
                let polled = task.as_mut().poll(cx);
                changed.notify_waiters();
                polled.map(drop)
            })
            .await;
        });
    }
}
