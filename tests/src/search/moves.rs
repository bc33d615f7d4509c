//! What can happen in a state.

use core::fmt;
use core::time::Duration;

use grpctunnel_core::{Side, Time};

use super::call::Stage;
use super::scope::{Disturbance, Policy};
use super::state::{State, World, other, tunnel};

/// A step of the application, of the carrier or of the clock; calls by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Move {
    Open(u8),
    Send(Side, u8),
    Provide(Side, u8),
    HalfClose(u8),
    Respond(u8),
    Close(u8),
    /// Everything that may be read, or a single byte.
    Read(Side, u8, bool),
    Release(Side, u8),
    Transmit(Side),
    Deliver(Side),
    Disturb(Disturbance, Side, u8),
}

impl Move {
    /// The end that does it.
    pub(super) const fn side(self) -> Side {
        match self {
            Self::Open(_) | Self::HalfClose(_) => Side::Client,
            Self::Respond(_) | Self::Close(_) => Side::Server,
            Self::Send(side, _)
            | Self::Provide(side, _)
            | Self::Read(side, _, _)
            | Self::Release(side, _)
            | Self::Transmit(side)
            | Self::Deliver(side)
            | Self::Disturb(_, side, _) => side,
        }
    }

    /// Whether a call may depend on it.
    pub(super) const fn is_progress(self) -> bool {
        !matches!(self, Self::Disturb(..))
    }
}

const fn name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Open(call) => write!(f, "client opens call {call}"),
            Self::Send(side, call) => write!(f, "{} sends on call {call}", name(side)),
            Self::Provide(side, call) => write!(f, "{} provides on call {call}", name(side)),
            Self::HalfClose(call) => write!(f, "client half-closes call {call}"),
            Self::Respond(call) => write!(f, "server responds to call {call}"),
            Self::Close(call) => write!(f, "server closes call {call}"),
            Self::Read(side, call, all) => {
                let what = if all { "everything" } else { "a byte" };
                write!(f, "{} reads {what} of call {call}", name(side))
            }
            Self::Release(side, call) => write!(f, "{} releases call {call}", name(side)),
            Self::Transmit(side) => write!(f, "{} transmits", name(side)),
            Self::Deliver(side) => write!(f, "{} takes from the carrier", name(side)),
            Self::Disturb(what, side, call) => match what {
                Disturbance::Time | Disturbance::CarrierFinishes => {
                    write!(f, "{what:?} at the {}", name(side))
                }
                Disturbance::Tick
                | Disturbance::CarrierBreaks
                | Disturbance::ClientDrains
                | Disturbance::ServerDrains => write!(f, "{what:?}"),
                _ => write!(f, "{what:?} of call {call} at the {}", name(side)),
            },
        }
    }
}

/// What [`Disturbance::Tick`] lets pass.
pub(super) const TICK: Duration = Duration::from_millis(1);

const SIDES: [Side; 2] = [Side::Client, Side::Server];

impl State {
    /// Everything that can happen now.
    pub(super) fn moves(&self, world: &World) -> Vec<Move> {
        let mut moves = Vec::with_capacity(16);
        let calls = self.calls.iter().take(world.scope.calls.len());
        let fresh = calls.zip(0..).find(|(call, _)| {
            call.client.stage == Stage::Fresh && call.server.stage == Stage::Fresh
        });
        if let Some((_, call)) = fresh
            && !self.waits
        {
            moves.push(Move::Open(call));
        }
        for side in SIDES {
            for (_, call) in self.calls.iter().zip(0..) {
                self.call_moves(world, side, call, &mut moves);
            }
            self.carrier_moves(world, side, &mut moves);
        }
        if self.left > 0 {
            for what in world.scope.disturbances {
                self.disturbances(world, *what, &mut moves);
            }
        }
        moves
    }

