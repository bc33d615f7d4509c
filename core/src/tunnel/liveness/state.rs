//! What this end knows about whether its peer is alive.

use core::time::Duration;

use super::question::{Asked, Asks, HalfClose, Question, Rules, Urgent, Verdict};
use crate::time::Time;

/// Pongs that wait to be sent. Our own ends have one ping out at a time.
const PONGS: usize = 4;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(in crate::tunnel) struct LivenessState {
    last_received: Time,
    last_sent: Time,
    last_asked: Time,
    asked: Option<Asked>,
    ask_due: bool,
    /// The question that is due is the caller's.
    ask_early: bool,
    heartbeat_due: bool,
    /// The last question was answered by nothing.
    missed: bool,
    /// The application did not read, so nothing could be heard.
    paused: bool,
    /// What was sent waits in the caller's memory until the carrier takes it.
    backlogged: bool,
    /// The number of the last ping.
    pings: u64,
    pongs: heapless::Deque<u64, PONGS>,
    round_trip: Option<Duration>,
}

impl LivenessState {
    pub(in crate::tunnel) const fn new(now: Time) -> Self {
        Self {
            last_received: now,
            last_sent: now,
            last_asked: now,
            asked: None,
            ask_due: false,
            ask_early: false,
            heartbeat_due: false,
            missed: false,
            paused: false,
            backlogged: false,
            pings: 0,
            pongs: heapless::Deque::new(),
            round_trip: None,
        }
    }

    /// All intervals begin anew.
    pub(in crate::tunnel) const fn start(&mut self, now: Time) {
        self.last_received = now;
        self.last_sent = now;
        self.last_asked = now;
    }

    pub(in crate::tunnel) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub(in crate::tunnel) const fn is_responsive(&self) -> bool {
        !self.missed
    }

    /// A frame was sent.
    #[inline(always)]
    pub(in crate::tunnel) const fn sent(&mut self, now: Time) {
        self.last_sent = now;
    }

    /// Bytes were received. True: a question waits for that, see [`hear`](Self::hear).
    #[inline(always)]
    pub(in crate::tunnel) const fn received(&mut self, now: Time) -> bool {
        self.last_received = now;
        self.asked.is_some() || self.missed
    }

    /// What was received answers for the question that is out. True: the peer was silent before.
    pub(in crate::tunnel) const fn hear(&mut self) -> bool {
        if let Some(asked) = &mut self.asked {
            asked.heard = true;
        }
        core::mem::replace(&mut self.missed, false)
    }

    /// The application does not read: silence proves nothing.
    pub(in crate::tunnel) const fn pause(&mut self) {
        self.paused = true;
    }

    /// Whether frames wait in the caller's memory.
    pub(in crate::tunnel) const fn set_backlogged(&mut self, backlogged: bool) {
        self.backlogged = backlogged;
        if backlogged && let Some(asked) = &mut self.asked {
            asked.taken = false;
        }
    }

    /// The carrier has taken whatever was sent, unless it waits: the peer's time to answer begins.
    pub(in crate::tunnel) const fn taken(&mut self, now: Time) {
        if !self.backlogged
            && let Some(asked) = &mut self.asked
            && !asked.taken
        {
            asked.taken = true;
            asked.at = now;
        }
    }

