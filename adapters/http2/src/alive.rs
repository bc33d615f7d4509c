//! Whether the peer is still there: keepalive, pings when it is silent, and pings on demand.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use h2::{Ping, PingPong};

use crate::error::{Error, ErrorKind};
use crate::settings::{Role, Settings, SilencePing};
use crate::shared::Shared;

/// A limit that is noticed so long after it was due tells of a process that did not run.
const OVERSLEPT: Duration = Duration::from_secs(5);

pub(crate) struct Alive {
    /// None after the connection's end.
    pings: Option<PingPong>,
    keepalive: Option<Duration>,
    timeout: Duration,
    while_idle: bool,
    silence: Option<SilencePing>,
    /// What was received when the peer was last heard, and when that was.
    received: usize,
    heard: Instant,
    /// When the first of the open streams was opened.
    waiting_since: Option<Instant>,
    sent: Option<Sent>,
    last_silence_ping: Option<Instant>,
}

/// A ping that was not answered.
struct Sent {
    at: Instant,
    /// How long nothing may be heard after it, by whom that is asked.
    keepalive: bool,
    silence: bool,
    waiting: Vec<oneshot::Sender<Duration>>,
}

impl Alive {
    pub(crate) fn new(
        settings: &Settings,
        role: Role,
        pings: Option<PingPong>,
        now: Instant,
    ) -> Self {
        Self {
            pings,
            keepalive: settings.keepalive.after(role),
            timeout: settings.keepalive_timeout,
            while_idle: settings.keepalive_while_idle,
            silence: settings.silence_ping,
            received: 0,
            heard: now,
            waiting_since: None,
            sent: None,
            last_silence_ping: None,
        }
    }

    /// Fails where nothing was heard for long after a keepalive ping.
    pub(crate) fn poll(
        &mut self,
        shared: &Shared,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        let open = shared.open();
        self.listen(shared, now);
        if open == 0 {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        self.poll_answer(now, cx);
        self.ask(shared, open, now, cx);

        // What was heard after the ping is an answer as good as its own.
        let Some(sent) = self.sent.as_mut().filter(|sent| sent.at >= self.heard) else {
            return Ok(());
        };
        let silent = now.saturating_duration_since(sent.at);
        if let Some(silence) = self.silence.filter(|_| sent.silence)
            && silent >= silence.timeout
        {
            shared.silent.store(true, Ordering::Release);
        }
        if sent.keepalive && silent >= self.timeout.saturating_add(OVERSLEPT) {
            // The peer has not had its time.
            sent.at = now;
        } else if sent.keepalive && silent >= self.timeout {
            return Err(Error::new(ErrorKind::KeepaliveTimeout(self.timeout)));
        }
        Ok(())
    }

    fn listen(&mut self, shared: &Shared, now: Instant) {
        let received = shared.received.load(Ordering::Relaxed);
        if received != self.received {
            self.received = received;
            self.heard = now;
            shared.silent.store(false, Ordering::Release);
        }
    }

    fn poll_answer(&mut self, now: Instant, cx: &mut Context<'_>) {
        let (Some(pings), Some(_)) = (&mut self.pings, &self.sent) else {
            return;
        };
        match pings.poll_pong(cx) {
            Poll::Ready(Ok(_)) => {
                if let Some(sent) = self.sent.take() {
                    let time = now.saturating_duration_since(sent.at);
                    for waiting in sent.waiting {
                        // Whoever asked may have left.
                        let _ = waiting.send(time);
                    }
                }
            }
            // Those who wait are told by the connection's end.
            Poll::Ready(Err(_)) => self.pings = None,
            Poll::Pending => {}
        }
    }

    /// Sends a ping if somebody wants one, or lets the one on its way serve for that too.
    fn ask(&mut self, shared: &Shared, open: usize, now: Instant, cx: &mut Context<'_>) {
        let keepalive = self.keepalive_due(open).is_some_and(|due| now >= due);
        let silence = self.silence_due(open).is_some_and(|due| now >= due);
        if let Some(sent) = &mut self.sent {
            // The peer was heard since, but does not answer pings: ask by this one again.
            if sent.at < self.heard && (keepalive || silence) {
                sent.at = now;
            }
            sent.keepalive |= keepalive;
            sent.silence |= silence;
            if silence {
                self.last_silence_ping = Some(now);
            }
            // One ping at a time: these wait for the next.
            return;
        }
        let waiting = if shared.ping_wanted.swap(false, Ordering::AcqRel) {
            std::mem::take(&mut shared.control().pings)
        } else {
            Vec::new()
        };
        let Some(pings) = &mut self.pings else {
            return;
        };
        if !(keepalive || silence) && waiting.is_empty() {
            return;
        }
        if pings.send_ping(Ping::opaque()).is_ok() {
            if silence {
                self.last_silence_ping = Some(now);
            }
            self.sent = Some(Sent {
                at: now,
                keepalive,
                silence,
                waiting,
            });
            // Registers for the answer.
            self.poll_answer(now, cx);
        }
    }

    fn keepalive_due(&self, open: usize) -> Option<Instant> {
        if open == 0 && !self.while_idle {
            return None;
        }
        self.heard.checked_add(self.keepalive?)
    }

    fn silence_due(&self, open: usize) -> Option<Instant> {
        let silence = self.silence?;
        let waiting = self.waiting_since.filter(|_| open > 0)?;
        let due = self.heard.max(waiting).checked_add(silence.after)?;
        match self.last_silence_ping {
            Some(last) => Some(due.max(last.checked_add(silence.at_most_every)?)),
            None => Some(due),
        }
    }

    /// When to look again.
    pub(crate) fn deadline(&self, open: usize, now: Instant) -> Option<Instant> {
        self.pings.as_ref()?;
        let unanswered = self.sent.as_ref().filter(|sent| sent.at >= self.heard);
        let dead = unanswered.filter(|sent| sent.keepalive);
        let silent = unanswered.filter(|sent| sent.silence);
        let times = [
            match dead {
                Some(sent) => sent.at.checked_add(self.timeout),
                None => self.keepalive_due(open),
            },
            match (silent, self.silence) {
                (Some(sent), Some(silence)) => {
                    let end = sent.at.checked_add(silence.timeout);
                    end.filter(|end| *end > now)
                }
                _ => self.silence_due(open),
            },
        ];
        times.into_iter().flatten().min()
    }
}