    fn call_moves(&self, world: &World, side: Side, call: u8, moves: &mut Vec<Move>) {
        let half = self.half(side, usize::from(call));
        if half.stage == Stage::Ended {
            moves.push(Move::Release(side, call));
        }
        if half.stage != Stage::Live || half.released {
            return;
        }
        let readable = self.readable(world, side, usize::from(call));
        if readable > 0 {
            moves.push(Move::Read(side, call, true));
        }
        if readable > 1 && world.scope.single_bytes {
            moves.push(Move::Read(side, call, false));
        }
        if half.closed {
            return;
        }
        let said_all = usize::from(half.begun) == world.script(side, usize::from(call)).len();
        if !said_all && !half.writing {
            moves.push(Move::Send(side, call));
        }
        if half.rest > 0 {
            moves.push(Move::Provide(side, call));
        }
        match side {
            Side::Client if said_all && half.rest == 0 => moves.push(Move::HalfClose(call)),
            Side::Client => {}
            Side::Server => {
                if world.scope.headers && !half.responded && half.begun == 0 {
                    moves.push(Move::Respond(call));
                }
                let heard_all = half.peer_closed && half.held == 0;
                if said_all && half.rest == 0 && heard_all {
                    moves.push(Move::Close(call));
                }
            }
        }
    }

    /// Bytes that the reader takes now, if it is its turn.
    pub(super) fn readable(&self, world: &World, side: Side, call: usize) -> u32 {
        let half = self.half(side, call);
        match world.scope.policy {
            Policy::WholeMessages => half.held.saturating_sub(half.tail),
            Policy::AtLeast(bytes) if half.held < bytes && half.tail > 0 => 0,
            Policy::FirstReadsLast if side == Side::Client && call == 0 => {
                let mut others = self.calls.iter().take(world.scope.calls.len()).skip(1);
                if others.all(|call| matches!(call.client.stage, Stage::Ended | Stage::Over)) {
                    half.held
                } else {
                    0
                }
            }
            _ => half.held,
        }
    }

    fn carrier_moves(&self, world: &World, side: Side, moves: &mut Vec<Move>) {
        let out = self.towards(other(side));
        let full = out.items.len() >= world.scope.link;
        let wants_transmit = tunnel!(ref self, side, tunnel => tunnel.wants_transmit());
        if wants_transmit && !full && !out.over {
            moves.push(Move::Transmit(side));
        }
        let stops = world.scope.policy == Policy::StopWhenFull && full;
        let wants_read = tunnel!(ref self, side, tunnel => tunnel.wants_read());
        if !self.towards(side).items.is_empty() && wants_read && !stops {
            moves.push(Move::Deliver(side));
        }
    }

    /// When an end's next timer fires.
    pub(super) fn timer(&self, side: Side) -> Time {
        tunnel!(ref self, side, tunnel => tunnel.poll_timeout()).unwrap_or(Time::MAX)
    }

    fn disturbances(&self, world: &World, what: Disturbance, moves: &mut Vec<Move>) {
        for side in SIDES {
            let of_tunnel = match what {
                Disturbance::Time => {
                    let timer = self.timer(side);
                    timer != Time::MAX && timer <= self.timer(other(side))
                }
                Disturbance::Tick => {
                    let next = self.now.saturating_add(TICK);
                    side == Side::Client && SIDES.iter().all(|side| self.timer(*side) > next)
                }
                Disturbance::CarrierFinishes => !self.towards(side).over,
                Disturbance::CarrierBreaks => {
                    side == Side::Client && !self.to_client.over && !self.to_server.over
                }
                Disturbance::ClientDrains => side == Side::Client && !self.client.is_draining(),
                Disturbance::ServerDrains => side == Side::Server && !self.server.is_draining(),
                _ => false,
            };
            if of_tunnel {
                moves.push(Move::Disturb(what, side, 0));
            }
            for call in 0..world.scope.calls.len() {
                let half = self.half(side, call);
                let of_call = match (what, side) {
                    (Disturbance::Cancel, Side::Client) | (Disturbance::Drop, _) => true,
                    (Disturbance::Fail, Side::Server) => !half.closed,
                    (Disturbance::CloseEarly, Side::Server) => !half.closed && half.rest == 0,
                    (Disturbance::StopReading, _) => !half.stopped,
                    _ => false,
                };
                if of_call && half.stage == Stage::Live && !half.released {
                    let call = u8::try_from(call).unwrap_or(u8::MAX);
                    moves.push(Move::Disturb(what, side, call));
                }
            }
        }
    }
}
