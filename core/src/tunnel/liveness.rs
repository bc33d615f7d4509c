//! Whether the other end is there: heartbeats, probes and pings.
//!
//! A tunnel client asks a peer that it knows nothing about with a stream of a method that nobody
//! has: every tunnel server refuses it by itself, so that no handler can delay the answer. Where
//! `PING` is in effect both ends ask with that instead.

use core::time::Duration;

use super::ids::TUNNEL_ID;
use super::transmit::{control, with_text};
use super::{Phase, Role, Tunnel};
use crate::budget::Charge;
use crate::error::{Reason, Side};
use crate::storage::Storage;
use crate::time::Time;
use crate::types::{Input, Timer, Transmit};
use crate::wire::{Extension, ServerKind, prefix};

/// The method of the probe, which nobody has.
pub(super) const PROBE_METHOD: &str = "grpctunnel.v1.Liveness/Probe";
/// Its field `method_name`.
const PROBE_HEAD: &str = "\n\x1cgrpctunnel.v1.Liveness/Probe";
/// Pongs that wait to leave. Our own ends have one ping out at a time.
const PONGS: usize = 4;

/// The half-close of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HalfClose {
    /// May become due.
    Open,
    Pending,
    Sent,
}

/// A question that is on its way or was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// A stream of the core's own, which holds no record.
    Probe {
        id: i64,
        half_close: HalfClose,
    },
    Ping(u64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) at: Time,
    /// Something was received since.
    pub(super) heard: bool,
    /// The carrier has taken it. Its answer is due from then on.
    pub(super) taken: bool,
}

/// What one end knows about the other's life.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    /// When a frame was last received, sent, and when a question was last asked.
    pub(super) heard: Time,
    pub(super) said: Time,
    pub(super) last_asked: Time,
    pub(super) asked: Option<Asked>,
    pub(super) ask_due: bool,
    pub(super) heartbeat_due: bool,
    /// The last question was answered by nothing.
    pub(super) missed: bool,
    /// The application did not read, so nothing could be heard.
    pub(super) paused: bool,
    /// What left waits in the caller's memory until the carrier takes it.
    pub(super) backlogged: bool,
    pub(super) pings: u64,
    pub(super) pongs: heapless::Deque<u64, PONGS>,
    pub(super) round_trip: Option<Duration>,
}

