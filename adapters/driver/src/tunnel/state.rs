//! The state of one end of a tunnel, under its lock.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use grpctunnel_core::wire::Revision;
use grpctunnel_core::{
    Carrier, CommandError, ConfigError, End, Event, Growing, Key, Negotiation, Opening, Role, Side,
    Time, Tunnel, Unread,
};

use crate::body::batch::Batch;
use crate::body::send_queue::SendQueue;
use crate::budget::BudgetShare;
use crate::carrier::abort::CarrierAbort;
use crate::deferred::Deferred;
use crate::error::{CarrierEnd, TunnelEnd};
use crate::grpc::status::Status;
use crate::options::Options;
use crate::telemetry;
use crate::tunnel::call_end::CallEnd;
use crate::tunnel::drain_timeout::DrainTimeout;
use crate::tunnel::published::TunnelState;
use crate::tunnel::silence::Silence;
use crate::tunnel::stream::{Finish, Streams};
use crate::tunnel::waiting_calls::WaitingCalls;
use crate::watchers::Watchers;

/// A timer that runs this long after it was due tells of a process that did not run.
const OVERSLEPT: Duration = Duration::from_secs(5);

/// What a tunnel client and a tunnel server do differently beside the core.
pub(crate) trait TunnelRole: Role + Sized + Send + 'static {
    /// Which side it is.
    const OWN_SIDE: Side;

    /// Tells the core what follows the last message of a stream.
    fn finish(state: &mut State<Self>, stream: Key, finish: Finish) -> Result<(), CommandError>;

    /// Ends a stream because of a mistake on this side.
    fn fail_stream(state: &mut State<Self>, stream: Key, status: Status, deferred: &mut Deferred);

    /// Called when calls that wait may be opened, or must fail.
    fn may_open(_state: &mut State<Self>, _deferred: &mut Deferred) {}

    /// Called when the core has ended a stream.
    fn stream_ended(state: &mut State<Self>, stream: Key, deferred: &mut Deferred);
}

/// The sending direction of the carrier.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Frames that were gathered and not handed out.
    pub(crate) batch: Batch,
    /// The task that sends them.
    pub(crate) waker: Option<Waker>,
    /// That task found nothing to send, and waits.
    pub(crate) parked: bool,
    /// The body that sends was dropped or is at its end.
    pub(crate) closed: bool,
    /// When that task last polled, or was woken because there was something to send.
    pub(crate) last_polled: Time,
    /// Tells the HTTP stack of an abort, where it does not ask that task.
    pub(crate) abort: CarrierAbort,
}

/// One end of a tunnel.
#[derive(Debug)]
pub(crate) struct State<R: TunnelRole> {
    pub(crate) tunnel: Tunnel<R, Growing>,
    pub(crate) streams: Streams,
    pub(crate) options: Arc<Options>,
    /// What waits to be sent on all streams.
    pub(crate) queue: SendQueue,
    /// By how much receive windows have grown.
    growth: BudgetShare,
    /// The time of the last update that read the clock.
    pub(crate) now: Time,
    pub(crate) outgoing: Outgoing,
    /// How to end the carrier, once the core has decided it.
    pub(crate) carrier: Option<Carrier>,
    /// What the peer is told as the carrier is finished, if it is not OK. For a network server.
    pub(crate) finish_status: Option<Status>,
    /// The task that reads the carrier and keeps the time.
    pub(crate) driver: Option<Waker>,
    /// When that task wakes by itself.
    pub(crate) wakes_at: Time,
    /// Whether it waits until the core wants to read again.
    pub(crate) paused: bool,
    /// At a tunnel client: settled. At a tunnel server: the peer answered the opening.
    pub(crate) started: bool,
    /// Both ends said in the opening that they negotiate.
    pub(crate) negotiated: bool,
    /// What was reported as the carrier ended.
    pub(crate) carrier_end: CarrierEnd,
    pub(crate) drain_timeout: DrainTimeout,
    /// The carrier must not be finished yet.
    pub(crate) finish_held: bool,
    pub(crate) silence: Silence,
    pub(crate) end: Option<TunnelEnd>,
    /// Tasks that wait for `started`, a drain or `end`.
    pub(crate) watchers: Watchers,
    /// Tasks that wait until the tunnel takes calls at once.
    pub(crate) ready_watchers: Watchers,
    /// At a tunnel client: calls that wait to be opened.
    pub(crate) waiting_calls: WaitingCalls,
    /// Metadata values and status details that were dropped because they cannot be sent.
    pub(crate) dropped: u64,
}

