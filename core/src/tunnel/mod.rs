//! One end of a tunnel: the state machine.

mod client;
mod drain;
mod end;
mod event;
mod extensions;
#[cfg(feature = "search")]
mod fingerprint;
mod growth;
mod handshake;
mod ids;
mod liveness;
mod memory;
mod notices;
mod payload;
mod receive;
mod refusals;
mod revision_zero;
mod server;
mod stream;
mod stream_end;
mod timeout;
mod transmit;
mod view;

use core::fmt;
use core::marker::PhantomData;

use crate::budget::Budget;
use crate::code::Side;
use crate::error::{ConfigError, TunnelError};
use crate::length::exceeds;
use crate::limits::{Budgets, Limits};
use crate::reason::TunnelReason;
use crate::storage::Storage;
use crate::streams::Streams;
use crate::time::Time;
use crate::types::{Config, Counters, Input, Negotiation, Opening};
use crate::wire::{Revision, read_data};
use drain::DrainState;
use growth::Growth;
use handshake::Handshake;
use ids::Ids;
use liveness::LivenessState;
pub use memory::MemoryBound;
use notices::Notices;
use payload::Refused;
use refusals::Refusals;
use revision_zero::RevisionZero;
pub use stream::StreamMut;
pub use view::StreamRef;

/// Which end of a tunnel a [`Tunnel`] is.
pub trait Role: sealed::Role {}

/// The end that starts the calls; see [`TunnelClient`].
#[derive(Clone, Copy, Debug)]
pub enum Client {}

/// The end that handles the calls; see [`TunnelServer`].
#[derive(Clone, Copy, Debug)]
pub enum Server {}

impl Role for Client {}
impl Role for Server {}

pub(crate) mod sealed {
    use super::{Client, Input, Server, Side, Storage, Time, Tunnel};
    use crate::reason::TunnelReason;

    pub trait Role: Sized {
        const SIDE: Side;

        /// Takes in one frame of the other end. An error ends the tunnel.
        fn receive<'f, S: Storage>(
            tunnel: &mut Tunnel<Self, S>,
            now: Time,
            frame: &'f [u8],
        ) -> Result<Input<'f>, TunnelReason>
        where
            Self: super::Role;
    }

    impl Role for Client {
        const SIDE: Side = Side::Client;

        fn receive<'f, S: Storage>(
            tunnel: &mut Tunnel<Self, S>,
            now: Time,
            frame: &'f [u8],
        ) -> Result<Input<'f>, TunnelReason> {
            tunnel.receive_from_server(now, frame)
        }
    }

    impl Role for Server {
        const SIDE: Side = Side::Server;

        fn receive<'f, S: Storage>(
            tunnel: &mut Tunnel<Self, S>,
            now: Time,
            frame: &'f [u8],
        ) -> Result<Input<'f>, TunnelReason> {
            tunnel.receive_from_client(now, frame)
        }
    }
}

/// How far the tunnel has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Response headers are outstanding.
    Opening,
    /// Settings are outstanding.
    Settling,
    /// Frames go both ways.
    Open,
    /// This end has finished, the other not yet.
    Finished,
    /// Over.
    Ended,
}

/// One end of a tunnel: `R` says which, `S` where its streams are kept.
///
/// Feed it with `handle_*`, take what is to be done from `poll_*`, command it with the plain
/// verbs. After anything that was fed or commanded, poll until there is nothing more. No call
/// blocks, panics, reads a clock or does IO. A clone goes its own way from then on: for searches
/// and for tests of what might happen.
#[derive(Clone)]
pub struct Tunnel<R: Role, S: Storage> {
    limits: Limits,
    phase: Phase,
    phase_until: Time,
    /// No timer fires before this, so most calls look at no other; to be set to zero where one may
    /// fire earlier.
    no_timer_before: Time,
    /// Whether a frame about the tunnel may have to be sent, ahead of those of streams.
    urgent: bool,
    /// `open` was refused, and may be called again once a stream retires.
    may_open_wanted: bool,
    handshake: Handshake,
    ids: Ids,
    streams: Streams<S>,
    refusals: Refusals<S>,
    growth: Growth,
    revision_zero: RevisionZero,
    budget: Budget,
    liveness: LivenessState,
    drain: DrainState,
    notices: Notices,
    counters: Counters,
    error: Option<TunnelError>,
    role: PhantomData<R>,
}

