//! Everything that happens because time passes.

use super::{Phase, Role, Tunnel};
use crate::reason::TunnelReason;
use crate::storage::Storage;
use crate::streams::{Slot, Terminal};
use crate::time::Time;
use crate::types::{Timer, Unread};

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// When `handle_timeout` must be called next; `None`: there is no timer.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let streams = self
            .streams
            .next_timer()
            .map_or(Time::MAX, |(time, _)| time);
        let earliest = streams
            .min(self.phase_until)
            .min(self.drain.until())
            .min(self.liveness_at())
            .min(self.stall_ends());
        (earliest != Time::MAX).then_some(earliest)
    }

    /// The timer that `poll_timeout` is about: its time, and what happens then if nothing else
    /// does before.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Time, Timer)> {
        let phase = match self.phase {
            Phase::Opening => Timer::Opening,
            Phase::Settling => Timer::Settings,
            Phase::Open | Phase::Finished | Phase::Ended => Timer::Grace,
        };
        let stream = self.streams.next_timer().map(|(time, slot)| {
            let key = self.streams.key(slot);
            let timer = if self.streams.get(slot).hold_until() == time {
                Timer::Hold(key)
            } else {
                Timer::Deadline(key)
            };
            (time, timer)
        });
        let timers = [
            (self.phase_until, phase),
            (self.drain.until(), Timer::Drain),
            (self.stall_ends(), Timer::Stall),
        ];
        stream
            .into_iter()
            .chain(timers)
            .chain(self.liveness_timers())
            .min_by_key(|(time, _)| *time)
            .filter(|(time, _)| *time != Time::MAX)
    }

    /// Runs every timer that has expired: deadlines, holds, the opening, the drain, liveness. Also
    /// called first by everything else that takes the time, so that "at the deadline" has one
    /// meaning: what is due at `now` has happened.
    #[inline]
    pub fn handle_timeout(&mut self, now: Time) {
        if self.is_due(now) {
            self.wake(now);
        }
    }

    /// Whether a timer may have expired: one comparison.
    #[inline(always)]
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.no_timer_before <= now
    }

    /// Kept out of what every frame goes through.
    #[cold]
    #[inline(never)]
    fn wake(&mut self, now: Time) {
        self.run_timers(now);
        self.no_timer_before = self.poll_timeout().unwrap_or(Time::MAX);
    }

    fn run_timers(&mut self, now: Time) {
        if self.phase_until.is_due(now) {
            match self.phase {
                Phase::Opening => drop(self.end_with_error(TunnelReason::OpenTimeout)),
                Phase::Settling => drop(self.end_with_error(TunnelReason::SettingsTimeout)),
                Phase::Finished => drop(self.end_with_error(TunnelReason::GraceExpired)),
                Phase::Open | Phase::Ended => self.phase_until = Time::MAX,
            }
        }
        while let Some(slot) = self.streams.pop_timer(now) {
            self.expire(now, slot);
        }
        if self.drain.until().is_due(now) {
            self.drain.lift_limit();
            self.expire_drain();
        }
        if self.stall_ends().is_due(now) {
            self.end_stall(now);
        }
        self.run_liveness(now);
    }

    fn expire(&mut self, now: Time, slot: Slot) {
        let stream = self.streams.get(slot);
        let deadline = stream.deadline().is_due(now);
        let held = stream.send.is_held();
        if deadline && (!held || stream.send.is_inside()) {
            self.counters.deadlines = self.counters.deadlines.saturating_add(1);
            self.end_with_event(slot, Terminal::Deadline, Unread::Discard);
            return;
        }
        // The handler was done in time, and everything it sent has left: its OK goes out.
        let later = if deadline {
            Time::MAX
        } else {
            stream.deadline()
        };
        self.streams.set_timers(slot, later, Time::MAX);
        self.end_hold(slot);
    }
}
