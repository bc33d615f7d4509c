//! How a command is told to end: first gracefully, then at once.

use std::io;

use tokio_util::sync::CancellationToken;

/// Tells a command to end. Clones tell the same command.
///
/// It has two stages: *drain* refuses new calls and lets the open ones finish, *now* ends
/// them too.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    drain: CancellationToken,
    now: CancellationToken,
}

/// How a command ended that was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every call had finished.
    Finished,
    /// Calls were cut off: by the drain limit, or by [`Stop::now`].
    CutOff,
    /// The gateway refused the credentials, again and again.
    Refused,
}

impl Stop {
    /// One that tells nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes no new calls from now on; the open ones may finish.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends everything at once.
    pub fn now(&self) {
        self.drain.cancel();
        self.now.cancel();
    }

    /// Whether the first stage has been reached.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits for the first stage. Returns at once when it has been reached.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Waits for the second stage. Returns at once when it has been reached.
    pub async fn ending(&self) {
        self.now.cancelled().await;
    }

    /// Ctrl-C or SIGTERM reach the first stage, a second one of either reaches the second.
    /// `told` is called at each of them, with its number.
    ///
    /// # Errors
    ///
    /// When the process cannot listen for signals.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn on_signals(&self, mut told: impl FnMut(u32) + Send + 'static) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let stop = self.clone();
        tokio::spawn(async move {
            signals.next().await;
            told(1);
            stop.drain();
            signals.next().await;
            told(2);
            stop.now();
        });
        Ok(())
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    const fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