/// The end that starts the calls.
pub type TunnelClient<S> = Tunnel<Client, S>;

/// The end that handles the calls.
pub type TunnelServer<S> = Tunnel<Server, S>;

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Bytes that the core keeps of one stream: its record (112), and its places in the list of ids
    /// (12) and in that of timers (4).
    pub const STREAM_BYTES: usize = memory::RECORD;

    /// One end of a tunnel whose carrier is opened, or was accepted, at `now`.
    ///
    /// # Errors
    /// A setting is out of its range; see [`Config::validate`].
    pub fn new(now: Time, config: Config, opening: Opening) -> Result<Self, ConfigError> {
        config.validate()?;
        let budget = Budget::new(&config.limits, now);
        let mut tunnel = Self {
            phase: Phase::Opening,
            phase_until: now.saturating_add(config.limits.open_timeout),
            no_timer_before: Time::ZERO,
            urgent: false,
            may_open_wanted: false,
            handshake: Handshake::new(config.flow_control, config.extensions),
            ids: match R::SIDE {
                Side::Client => Ids::of_client(config.first_stream_id),
                Side::Server => Ids::of_server(),
            },
            streams: Streams::new(),
            refusals: Refusals::new(),
            growth: Growth::default(),
            revision_zero: RevisionZero::default(),
            budget,
            liveness: LivenessState::new(now),
            drain: DrainState::new(),
            notices: Notices::default(),
            counters: Counters::default(),
            error: None,
            limits: config.limits,
            role: PhantomData,
        };
        match opening {
            Opening::Requested => {}
            Opening::RequestedFromOld => tunnel.negotiate(now, Negotiation::Off),
            Opening::Accepted(negotiation) => tunnel.negotiate(now, negotiation),
        }
        Ok(tunnel)
    }

    /// The response headers of the carrier came; only after [`Opening::Requested`].
    pub fn handle_opened(&mut self, now: Time, negotiation: Negotiation) {
        self.handle_timeout(now);
        if self.phase == Phase::Opening {
            self.negotiate(now, negotiation);
        }
    }

    fn negotiate(&mut self, now: Time, negotiation: Negotiation) {
        self.handshake
            .negotiate(negotiation, R::SIDE == Side::Server);
        self.no_timer_before = Time::ZERO;
        match (R::SIDE, negotiation) {
            (Side::Client, Negotiation::On) => {
                self.phase = Phase::Settling;
                self.phase_until = now.saturating_add(self.limits.settings_timeout);
            }
            (Side::Client, Negotiation::Off) => self.settle(now, Revision::Zero, 0),
            (Side::Server, _) => {
                self.urgent = self.handshake.is_due();
                self.phase = Phase::Open;
                self.phase_until = Time::MAX;
                self.liveness.start(now);
            }
        }
    }

    fn settle(&mut self, now: Time, revision: Revision, peer_window: u32) {
        self.liveness.start(now);
        self.no_timer_before = Time::ZERO;
        self.handshake.settle(revision, peer_window);
        self.revision_zero.saw(revision);
        self.phase = Phase::Open;
        self.phase_until = Time::MAX;
        self.notices.settled(revision);
        self.notices.may_open();
    }

    /// Takes in one frame: the bytes of a `ClientToServer` at a tunnel server, of a
    /// `ServerToClient` at a tunnel client, without the length prefix.
    ///
    /// # Errors
    /// The tunnel has ended, because of this frame or before; the first error is returned again.
    /// Every stream has its terminal event waiting in `poll_event`.
    pub fn handle_frame<'f>(
        &mut self,
        now: Time,
        frame: &'f [u8],
    ) -> Result<Input<'f>, TunnelError> {
        // A frame proves that the peer lives, however late its answer is.
        self.note_received(now);
        self.handle_timeout(now);
        if self.phase != Phase::Open || exceeds(frame.len(), self.limits.max_frame) {
            return self.handle_odd_frame(now, frame);
        }
        self.growth.frame_came(now);
        // The frames of which there are most, the same at both ends.
        if let Some((id, data)) = read_data(frame) {
            let bytes = data.payload();
            return match self.receive_data(now, id, data) {
                Ok(Some(payload)) => Ok(payload.into_input(bytes)),
                Ok(None) => Ok(Input::Ignored),
                Err(refused) => self.refuse(now, refused),
            };
        }
        R::receive(self, now, frame).map_err(|reason| self.end_with_error(reason))
    }

    #[cold]
    fn refuse<'f>(&mut self, now: Time, refused: Refused) -> Result<Input<'f>, TunnelError> {
        let refused = match refused {
            Refused::Stream(slot, reason) => self.violate(now, slot, reason),
            Refused::Tunnel(reason) => Err(reason),
        };
        refused.map_err(|reason| self.end_with_error(reason))
    }

    /// A frame of a tunnel that is not open, yet or any more, or one that is too large.
    #[cold]
    fn handle_odd_frame<'f>(
        &mut self,
        now: Time,
        frame: &'f [u8],
    ) -> Result<Input<'f>, TunnelError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.is_ended() {
            return Ok(Input::Ignored);
        }
        if exceeds(frame.len(), self.limits.max_frame) {
            return Err(self.end_with_error(TunnelReason::FrameTooLarge));
        }
        R::receive(self, now, frame).map_err(|reason| self.end_with_error(reason))
    }

    /// Whether the tunnel may carry calls: the client is settled, the server answered.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the tunnel is over, or this end has finished it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Finished | Phase::Ended)
    }

    /// Whether the tunnel drains: no new streams.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.drain.began()
    }

    /// The error that ended the tunnel, if one did.
    #[must_use]
    pub const fn error(&self) -> Option<&TunnelError> {
        self.error.as_ref()
    }

    /// The revision that this tunnel client uses, once it is settled.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        let settled = match self.phase {
            Phase::Open => true,
            // Drained before it was settled, it has an error.
            Phase::Finished => self.error.is_none(),
            Phase::Opening | Phase::Settling | Phase::Ended => false,
        };
        (R::SIDE == Side::Client && settled).then_some(self.handshake.revision())
    }

    /// All bounds in force.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Streams that have not ended.
    #[must_use]
    pub const fn active_streams(&self) -> usize {
        self.streams.active() as usize
    }

    /// Streams that are not retired: not ended, or not released, or with something to say.
    #[must_use]
    pub const fn streams(&self) -> usize {
        self.streams.len() as usize
    }

    /// Streams that can be opened now, by this end or its peer: none before the tunnel is open, while
    /// it drains and once all ids were used.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.phase != Phase::Open || self.drain.began() {
            return 0;
        }
        let ids = match R::SIDE {
            Side::Client => self.ids.left(self.streams.unsent()),
            Side::Server => u32::MAX,
        };
        let room = self.limits.max_streams.saturating_sub(self.streams.len());
        room.min(ids) as usize
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What the peer has left of its budgets at `now`.
    #[must_use]
    pub fn budgets(&self, now: Time) -> Budgets {
        self.budget.levels(now, self.refusals.len())
    }
}

impl<R: Role, S: Storage> fmt::Debug for Tunnel<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("side", &R::SIDE)
            .field("phase", &self.phase)
            .field("active", &self.streams.active())
            .field("draining", &self.drain.began())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
