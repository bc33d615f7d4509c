//! The task of a connection: what happens on it beside its streams.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use grpctunnel_driver::{Runtime, Sleep};

use crate::alive::Alive;
use crate::error::{Error, ErrorKind};
use crate::settings::{Role, Settings};
use crate::shared::{Ending, Shared};
use crate::window::Windows;

/// How long a connection that was cut may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the task needs of h2's connections.
pub(crate) trait Http2: Send + 'static {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>>;
    /// Whether the peer was told. It is not while it has to confirm earlier settings.
    fn set_windows(&mut self, connection: u32, stream: u32) -> bool;
    fn ping_pong(&mut self) -> Option<h2::PingPong>;
    /// Streams that the peer allows, where it is the peer that decides.
    fn peer_max_streams(&self) -> Option<usize> {
        None
    }
    /// Says GOAWAY, and ends with the last stream. False if that is not HTTP/2's to do.
    fn shut_down(&mut self) -> bool {
        false
    }
    /// Says GOAWAY, and ends.
    fn cut(&mut self) {}
}

pub(crate) struct ConnectionTask<H> {
    http2: H,
    role: Role,
    runtime: Runtime,
    shared: Arc<Shared>,
    ending: Ending,
    windows: Windows,
    /// Whether the peer does not know the windows yet.
    untold: bool,
    alive: Alive,
    handshake: Option<(Instant, Duration)>,
    idle: Option<Duration>,
    idle_since: Option<Instant>,
    shutting_down: bool,
    /// How long the peer of a connection that is told to end may take to answer, and since when
    /// nothing is left but that.
    farewell: Duration,
    left_since: Option<Instant>,
    cut: Option<Instant>,
    alarm: Option<(Instant, Sleep)>,
}

impl<H: Http2> ConnectionTask<H> {
    pub(crate) fn new(
        mut http2: H,
        role: Role,
        settings: &Settings,
        runtime: &Runtime,
        ending: Ending,
    ) -> Self {
        let now = runtime.now();
        let limit = settings.handshake_timeout;
        Self {
            alive: Alive::new(settings, role, http2.ping_pong(), now),
            http2,
            role,
            runtime: runtime.clone(),
            shared: Arc::clone(ending.shared()),
            ending,
            windows: Windows::new(settings, now),
            untold: false,
            handshake: now.checked_add(limit).map(|deadline| (deadline, limit)),
            idle: settings.idle_timeout.filter(|_| role == Role::Server),
            idle_since: None,
            shutting_down: false,
            farewell: settings.keepalive_timeout,
            left_since: None,
            cut: None,
            alarm: None,
        }
    }

