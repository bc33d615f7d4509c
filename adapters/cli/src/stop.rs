//! How a command is told to end: it says so first, then drains, then ends at once.

use std::{io, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::ready::{Readiness, Ready};

/// Tells a command to end. Clones tell the same command.
///
/// It has three stages: *leave* says that it is not [ready](Readiness) any more, so that load
/// balancers send nothing new, and still takes calls; *drain* refuses new calls and lets the open
/// ones finish; *now* ends them too. Each stage brings those before it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    readiness: Readiness,
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

/// A stage that a signal has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is not ready any more, and drains after this time.
    Leaving(Duration),
    /// It drains.
    Draining,
    /// It ends at once.
    Ending,
}

impl Stop {
    /// One that tells nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the command takes calls, as whoever sends it some should see it.
    #[must_use]
    pub const fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Is not ready any more from now on, and takes calls as before.
    pub fn leave(&self) {
        self.readiness.leave();
    }

    /// Takes no new calls from now on; the open ones may finish.
    pub fn drain(&self) {
        self.leave();
        self.drain.cancel();
    }

    /// Ends everything at once.
    pub fn now(&self) {
        self.drain();
        self.now.cancel();
    }

    /// Whether the first stage has been reached.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.readiness.now() == Ready::Leaving
    }

    /// Waits for the first stage. Returns at once when it has been reached.
    pub async fn leaving(&self) {
        self.readiness.leaving().await;
    }

    /// Whether the second stage has been reached.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits for the second stage. Returns at once when it has been reached.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Waits for the third stage. Returns at once when it has been reached.
    pub async fn ending(&self) {
        self.now.cancelled().await;
    }

    /// SIGTERM reaches the first stage, and the second one `delay` later. Ctrl-C reaches the second
    /// stage at once: there is a person who waits. Another signal of either kind reaches the third.
    /// `told` is called at each stage that is reached by this.
    ///
    /// # Errors
    ///
    /// When the process cannot listen for signals.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time.
    pub fn on_signals(
        &self,
        delay: Duration,
        mut told: impl FnMut(Stage) + Send + 'static,
    ) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let stop = self.clone();
        tokio::spawn(async move {
            let first = signals.next().await;
            if first != Signal::Interrupt && !delay.is_zero() {
                told(Stage::Leaving(delay));
                stop.leave();
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    _ = signals.next() => {
                        told(Stage::Ending);
                        return stop.now();
                    }
                }
            }
            told(Stage::Draining);
            stop.drain();
            signals.next().await;
            told(Stage::Ending);
            stop.now();
        });
        Ok(())
    }
}

/// What asks a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Interrupt,
    #[cfg(unix)]
    Terminate,
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

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
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

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
