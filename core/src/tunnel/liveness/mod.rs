//! Whether the peer is alive.
//!
//! A tunnel client asks a peer that it knows nothing about with a stream of a method that nobody
//! has: every tunnel server refuses it by itself, so that no handler can delay the answer. Where
//! `PING` is in effect both ends ask with that instead.

mod question;
mod state;

use core::time::Duration;

use super::ids::TUNNEL_ID;
use super::transmit::{control, with_text};
use super::{Phase, Role, Tunnel};
use crate::budget::Charge;
use crate::code::Side;
use crate::reason::{StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::time::Time;
use crate::types::{Input, Timer, Transmit};
use crate::wire::{Extension, ServerKind, prefix};

/// The method of the probe, which nobody has.
pub(super) const PROBE_METHOD: &str = "grpctunnel.v1.Liveness/Probe";
/// Its field `method_name`.
const PROBE_HEAD: &str = "\n\x1cgrpctunnel.v1.Liveness/Probe";
use question::{Asks, Rules, Urgent, Verdict};
pub(super) use state::LivenessState;

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// The last time that a probe or a ping took until its answer; `None` before the first one.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.liveness.round_trip()
    }

    /// Whether the peer answered the last probe or ping, or sent anything since. True before the
    /// first one.
    #[must_use]
    pub const fn is_responsive(&self) -> bool {
        self.liveness.is_responsive()
    }

    /// Asks the peer for a sign of life now, with a ping or a probe: for a caller that wants to know
    /// sooner than by [`Liveness`](crate::Liveness). Whatever is received next is one.
    ///
    /// Nothing is asked while a question is out to which nothing was received, of a tunnel that is
    /// not open, and where this end has no question: a tunnel server without `PING`, a tunnel client
    /// without it that drains. A missing answer does not end the tunnel; the questions that
    /// `Liveness` asks are asked when they would have been.
    pub fn ask(&mut self, now: Time) {
        self.handle_timeout(now);
        let asks = self.liveness_rules().asks;
        if self.phase == Phase::Open && self.liveness.ask_early(asks) {
            self.urgent = true;
        }
    }

    const fn pings(&self) -> bool {
        self.handshake.agreed(Extension::Ping)
    }

    /// When it asks, and how.
    pub(super) fn liveness_rules(&self) -> Rules {
        let pings = self.pings();
        let client = R::SIDE == Side::Client;
        let asks = if pings {
            Asks::WithPing
        } else if client && !self.drain.began() && self.has_spare_id() {
            Asks::WithProbe
        } else {
            Asks::Never
        };
        Rules {
            limits: self.limits.liveness,
            asks,
            heartbeats: client && !pings,
        }
    }

    /// Says that bytes came from the peer, of a frame that is not whole yet or of another tunnel
    /// on the same carrier: the peer lives. Without it only a whole frame says so, and on a slow
    /// carrier one may take longer than [`Liveness::answer`](crate::Liveness::answer).
    pub fn handle_activity(&mut self, now: Time) {
        self.note_received(now);
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
        self.liveness.set_backlogged(backlogged);
        self.liveness.taken(now);
        self.no_timer_before = Time::ZERO;
        self.settle_urgency();
    }

    /// Bytes came, whatever they are.
    #[inline]
    pub(super) fn note_received(&mut self, now: Time) {
        if self.liveness.received(now) {
            self.hear();
        }
    }

    #[cold]
    fn hear(&mut self) {
        // After the end nothing is reported.
        if self.phase == Phase::Open && self.liveness.hear() {
            self.notices.responsive(true);
        }
    }

    /// Its timers; none runs while nothing is read.
    pub(super) fn liveness_timers(&self) -> [(Time, Timer); 4] {
        let runs = self.phase == Phase::Open && self.wants_read();
        let (state, rules) = (&self.liveness, self.liveness_rules());
        [
            (state.answer_at(rules), Timer::Answer),
            (state.half_close_at(rules), Timer::Question),
            (state.question_at(rules), Timer::Question),
            (state.heartbeat_at(rules), Timer::Heartbeat),
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
            self.liveness.pause();
            return;
        }
        let rules = self.liveness_rules();
        match self.liveness.run(now, rules) {
            Verdict::Unchanged => {}
            Verdict::Silent => self.notices.responsive(false),
            Verdict::Dead => {
                self.end_with_error(TunnelReason::Unresponsive);
                return;
            }
        }
        self.settle_urgency();
    }

    /// The next frame that goes ahead of the streams'.
    pub(super) fn liveness_frame(&mut self, now: Time) -> Option<Transmit> {
        let asks = self.liveness_rules().asks;
        let urgent = self.liveness.next(now, asks);
        self.no_timer_before = Time::ZERO;
        Some(match urgent? {
            Urgent::Pong(opaque) => control(prefix::pong(opaque)),
            Urgent::Ping(opaque) => control(prefix::ping(opaque)),
            Urgent::HalfClose(id) => control(prefix::half_close(id)),
            Urgent::Probe => self.probe(now),
        })
    }

    fn probe(&mut self, now: Time) -> Transmit {
        let id = self.ids.take();
        self.liveness.probed(now, id);
        let len = u32::try_from(PROBE_HEAD.len()).unwrap_or(0);
        let window = self.limits.receive_window.initial;
        let prefix = prefix::new_stream(id, len, window, self.handshake.revision(), None);
        with_text(prefix, PROBE_HEAD)
    }

    /// The heartbeat, where nothing else is to be sent.
    #[cold]
    pub(super) fn heartbeat_frame(&mut self, now: Time) -> Option<Transmit> {
        let rules = self.liveness_rules();
        self.no_timer_before = Time::ZERO;
        let due = self.liveness.take_heartbeat(now, rules);
        due.then(|| control(prefix::window_update(TUNNEL_ID, 0)))
    }

    /// Looks anew whether something is to be sent ahead of the streams.
    pub(super) fn settle_urgency(&mut self) {
        self.urgent = self.handshake.is_due() || self.drain.is_due() || self.liveness.is_urgent();
    }

    /// Whether a frame of a tunnel server closes the stream of the probe, which answers it. Any
    /// other frame on that stream is one for a stream that holds nothing: late, and charged.
    pub(super) fn answers_probe(&mut self, now: Time, id: i64, kind: &ServerKind<'_>) -> bool {
        let closed = matches!(kind, ServerKind::Close(_));
        let answer = closed.then(|| self.liveness.probe_closed(now, id));
        self.note_round_trip(answer.flatten())
    }

    /// False: nothing was answered.
    fn note_round_trip(&mut self, round_trip: Option<Duration>) -> bool {
        if let Some(round_trip) = round_trip {
            self.no_timer_before = Time::ZERO;
            self.notices.round_trip(round_trip);
        }
        round_trip.is_some()
    }

    /// `ping`: answered at once. One a second is free.
    pub(super) fn receive_ping<'f>(
        &mut self,
        now: Time,
        id: i64,
        opaque: u64,
    ) -> Result<Input<'f>, TunnelReason> {
        if id != TUNNEL_ID || !self.pings() {
            return self.receive_on_stream(now, id, StreamReason::UnknownFrame);
        }
        self.budget.charge(now, Charge::Heartbeat)?;
        self.liveness.pinged(opaque);
        self.urgent = true;
        Ok(Input::Ignored)
    }

    /// `pong`
    pub(super) fn receive_pong<'f>(
        &mut self,
        now: Time,
        id: i64,
        opaque: u64,
    ) -> Result<Input<'f>, TunnelReason> {
        if id != TUNNEL_ID || !self.pings() {
            return self.receive_on_stream(now, id, StreamReason::UnknownFrame);
        }
        let answer = self.liveness.ponged(now, opaque);
        if self.note_round_trip(answer) {
            return Ok(Input::Ignored);
        }
        self.ignore(now, Charge::Useless)
    }
}

#[cfg(test)]
mod tests {
    use super::{PROBE_HEAD, PROBE_METHOD};

    #[test]
    fn the_head_of_the_probe_names_its_method() {
        let mut head = heapless::Vec::<u8, 64>::new();
        let none = core::iter::empty();
        let _ =
            crate::wire::encode_open(&mut head, PROBE_METHOD, none, &Default::default()).unwrap();
        assert_eq!(head, PROBE_HEAD.as_bytes());
    }
}