    /// Runs the connection until the peer has shown that it speaks HTTP/2. Whether there is more of
    /// it to run: a server may speak and leave at once, and calls on the connection are then told
    /// that nobody has seen them.
    pub(crate) async fn established(&mut self) -> Result<bool, Error> {
        poll_fn(|cx| {
            let ended = self.poll(cx);
            let established = self.shared.established.load(Ordering::Acquire);
            match ended {
                Poll::Ready(result) => {
                    self.ending.set(result.clone());
                    if established {
                        return Poll::Ready(Ok(false));
                    }
                    Poll::Ready(result.and_then(|()| Err(Error::new(ErrorKind::NotHttp2))))
                }
                Poll::Pending if established => Poll::Ready(Ok(true)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Runs the connection to its end.
    pub(crate) async fn run(mut self) {
        let result = poll_fn(|cx| self.poll(cx)).await;
        // Streams that are lost with it look here for the cause.
        self.ending.set(result);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared.task.register(cx.waker());
        loop {
            self.poll_shutdown();
            if let Poll::Ready(result) = self.http2.poll(cx) {
                return Poll::Ready(self.explain(result));
            }
            let now = self.runtime.now();
            if let Err(error) = self.check(now, cx) {
                return Poll::Ready(Err(error));
            }
            let left = self.shutting_down && self.shared.open() == 0;
            self.left_since = left.then(|| self.left_since.unwrap_or(now));
            if self.is_finished(now) {
                return Poll::Ready(self.explain(Ok(())));
            }
            if self.poll_idle(now) {
                continue;
            }
            if self.poll_alarm(now, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Looks at everything that is not HTTP/2's own business.
    fn check(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(), Error> {
        let shared = &self.shared;
        if let Some((deadline, limit)) = self.handshake {
            if shared.established.load(Ordering::Acquire) {
                self.handshake = None;
            } else if now >= deadline {
                return Err(Error::new(ErrorKind::HandshakeTimeout(limit)));
            }
        }
        if let Some(max) = self.http2.peer_max_streams() {
            shared.max_open.store(max, Ordering::Release);
        }
        let consumed = shared.consumed.load(Ordering::Relaxed);
        if let Some((stream, connection)) = shared.control().windows.take() {
            self.untold |= self.windows.raise(stream, connection);
        }
        self.untold |= self.windows.grow(consumed, now);
        if self.untold {
            let (connection, stream) = self.windows.sizes();
            if self.http2.set_windows(connection, stream) {
                self.untold = false;
                // So that HTTP/2 says so.
                cx.waker().wake_by_ref();
            }
        }
        self.alive.poll(shared, now, cx)
    }

    fn poll_shutdown(&mut self) {
        if !self.shared.draining.load(Ordering::Acquire) {
            return;
        }
        let deadline = self.shared.control().shutdown;
        if deadline.is_some() && !self.shutting_down {
            self.shutting_down = true;
            self.http2.shut_down();
        }
        if self.cut.is_none() && deadline.is_some_and(|deadline| self.runtime.now() >= deadline) {
            self.cut = self.runtime.now().checked_add(LAST_WORDS);
            self.http2.cut();
        }
    }

    /// Whether a connection that was to end has, as far as HTTP/2 does not tell.
    fn is_finished(&self, now: Instant) -> bool {
        let client_done = self.role == Role::Client
            && self.shutting_down
            && (self.shared.open() == 0 || self.cut.is_some());
        // A peer that answers nothing would keep its connection for ever.
        let ends = [self.cut, self.left_deadline()];
        client_done || ends.into_iter().flatten().any(|end| now >= end)
    }

    fn left_deadline(&self) -> Option<Instant> {
        self.left_since?.checked_add(self.farewell)
    }

    fn is_drained(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire) && self.shared.open() == 0
    }

    /// Ends a connection that had no stream for long. Whether it does.
    fn poll_idle(&mut self, now: Instant) -> bool {
        if self.idle.is_none() || self.shared.open() > 0 || self.shutting_down {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        if self.idle_deadline(since).is_none_or(|end| now < end) {
            return false;
        }
        self.shutting_down = true;
        self.shared.draining.store(true, Ordering::Release);
        self.http2.shut_down()
    }

    fn idle_deadline(&self, since: Instant) -> Option<Instant> {
        since.checked_add(self.idle?)
    }

    /// Waits for the next time at which something is to be done.
    fn poll_alarm(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let shutdown = self.shared.control().shutdown;
        let next = [
            self.handshake.map(|(deadline, _)| deadline),
            self.cut.or(shutdown),
            self.idle_since.and_then(|since| self.idle_deadline(since)),
            self.left_deadline(),
            self.alive.deadline(self.shared.open(), now),
        ]
        .into_iter()
        .flatten()
        .min();
        let Some(next) = next else {
            self.alarm = None;
            return Poll::Pending;
        };
        // An earlier alarm finds out that there is nothing to do, and sets the next.
        if self.alarm.as_ref().is_none_or(|(at, _)| *at > next) {
            self.alarm = Some((next, self.runtime.sleep_until(next)));
        }
        let Some((_, sleep)) = &mut self.alarm else {
            return Poll::Pending;
        };
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.alarm = None;
        Poll::Ready(())
    }

    /// What h2 says of the end, with what else is known.
    fn explain(&self, result: Result<(), h2::Error>) -> Result<(), Error> {
        let stranger = self.shared.control().stranger.take();
        match (result, stranger) {
            (_, Some(kind)) => Err(Error::new(kind)),
            // Each end may leave first, once one has said that it will.
            (Err(error), None) if error.is_io() && self.is_drained() => Ok(()),
            (Err(error), None) => Err(Error::from_h2(error)),
            (Ok(()), None) if self.shared.open() == 0 => Ok(()),
            (Ok(()), None) if self.cut.is_some() => Err(Error::new(ErrorKind::GraceExpired)),
            // What is open may be complete, and not read yet.
            (Ok(()), None) if self.shared.draining.load(Ordering::Acquire) => Ok(()),
            // The peer left, and h2 takes that for an end.
            (Ok(()), None) => Err(Error::lost(io::Error::from(io::ErrorKind::UnexpectedEof))),
        }
    }
}