impl<R: TunnelRole> State<R> {
    pub(crate) fn new(options: Arc<Options>, opening: Opening) -> Result<Self, ConfigError> {
        let now = Time::ZERO;
        let tunnel = Tunnel::<R, Growing>::new(now, options.config(), opening)?;
        Ok(Self {
            // A tunnel client says when it has started.
            started: R::OWN_SIDE == Side::Server && tunnel.is_open(),
            negotiated: matches!(opening, Opening::Accepted(Negotiation::On)),
            tunnel,
            streams: Streams::default(),
            growth: BudgetShare::grown(options.budget.clone()),
            queue: SendQueue::new(options.budget.clone()),
            options,
            now,
            outgoing: Outgoing {
                batch: Batch::default(),
                waker: None,
                parked: false,
                closed: false,
                last_polled: now,
                abort: CarrierAbort::default(),
            },
            carrier: None,
            finish_status: None,
            driver: None,
            wakes_at: Time::MAX,
            paused: false,
            carrier_end: CarrierEnd::default(),
            drain_timeout: DrainTimeout::None,
            finish_held: false,
            silence: Silence::None,
            end: None,
            watchers: Watchers::default(),
            ready_watchers: Watchers::default(),
            waiting_calls: WaitingCalls::default(),
            dropped: 0,
        })
    }