impl Alive {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            heard: now,
            said: now,
            last_asked: now,
            asked: None,
            ask_due: false,
            heartbeat_due: false,
            missed: false,
            paused: false,
            backlogged: false,
            pings: 0,
            pongs: heapless::Deque::new(),
            round_trip: None,
        }
    }

    /// The tunnel is open from now on.
    pub(super) const fn start(&mut self, now: Time) {
        self.heard = now;
        self.said = now;
        self.last_asked = now;
    }

    /// Whether there is something to send ahead of the streams.
    fn is_urgent(&self) -> bool {
        let half_close = matches!(
            self.asked,
            Some(Asked {
                question: Question::Probe {
                    half_close: HalfClose::Pending,
                    ..
                },
                ..
            })
        );
        // The next poll tells that the carrier has taken the question.
        let taking = !self.backlogged && self.asked.is_some_and(|asked| !asked.taken);
        self.ask_due || half_close || taking || !self.pongs.is_empty()
    }
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// The last time that a probe or a ping took until its answer; `None` before the first one.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.alive.round_trip
    }

    /// Whether the peer answered the last probe or ping, or sent anything since. True before the
    /// first one.
    #[must_use]
    pub const fn is_responsive(&self) -> bool {
        !self.alive.missed
    }

    const fn pings(&self) -> bool {
        self.extensions.contains(Extension::Ping)
    }

    /// Says that bytes came from the peer, of a frame that is not whole yet or of another tunnel
    /// on the same carrier: the peer lives. Without it only a whole frame says so, and on a slow
    /// carrier one may take longer than [`Liveness::answer`](crate::Liveness::answer).
    pub fn handle_activity(&mut self, now: Time) {
        self.note_heard(now);
        self.handle_timeout(now);
    }

    /// Says whether bytes of frames that `poll_transmit` handed out wait in the caller's memory
    /// until the carrier takes them. While they do no answer of the peer is due, since the
    /// question may be among them.
    ///
    /// For a caller that gathers frames, or whose carrier takes seconds for one. Without it the
    /// carrier has taken a frame when `poll_transmit` is called again.
    pub fn set_backlogged(&mut self, now: Time, backlogged: bool) {
        self.handle_timeout(now);
        self.alive.backlogged = backlogged;
        if !backlogged {
            self.note_taken(now);
        } else if let Some(asked) = &mut self.alive.asked {
            asked.taken = false;
            self.wakes = Time::ZERO;
        }
        self.settle_urgency();
    }

    /// The carrier has taken whatever left: the peer's time to answer begins.
    fn note_taken(&mut self, now: Time) {
        if let Some(asked) = &mut self.alive.asked
            && !asked.taken
        {
            asked.taken = true;
            asked.at = now;
            self.wakes = Time::ZERO;
        }
    }

    /// Bytes came, whatever they are.
    #[inline]
    pub(super) fn note_heard(&mut self, now: Time) {
        self.alive.heard = now;
        if self.alive.asked.is_some() || self.alive.missed {
            self.note_answer();
        }
    }

    #[cold]
    fn note_answer(&mut self) {
        // After the end nothing is news.
        if self.phase != Phase::Open {
            return;
        }
        if let Some(asked) = &mut self.alive.asked {
            asked.heard = true;
        }
        if core::mem::take(&mut self.alive.missed) {
            self.say().responsive = Some(true);
        }
    }

    /// When the next question is due, if none is out.
    pub(super) fn asks_at(&self) -> Time {
        let limits = &self.limits.liveness;
        if self.alive.ask_due {
            Time::MAX
        } else if self.pings() {
            self.alive.last_asked.saturating_add(limits.ping)
        } else if R::SIDE == Side::Client && !self.draining && self.has_spare_id() {
            self.alive.heard.saturating_add(limits.probe)
        } else {
            Time::MAX
        }
    }

    pub(super) fn heartbeat_at(&self) -> Time {
        if R::SIDE == Side::Server || self.pings() || self.alive.heartbeat_due {
            return Time::MAX;
        }
        let interval = self.limits.liveness.heartbeat;
        self.alive.said.saturating_add(interval)
    }

    pub(super) fn answer_at(&self) -> Time {
        let answer = self.limits.liveness.answer;
        match self.alive.asked {
            Some(asked) if asked.taken => asked.at.saturating_add(answer),
            Some(_) | None => Time::MAX,
        }
    }

    /// When the probe's `half_close` is due: not with it, but only where no answer has come in half
    /// of its time. A server that shuts down refuses the probe, and the Go module's then takes
    /// what follows for a frame of no stream, which would end the tunnel and every call on it.
    pub(super) fn half_close_at(&self) -> Time {
        let answer = self.limits.liveness.answer;
        match self.alive.asked {
            Some(Asked {
                question:
                    Question::Probe {
                        half_close: HalfClose::Open,
                        ..
                    },
                at,
                taken: true,
                ..
            }) => at.saturating_add(answer / 2),
            _ => Time::MAX,
        }
    }

    /// Its timers; none runs while nothing is read.
    pub(super) fn liveness_timers(&self) -> [(Time, Timer); 4] {
        let runs = self.phase == Phase::Open && self.wants_read();
        let asks_at = match self.alive.asked {
            Some(_) => Time::MAX,
            None => self.asks_at(),
        };
        [
            (self.answer_at(), Timer::Answer),
            (self.half_close_at(), Timer::Question),
            (asks_at, Timer::Question),
            (self.heartbeat_at(), Timer::Heartbeat),
        ]
        .map(|(time, timer)| (if runs { time } else { Time::MAX }, timer))
    }

    /// The earliest of them.
    pub(super) fn liveness_at(&self) -> Time {
        self.liveness_timers()
            .iter()
            .fold(Time::MAX, |earliest, (time, _)| earliest.min(*time))
    }

    /// Runs its timers.
    pub(super) fn run_liveness(&mut self, now: Time) {
        if self.phase != Phase::Open {
            return;
        }
        if !self.wants_read() {
            self.alive.paused = true;
            return;
        }
        if core::mem::take(&mut self.alive.paused) {
            // How long the answer took, or whether there was one, is not known.
            self.alive.heard = now;
            self.alive.asked = None;
        }
        if self.answer_at().is_due(now)
            && let Some(asked) = self.alive.asked.take()
            && !asked.heard
        {
            if self.alive.missed {
                self.end_with_error(Reason::Unresponsive);
                return;
            }
            self.alive.missed = true;
            self.ask();
            self.say().responsive = Some(false);
        }
        if self.half_close_at().is_due(now)
            && let Some(Asked {
                question: Question::Probe { half_close, .. },
                ..
            }) = &mut self.alive.asked
        {
            *half_close = HalfClose::Pending;
            self.urgent = true;
        }
        if self.alive.asked.is_none() && self.asks_at().is_due(now) {
            self.ask();
        }
        if self.heartbeat_at().is_due(now) {
            self.alive.heartbeat_due = true;
        }
    }

    const fn ask(&mut self) {
        self.alive.ask_due = true;
        self.urgent = true;
    }

    /// The next frame that goes ahead of everything else of the application's.
    pub(super) fn liveness_frame(&mut self, now: Time) -> Option<Transmit> {
        if !self.alive.backlogged {
            self.note_taken(now);
        }
        if let Some(opaque) = self.alive.pongs.pop_front() {
            return Some(control(prefix::pong(opaque)));
        }
        if let Some(Asked {
            question: Question::Probe { id, half_close },
            ..
        }) = &mut self.alive.asked
            && *half_close == HalfClose::Pending
        {
            *half_close = HalfClose::Sent;
            return Some(control(prefix::half_close(*id)));
        }
        if !core::mem::take(&mut self.alive.ask_due) {
            return None;
        }
        self.wakes = Time::ZERO;
        let (question, transmit) = if self.pings() {
            let opaque = self.alive.pings.wrapping_add(1);
            self.alive.pings = opaque;
            (Question::Ping(opaque), control(prefix::ping(opaque)))
        } else {
            self.probe()?
        };
        self.alive.last_asked = now;
        self.alive.asked = Some(Asked {
            question,
            at: now,
            heard: false,
            taken: false,
        });
        Some(transmit)
    }

    fn probe(&mut self) -> Option<(Question, Transmit)> {
        if R::SIDE == Side::Server || self.draining || !self.has_spare_id() {
            return None;
        }
        let id = self.ids.take();
        let len = u32::try_from(PROBE_HEAD.len()).unwrap_or(0);
        let window = self.limits.receive_window.initial;
        let prefix = prefix::new_stream(id, len, window, self.revision, None);
        let question = Question::Probe {
            id,
            half_close: HalfClose::Open,
        };
        Some((question, with_text(prefix, PROBE_HEAD)))
    }

    /// The heartbeat, where nothing else is to be sent.
    #[cold]
    pub(super) fn heartbeat_frame(&mut self, now: Time) -> Option<Transmit> {
        self.alive.heartbeat_due = false;
        self.wakes = Time::ZERO;
        // What was sent in the meantime does as well.
        (self.heartbeat_at().is_due(now)).then(|| control(prefix::window_update(TUNNEL_ID, 0)))
    }

    /// Looks anew whether something is to be sent ahead of the streams.
    pub(super) fn settle_urgency(&mut self) {
        self.urgent =
            self.settings_due || self.extensions_due || self.drain_due || self.alive.is_urgent();
    }

    /// Whether a frame of a tunnel server closes the stream of the probe, which answers it. Any
    /// other frame on that stream is one for a stream that holds nothing: late, and charged.
    pub(super) fn answers_probe(&mut self, now: Time, id: i64, kind: &ServerKind<'_>) -> bool {
        match self.alive.asked {
            Some(Asked {
                question: Question::Probe { id: probe, .. },
                at,
                ..
            }) if probe == id && matches!(kind, ServerKind::Close(_)) => {
                self.answered(now, at);
                true
            }
            _ => false,
        }
    }

    fn answered(&mut self, now: Time, asked_at: Time) {
        let round_trip = now.saturating_since(asked_at);
        self.alive.asked = None;
        self.wakes = Time::ZERO;
        self.alive.round_trip = Some(round_trip);
        self.say().round_trip = Some(round_trip);
    }

    /// `ping`: answered at once. One a second is free.
    pub(super) fn receive_ping<'f>(
        &mut self,
        now: Time,
        id: i64,
        opaque: u64,
    ) -> Result<Input<'f>, Reason> {
        if id != TUNNEL_ID || !self.pings() {
            return self.receive_on_stream(now, id, Reason::UnknownFrame);
        }
        self.budget.charge(now, Charge::Heartbeat)?;
        if self.alive.pongs.is_full() {
            self.alive.pongs.pop_front();
        }
        // There is room: the oldest has just gone.
        let _ = self.alive.pongs.push_back(opaque);
        self.urgent = true;
        Ok(Input::Ignored)
    }

    /// `pong`
    pub(super) fn receive_pong<'f>(
        &mut self,
        now: Time,
        id: i64,
        opaque: u64,
    ) -> Result<Input<'f>, Reason> {
        if id != TUNNEL_ID || !self.pings() {
            return self.receive_on_stream(now, id, Reason::UnknownFrame);
        }
        match self.alive.asked {
            Some(Asked {
                question: Question::Ping(asked),
                at,
                ..
            }) if asked == opaque => {
                self.answered(now, at);
                Ok(Input::Ignored)
            }
            _ => self.ignore(now, Charge::Useless),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PROBE_HEAD, PROBE_METHOD};

    #[test]
    fn the_head_of_the_probe_names_its_method() {
        let mut head = heapless::Vec::<u8, 64>::new();
        let none = core::iter::empty();
        crate::wire::encode_open(&mut head, PROBE_METHOD, none, &Default::default()).unwrap();
        assert_eq!(head, PROBE_HEAD.as_bytes());
    }
}