    /// Whether there is something to send ahead of the streams.
    pub(in crate::tunnel) fn is_urgent(&self) -> bool {
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

    #[inline(always)]
    pub(in crate::tunnel) const fn is_heartbeat_due(&self) -> bool {
        self.heartbeat_due
    }

    /// When the next question is due.
    pub(in crate::tunnel) fn question_at(&self, rules: Rules) -> Time {
        if self.is_asking() {
            return Time::MAX;
        }
        self.interval_ends(rules)
    }

    /// Whether a question is out whose answer will be due.
    fn is_asking(&self) -> bool {
        self.asked.is_some_and(|asked| !asked.early)
    }

    /// Queues a question of the caller's. False: one is out to which nothing was received, one is
    /// due, or this end has no question.
    pub(in crate::tunnel) fn ask_early(&mut self, asks: Asks) -> bool {
        let out = self.asked.is_some_and(|asked| !asked.heard);
        if out || self.ask_due || asks == Asks::Never {
            return false;
        }
        self.ask_early = true;
        self.ask_due = true;
        true
    }

    /// The same, once no question is out.
    fn interval_ends(&self, rules: Rules) -> Time {
        match rules.asks {
            _ if self.ask_due => Time::MAX,
            Asks::Never => Time::MAX,
            Asks::WithProbe => self.last_received.saturating_add(rules.limits.probe),
            Asks::WithPing => self.last_asked.saturating_add(rules.limits.ping),
        }
    }

    pub(in crate::tunnel) fn heartbeat_at(&self, rules: Rules) -> Time {
        if rules.heartbeats && !self.heartbeat_due {
            self.last_sent.saturating_add(rules.limits.heartbeat)
        } else {
            Time::MAX
        }
    }

    pub(in crate::tunnel) fn answer_at(&self, rules: Rules) -> Time {
        match self.asked {
            Some(asked) if asked.taken && !asked.early => {
                asked.at.saturating_add(rules.limits.answer)
            }
            Some(_) | None => Time::MAX,
        }
    }

    /// When the probe's `half_close` is due: not with it, but only where no answer has come in half
    /// of its time. A server that shuts down refuses the probe, and the Go module's then takes
    /// what follows for a frame of no stream, which would end the tunnel and every call on it.
    pub(in crate::tunnel) fn half_close_at(&self, rules: Rules) -> Time {
        match self.asked {
            Some(Asked {
                question:
                    Question::Probe {
                        half_close: HalfClose::NotDue,
                        ..
                    },
                at,
                taken: true,
                ..
            }) => at.saturating_add(rules.limits.answer / 2),
            _ => Time::MAX,
        }
    }

    /// Runs the timers, unless the application does not read.
    pub(in crate::tunnel) fn run(&mut self, now: Time, rules: Rules) -> Verdict {
        if core::mem::take(&mut self.paused) {
            // How long the answer took, or whether there was one, is not known.
            self.last_received = now;
            self.asked = None;
        }
        let mut verdict = Verdict::Unchanged;
        if self.answer_at(rules).is_due(now)
            && let Some(asked) = self.asked.take()
            && !asked.heard
        {
            if self.missed {
                return Verdict::Dead;
            }
            self.missed = true;
            self.ask_due = true;
            verdict = Verdict::Silent;
        }
        if self.half_close_at(rules).is_due(now)
            && let Some(Asked {
                question: Question::Probe { half_close, .. },
                ..
            }) = &mut self.asked
        {
            *half_close = HalfClose::Pending;
        }
        if self.question_at(rules).is_due(now) {
            self.asked = None;
            self.ask_due = true;
        }
        if self.heartbeat_at(rules).is_due(now) {
            self.heartbeat_due = true;
        }
        verdict
    }

    /// The next frame that goes ahead of the streams'.
    pub(in crate::tunnel) fn next(&mut self, now: Time, asks: Asks) -> Option<Urgent> {
        self.taken(now);
        if let Some(opaque) = self.pongs.pop_front() {
            return Some(Urgent::Pong(opaque));
        }
        if let Some(Asked {
            question: Question::Probe { id, half_close },
            ..
        }) = &mut self.asked
            && *half_close == HalfClose::Pending
        {
            *half_close = HalfClose::Sent;
            return Some(Urgent::HalfClose(*id));
        }
        if !core::mem::take(&mut self.ask_due) {
            return None;
        }
        match asks {
            Asks::Never => None,
            Asks::WithProbe => Some(Urgent::Probe),
            Asks::WithPing => {
                self.pings = self.pings.wrapping_add(1);
                self.ask(now, Question::Ping(self.pings));
                Some(Urgent::Ping(self.pings))
            }
        }
    }

    /// The probe is sent, as the stream of this id.
    pub(in crate::tunnel) const fn probed(&mut self, now: Time, id: i64) {
        let half_close = HalfClose::NotDue;
        self.ask(now, Question::Probe { id, half_close });
    }

    const fn ask(&mut self, now: Time, question: Question) {
        let early = core::mem::replace(&mut self.ask_early, false);
        if !early {
            self.last_asked = now;
        }
        self.asked = Some(Asked {
            question,
            at: now,
            heard: false,
            taken: false,
            early,
        });
    }

    /// Takes the heartbeat that is due. False: what was sent in the meantime does as well.
    pub(in crate::tunnel) fn take_heartbeat(&mut self, now: Time, rules: Rules) -> bool {
        self.heartbeat_due = false;
        self.heartbeat_at(rules).is_due(now)
    }

    /// A ping is to be answered. The oldest of too many is not.
    pub(in crate::tunnel) fn pinged(&mut self, opaque: u64) {
        if self.pongs.is_full() {
            self.pongs.pop_front();
        }
        // There is room: the oldest has just gone.
        let _ = self.pongs.push_back(opaque);
    }

    /// The stream of this id was closed. If it is the probe, that is the answer, after so long.
    pub(in crate::tunnel) fn probe_closed(&mut self, now: Time, closed: i64) -> Option<Duration> {
        match self.asked {
            Some(Asked {
                question: Question::Probe { id, .. },
                at,
                ..
            }) if id == closed => Some(self.answered(now, at)),
            _ => None,
        }
    }

    /// A pong came. If it is for the ping that is out, that is the answer, after so long.
    pub(in crate::tunnel) fn ponged(&mut self, now: Time, opaque: u64) -> Option<Duration> {
        match self.asked {
            Some(Asked {
                question: Question::Ping(ping),
                at,
                ..
            }) if ping == opaque => Some(self.answered(now, at)),
            _ => None,
        }
    }

    const fn answered(&mut self, now: Time, asked_at: Time) -> Duration {
        let round_trip = now.saturating_since(asked_at);
        self.asked = None;
        self.round_trip = Some(round_trip);
        round_trip
    }

    /// Writes what decides the future; points in time count as far as they lead to a timer. Of a
    /// probe's id, the distance from `base`.
    #[cfg(feature = "search")]
    pub(in crate::tunnel) fn fingerprint<H: core::hash::Hasher>(
        &self,
        rules: Rules,
        base: i64,
        now: Time,
        state: &mut H,
    ) {
        use core::hash::Hash as _;

        let Self {
            last_received: _,
            last_sent: _,
            last_asked: _,
            pings: _,
            round_trip: _,
            asked,
            ask_due,
            ask_early,
            heartbeat_due,
            missed,
            paused,
            backlogged,
            pongs,
        } = self;
        let times = [
            self.interval_ends(rules),
            self.heartbeat_at(rules),
            self.answer_at(rules),
            self.half_close_at(rules),
        ];
        for time in times {
            time.nanos_left(now).hash(state);
        }
        (ask_due, ask_early, heartbeat_due, missed, paused).hash(state);
        (backlogged, pongs.len()).hash(state);
        if let Some(asked) = asked {
            let Asked {
                question,
                at: _,
                heard,
                taken,
                early,
            } = asked;
            (heard, taken, early).hash(state);
            match question {
                Question::Probe { id, half_close } => {
                    (id.wrapping_sub(base), half_close).hash(state);
                }
                Question::Ping(_) => 1_u8.hash(state),
            }
        }
        asked.is_some().hash(state);
    }
}

#[cfg(test)]
mod tests;