    /// Advances the clock to `now`; it never goes back.
    pub(crate) fn advance_clock(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Must be called at the beginning of every update under the lock: windows grow as far as the
    /// budget goes that this tunnel shares with others.
    pub(crate) fn begin_update(&mut self) {
        if let Some(budget) = self.growth.budget() {
            let room = u64::try_from(budget.room_to_grow()).unwrap_or(u64::MAX);
            let grown = self.tunnel.receive_growth();
            self.tunnel.limit_growth(grown.saturating_add(room));
        }
    }

    /// Must be called at the end of every update under the lock: handles the core's events and
    /// wakes the tasks that they concern. `clock` is read only where the time counts.
    pub(crate) fn finish_update(&mut self, clock: impl FnOnce() -> Time, deferred: &mut Deferred) {
        self.handle_events(deferred);
        if self.growth.budget().is_some() {
            let grown = self.tunnel.receive_growth();
            self.growth
                .set(usize::try_from(grown).unwrap_or(usize::MAX));
        }
        if !self.ready_watchers.is_empty() {
            let state = TunnelState::of(self);
            if state.takes_calls() || !state.is_usable() {
                self.ready_watchers.wake(deferred);
            }
        }
        if self.outgoing.parked && (self.carrier.is_some() || self.tunnel.wants_transmit()) {
            // While there was nothing to send the carrier did not stall.
            self.advance_clock(clock());
            self.outgoing.last_polled = self.now;
            self.outgoing.parked = false;
            deferred.wake(&mut self.outgoing.waker);
        }
        let resumed = self.paused && self.tunnel.wants_read();
        if resumed || self.is_over() || self.next_timeout() < self.wakes_at {
            deferred.wake(&mut self.driver);
        }
    }

    /// Whether the tunnel has ended with an error, so that nothing more is read from the carrier.
    pub(crate) fn is_over(&self) -> bool {
        self.tunnel.is_ended() && self.tunnel.error().is_some()
    }

    /// When the next timeout of the tunnel is due.
    pub(crate) fn next_timeout(&self) -> Time {
        let core = self.tunnel.poll_timeout().unwrap_or(Time::MAX);
        let own = self.stall_timeout().min(self.drain_due());
        core.min(own).min(self.silence_due())
    }

    /// When the carrier counts as stalled, unless it asks for more to send before.
    pub(crate) fn stall_timeout(&self) -> Time {
        if self.outgoing.parked || self.outgoing.closed || self.carrier.is_some() {
            return Time::MAX;
        }
        let limit = if self.is_revision_zero() {
            self.options.stall_revision_zero
        } else {
            self.options.stall
        };
        self.outgoing.last_polled.saturating_add(limit)
    }

    /// Whether this end itself slept past `due`, a time that is noticed only now: its process was
    /// stopped, or its machine. Then the carrier has not had its time yet.
    pub(crate) fn slept_since(&self, due: Time) -> bool {
        due.saturating_add(OVERSLEPT) < self.now
    }

    /// Whether every call of the tunnel is of revision zero.
    fn is_revision_zero(&self) -> bool {
        match R::OWN_SIDE {
            Side::Client => self.tunnel.revision() == Some(Revision::Zero),
            Side::Server => !(self.negotiated && self.options.flow_control),
        }
    }

    /// Handles the events of the core. Returns whether there were any.
    pub(crate) fn handle_events(&mut self, deferred: &mut Deferred) -> bool {
        let mut any = false;
        while let Some(event) = self.tunnel.poll_event() {
            any = true;
            match event {
                Event::Settled(_) => self.set_started(deferred),
                Event::MayOpen => R::may_open(self, deferred),
                Event::Writable(stream) => self.writable(stream, deferred),
                Event::Ended {
                    stream,
                    why,
                    unread,
                } => self.end_stream(stream, &why, unread, deferred),
                Event::Draining => self.set_draining(deferred),
                Event::RoundTrip(time) => telemetry::round_trip(R::OWN_SIDE, time),
                Event::Carrier(carrier) => {
                    self.carrier = Some(carrier);
                    R::may_open(self, deferred);
                }
                _ => {}
            }
        }
        any
    }

    /// Says whether the carrier must not be finished yet, since another tunnel needs it.
    pub(crate) fn hold_finish(&mut self, hold: bool) {
        self.finish_held = hold;
        self.tunnel.hold_finish(hold);
    }

    /// Marks the tunnel as open for calls.
    pub(crate) fn set_started(&mut self, deferred: &mut Deferred) {
        self.started = true;
        self.watchers.wake(deferred);
    }

    /// Tells everybody who waits that the tunnel takes no new calls.
    pub(crate) fn set_draining(&mut self, deferred: &mut Deferred) {
        self.watchers.wake(deferred);
        R::may_open(self, deferred);
    }

    fn writable(&mut self, stream: Key, deferred: &mut Deferred) {
        if let Some(entry) = self.streams.get(stream) {
            entry.outbox.sent();
            self.feed(stream, deferred);
        }
        // Messages without bytes pass no other place where room is offered.
        if let Some(entry) = self.streams.get(stream) {
            entry.offer_room(&self.options, deferred);
        }
    }

    /// Tells the core what the stream has to send next.
    pub(crate) fn feed(&mut self, stream: Key, deferred: &mut Deferred) {
        let Some(entry) = self.streams.get(stream) else {
            return;
        };
        if entry.end.is_some() {
            return;
        }
        let mut fed = entry.outbox.feed(&mut self.tunnel, stream);
        if fed.is_ok()
            && entry.outbox.is_fed()
            && let Some(finish) = entry.finish.take()
        {
            fed = R::finish(self, stream, finish);
        }
        match fed {
            // Its end is among the events.
            Ok(()) | Err(CommandError::Gone) => {}
            Err(error) => R::fail_stream(
                self,
                stream,
                Status::new(error.code(), error.to_string()),
                deferred,
            ),
        }
    }

    /// How the tunnel ended, as far as it is known.
    pub(crate) fn tunnel_end(&self) -> TunnelEnd {
        TunnelEnd {
            error: self.tunnel.error().cloned(),
            carrier: self.carrier_end.clone(),
        }
    }

    /// Notes the end of a stream that the core has ended.
    pub(crate) fn end_stream(
        &mut self,
        stream: Key,
        why: &End<'_>,
        unread: Unread,
        deferred: &mut Deferred,
    ) {
        let mut end = CallEnd::reported(why, R::OWN_SIDE, self.read_options(), &self.carrier_end);
        if matches!(why, End::TunnelLost { .. }) && self.tunnel.error().is_some() {
            end = end.with_tunnel_end(Some(Arc::new(self.tunnel_end())));
        }
        if let Some(entry) = self.streams.get(stream) {
            entry.set_end(end, unread, deferred);
        }
        R::stream_ended(self, stream, deferred);
    }
}
