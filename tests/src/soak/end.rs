//! One end of the core, the steps that calls consist of, and the clock.

use std::collections::VecDeque;
use std::time::Duration;

use grpctunnel_core::{Budgets, Event, Growing, Input, Key, Role, Time, Tunnel, TunnelReason};

use super::template::Template;
use super::{Report, Scenario, lower};
use crate::harness::frames::Frame;

const SECOND: Duration = Duration::from_secs(1);
/// By then every call has come to its end that was begun at first, and so has its like.
const WARM_UP: u64 = 60_000_000_000;

/// One end of a tunnel whose carrier takes everything at once.
pub(super) struct End<R: Role> {
    pub(super) tunnel: Tunnel<R, Growing>,
    pub(super) now: Time,
    /// Whether a handle is released as soon as its stream has ended.
    pub(super) releases: bool,
    lowest: Budgets,
    frames: u64,
    tripped: Option<TunnelReason>,
}

impl<R: Role> End<R> {
    pub(super) fn new(tunnel: Tunnel<R, Growing>) -> Self {
        let mut end = Self {
            lowest: tunnel.budgets(Time::ZERO),
            tunnel,
            now: Time::ZERO,
            releases: true,
            frames: 0,
            tripped: None,
        };
        end.poll();
        end
    }

    /// A frame of the peer's. The key of the stream that it opened, if it did.
    pub(super) fn get(&mut self, frame: &[u8]) -> Option<Key> {
        self.frames += 1;
        let mut opened = None;
        match self.tunnel.handle_frame(self.now, frame) {
            Ok(Input::Opened { stream, .. }) => opened = Some(stream),
            Ok(Input::Ended { stream, .. }) if self.releases => self.release(stream),
            Ok(_) => {}
            Err(error) => {
                self.tripped.get_or_insert(error.reason());
            }
        }
        self.lowest = lower(self.lowest, self.tunnel.budgets(self.now));
        self.poll();
        opened
    }

    /// Drains all frames and events.
    pub(super) fn poll(&mut self) {
        while self.tunnel.poll_transmit(self.now).is_some() {}
        while let Some(event) = self.tunnel.poll_event() {
            if let Event::Ended { stream, .. } = event
                && self.releases
            {
                self.release(stream);
            }
        }
    }

    fn release(&mut self, stream: Key) {
        // Its application may have let go of it before.
        let _ = self.tunnel.release(stream);
    }

    fn passes(&mut self, now: Time) {
        self.now = now;
        self.tunnel.handle_timeout(now);
        self.poll();
    }
}

/// What our end's application does with one of its calls.
pub(super) type Act<R> = fn(&mut End<R>, &mut Option<Key>);

/// One step of a call.
pub(super) enum Step<R: Role> {
    /// The peer sends a frame on the call's stream.
    Peer(Template),
    /// The peer sends a frame on no stream in particular.
    Same(Frame),
    /// The application does something.
    Own(Act<R>),
}

/// The steps of a call, each with the ticks after the call's beginning at which it is due.
pub(super) type Timeline<R> = Vec<(u64, Step<R>)>;

/// The peer sends a frame, so many ticks after the call began.
pub(super) fn peer<R: Role>(delay: u64, frame: impl Into<Frame>) -> (u64, Step<R>) {
    (delay, Step::Peer(Template::new(frame)))
}

/// The application does something, so many ticks after the call began.
pub(super) fn own<R: Role>(delay: u64, act: Act<R>) -> (u64, Step<R>) {
    (delay, Step::Own(act))
}

/// A run: calls that overlap, each at its own step. Call `n` takes the timeline `n` modulo their
/// number.
pub(super) struct Run<R: Role> {
    end: End<R>,
    timelines: Vec<Timeline<R>>,
    /// The keys of the calls that may have steps left, the oldest in front.
    keys: VecDeque<Option<Key>>,
    ticks: u64,
    /// Calls begun.
    calls: u64,
    longest: u64,
}

impl<R: Role> Run<R> {
    pub(super) fn new(end: End<R>, timelines: Vec<Timeline<R>>) -> Self {
        let delays = timelines.iter().flatten().map(|(delay, _)| *delay);
        Self {
            end,
            longest: delays.max().unwrap_or(0),
            timelines,
            keys: VecDeque::new(),
            ticks: 0,
            calls: 0,
        }
    }

    /// One tick: every call that has a step due makes it, and if `begins` a call begins.
    fn tick(&mut self, tick: Duration, begins: bool) {
        self.end.passes(self.end.now.saturating_add(tick));
        self.keys.push_back(None);
        if self.keys.len() as u64 > self.longest + 1 {
            self.keys.pop_front();
        }
        let newest = self.ticks;
        self.ticks += 1;
        self.calls += u64::from(begins);
        let kinds = self.timelines.len() as u64;
        for (kind, timeline) in (0..).zip(&mut self.timelines) {
            for (delay, step) in timeline {
                let Some(call) = newest.checked_sub(*delay).filter(|call| *call < self.calls)
                else {
                    continue;
                };
                if call % kinds != kind {
                    continue;
                }
                let back = usize::try_from(*delay).unwrap_or(usize::MAX);
                let Some(key) = self.keys.iter_mut().rev().nth(back) else {
                    continue;
                };
                match step {
                    Step::Peer(frame) => *key = self.end.get(frame.at(call)).or(*key),
                    Step::Same(frame) => *key = self.end.get(frame).or(*key),
                    Step::Own(act) => act(&mut self.end, key),
                }
                self.end.poll();
            }
        }
    }

    /// Begins `calls` calls, one a tick, and lets each come to its end.
    pub(super) fn play(mut self, scenario: &Scenario, calls: u64) -> Report {
        let tick = scenario.tick;
        // As many calls of each kind in each period, and whole seconds: see the module.
        let kinds = u32::try_from(self.timelines.len()).unwrap_or(u32::MAX);
        let period = tick.max(SECOND).saturating_mul(kinds).as_nanos();
        let mut last: Option<Budgets> = None;
        let (mut falls, mut periods) = (0, 0);
        for _ in 0..calls {
            self.tick(tick, true);
            if self.end.tripped.is_some() {
                break;
            }
            let passed = self.end.now.as_nanos();
            if u128::from(passed) % period != 0 || passed < WARM_UP {
                continue;
            }
            let levels = self.end.tunnel.budgets(self.end.now);
            if let Some(before) = last.replace(levels) {
                periods += 1;
                falls += u64::from(lower(before, levels) != before);
            }
        }
        for _ in 0..=self.longest {
            self.tick(tick, false);
        }
        Report {
            name: scenario.name,
            calls: self.calls,
            frames: self.end.frames,
            lowest: self.end.lowest,
            tripped: self.end.tripped,
            left: self.end.tunnel.streams(),
            falls,
            periods,
        }
    }
}
