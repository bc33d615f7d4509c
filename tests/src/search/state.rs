//! One state of the whole: two tunnels, the carrier between them and what is done on top.

use core::hash::Hash;
use std::rc::Rc;

use grpctunnel_core::wire::{HeadOptions, StatusHead, encode_close, encode_headers, encode_open};
use grpctunnel_core::{
    Carrier, Cause, End, Event, Fixed, Key, Negotiation, Opening, Side, Time, TunnelClient,
    TunnelServer,
};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::call::{Call, Half, Stage};
use super::link::{Item, Link};
use super::scope::{CALLS, Scope};

type Store = Fixed<CALLS, 4>;

/// What does not hold, in words.
pub(super) type Check = Result<(), String>;

/// The other end.
pub(super) const fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

/// What stays as it is during a search.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) scope: Scope,
    pub(super) open: Vec<u8>,
    pub(super) headers: Vec<u8>,
    pub(super) close_ok: Vec<u8>,
    pub(super) close_error: Vec<u8>,
}

impl World {
    pub(super) fn new(scope: &Scope) -> Self {
        let options = HeadOptions::default();
        let none = core::iter::empty::<(&str, &[u8])>();
        let mut world = Self {
            scope: scope.clone(),
            open: Vec::new(),
            headers: Vec::new(),
            close_ok: Vec::new(),
            close_error: Vec::new(),
        };
        let error = StatusHead {
            code: ERROR,
            ..StatusHead::default()
        };
        // A vector takes everything, and these heads are far below the limits.
        let _ = encode_open(&mut world.open, "s/m", none.clone(), &options);
        let _ = encode_headers(&mut world.headers, none.clone(), &options);
        let ok = StatusHead::default();
        let _ = encode_close(&mut world.close_ok, ok, none.clone(), &options);
        let _ = encode_close(&mut world.close_error, error, none, &options);
        world
    }

    /// The head of a `close_stream`.
    pub(super) fn close_head(&self, ok: bool) -> &[u8] {
        if ok {
            &self.close_ok
        } else {
            &self.close_error
        }
    }

    /// The receive window with which a call begins at this end.
    pub(super) const fn window(&self, side: Side) -> u32 {
        match side {
            Side::Client => self.scope.windows.0,
            Side::Server => self.scope.windows.1,
        }
    }

    /// The sizes of what this end sends on a call.
    pub(super) fn script(&self, side: Side, call: usize) -> &'static [u32] {
        match (self.scope.calls.get(call), side) {
            (Some((requests, _)), Side::Client) => requests,
            (Some((_, responses)), Side::Server) => responses,
            (None, _) => &[],
        }
    }
}

/// The code that a handler closes with when it fails: ABORTED, which the core never uses.
const ERROR: i32 = 10;

/// Calls a method of the tunnel on one side.
macro_rules! tunnel {
    ($state:expr, $side:expr, $tunnel:ident => $call:expr) => {
        match $side {
            Side::Client => {
                let $tunnel = std::rc::Rc::make_mut(&mut $state.client);
                $call
            }
            Side::Server => {
                let $tunnel = std::rc::Rc::make_mut(&mut $state.server);
                $call
            }
        }
    };
    (ref $state:expr, $side:expr, $tunnel:ident => $call:expr) => {
        match $side {
            Side::Client => {
                let $tunnel = &*$state.client;
                $call
            }
            Side::Server => {
                let $tunnel = &*$state.server;
                $call
            }
        }
    };
}
pub(super) use tunnel;

/// One state. A copy shares the tunnels that did not change since.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) now: Time,
    pub(super) client: Rc<TunnelClient<Store>>,
    pub(super) server: Rc<TunnelServer<Store>>,
    pub(super) calls: [Call; CALLS],
    pub(super) to_client: Link,
    pub(super) to_server: Link,
    /// Disturbances that may still happen.
    pub(super) left: u8,
    /// The client waits for `MayOpen`.
    pub(super) waits: bool,
    /// A drain was asked for.
    pub(super) drains: bool,
    /// The id after the highest on the wire.
    pub(super) base: i64,
    /// The last instruction for the carrier at the client and at the server. It follows from whether the
    /// tunnels have ended, so no fingerprint needs it.
    requests: (CarrierRequest, CarrierRequest),
}

/// An end's last instruction for its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CarrierRequest {
    None,
    Finish,
    Abort,
}

impl State {
    pub(super) fn first(world: &World) -> Self {
        let scope = &world.scope;
        let now = Time::ZERO;
        let accepted = Opening::Accepted(Negotiation::On);
        let (client, server) = if scope.reverse {
            (accepted, Opening::Requested)
        } else {
            (Opening::Requested, accepted)
        };
        let mut state = Self {
            now,
            client: Rc::new(crate::harness::tunnel(now, scope.config(true), client)),
            server: Rc::new(crate::harness::tunnel(now, scope.config(false), server)),
            calls: [Call::default(); CALLS],
            to_client: Link::default(),
            to_server: Link::default(),
            left: scope.at_most,
            waits: false,
            drains: false,
            base: 1,
            requests: (CarrierRequest::None, CarrierRequest::None),
        };
        let opener = if scope.reverse {
            Side::Server
        } else {
            Side::Client
        };
        state.to(opener).put(Item::Opened(Negotiation::On));
        state
    }

    pub(super) fn half(&self, side: Side, call: usize) -> Half {
        self.calls
            .get(call)
            .map_or_else(Half::default, |call| *call.half(side))
    }

    pub(super) fn half_mut(&mut self, side: Side, call: usize) -> Option<&mut Half> {
        Some(self.calls.get_mut(call)?.half_mut(side))
    }

    /// The direction towards an end.
    pub(super) const fn to(&mut self, side: Side) -> &mut Link {
        match side {
            Side::Client => &mut self.to_client,
            Side::Server => &mut self.to_server,
        }
    }

    pub(super) const fn towards(&self, side: Side) -> &Link {
        match side {
            Side::Client => &self.to_client,
            Side::Server => &self.to_server,
        }
    }

    pub(super) fn by_key(&self, side: Side, key: Key) -> Option<usize> {
        self.calls
            .iter()
            .position(|call| call.half(side).key == Some(key))
    }

    /// Everything that decides the future, in 128 bits. Among 10^8 states a collision is a
    /// matter of one in 10^22.
    pub(super) fn fingerprint(&self, world: &World) -> u128 {
        let mut hasher = SipHasher13::new();
        if world.scope.grown > 0 {
            // What is measured of the link has points in time.
            self.now.as_nanos().hash(&mut hasher);
        }
        self.client.fingerprint(self.now, &mut hasher);
        self.server.fingerprint(self.now, &mut hasher);
        for call in &self.calls {
            call.fingerprint(self.base, &mut hasher);
        }
        self.to_client.fingerprint(self.base, &mut hasher);
        self.to_server.fingerprint(self.base, &mut hasher);
        (self.left, self.waits, self.drains).hash(&mut hasher);
        hasher.finish128().as_u128()
    }

    /// Whether all streams are finished, and the tunnel too if it was to be.
    pub(super) fn is_finished(&self, world: &World) -> bool {
        let calls = world.scope.calls.len();
        let over = |call: &Call| {
            let client = match call.client.stage {
                Stage::Over => true,
                Stage::Fresh => world.scope.again && !self.waits,
                Stage::Live | Stage::Ended => false,
            };
            client && matches!(call.server.stage, Stage::Fresh | Stage::Over)
        };
        let ending = self.drains || self.client.is_ended() || self.server.is_ended();
        let ended = self.client.is_ended() && self.server.is_ended();
        self.calls.iter().take(calls).all(over)
            && self.client.streams() == 0
            && self.server.streams() == 0
            && self.to_client.items.is_empty()
            && self.to_server.items.is_empty()
            && (!ending || ended)
    }

    /// Whether a receive window is larger than it began.
    pub(super) fn has_grown_windows(&self, world: &World) -> bool {
        [Side::Client, Side::Server].into_iter().any(|side| {
            let initial = world.window(side);
            (0..CALLS).any(|call| {
                let key = self.half(side, call).key;
                let window = key.and_then(
                    |key| tunnel!(ref self, side, tunnel => tunnel.inspect(key)?.receive_window()),
                );
                window.is_some_and(|window| window > initial)
            })
        })
    }

    /// Polls the events of an end, as after everything that is done to it.
    pub(super) fn poll_events(&mut self, world: &World, side: Side) -> Check {
        while let Some(event) = tunnel!(self, side, tunnel => tunnel.poll_event()) {
            self.check_event(side, &event)?;
            match event {
                Event::Settled(_) | Event::RoundTrip(_) | Event::Responsive(_) => {}
                Event::Draining => {
                    self.drains = true;
                    self.waits = false;
                }
                Event::MayOpen => self.waits = false,
                Event::Writable(key) => {
                    let call = self.by_key(side, key).ok_or("an event for no call")?;
                    if let Some(half) = self.half_mut(side, call) {
                        if !half.writing || half.rest > 0 {
                            return Err("Writable, and no message was to leave".into());
                        }
                        half.writing = false;
                    }
                }
                Event::Ended { stream, why, .. } => self.end(world, side, stream, why)?,
                Event::Carrier(Carrier::Finish) => {
                    self.waits &= side == Side::Server;
                    self.to(other(side)).put(Item::End(Cause::Finished));
                }
                Event::Carrier(Carrier::Abort(_)) => {
                    self.waits &= side == Side::Server;
                    self.break_off(side);
                }
                other => return Err(format!("an event that nobody asked for: {other:?}")),
            }
        }
        Ok(())
    }

    /// After the end of a tunnel nothing is reported, but that a carrier is given up that was to
    /// be finished.
    fn check_event(&mut self, side: Side, event: &Event) -> Check {
        let last = match side {
            Side::Client => &mut self.requests.0,
            Side::Server => &mut self.requests.1,
        };
        let next = match event {
            Event::Carrier(Carrier::Finish) => CarrierRequest::Finish,
            Event::Carrier(Carrier::Abort(_)) => CarrierRequest::Abort,
            _ => CarrierRequest::None,
        };
        if *last != CarrierRequest::None && next <= *last {
            return Err(format!("after the end of the tunnel: {event:?}"));
        }
        *last = next;
        Ok(())
    }

    /// This end has given the carrier up.
    pub(super) fn break_off(&mut self, side: Side) {
        self.to(other(side)).cut();
        let own = self.to(side);
        own.items.clear();
        own.over = true;
    }

    /// The terminal event of a call.
    pub(super) fn end(&mut self, world: &World, side: Side, key: Key, why: End<'_>) -> Check {
        let call = self.by_key(side, key).ok_or("an end of no call")?;
        let calm = world.scope.is_calm(self.left);
        let responses = self.half(Side::Server, call);
        let Some(half) = self.half_mut(side, call) else {
            return Ok(());
        };
        if half.stage != Stage::Live {
            return Err(format!("a second end: {why:?}"));
        }
        half.stage = Stage::Ended;
        if half.released {
            half.over();
        }
        half.writing = false;
        half.rest = 0;
        half.held = 0;
        half.tail = 0;
        match why {
            End::Status { status, .. } if status.code == 0 => {
                let all = half.messages == responses.begun && half.partial == 0;
                if !half.stopped && !half.released && !all {
                    return Err(format!("OK after {} of its messages", half.messages));
                }
            }
            End::Closed => {}
            End::Status {
                unprocessed: true, ..
            } if responses.stage != Stage::Fresh => {
                return Err("a handler saw the call, and it is said that none did".into());
            }
            End::Status { .. } if calm && world.scope.may_refuse() => {}
            End::Violation(reason) if !is_fair(reason.into()) => {
                return Err(format!("an end is accused: {reason:?}"));
            }
            why if calm => return Err(format!("nothing went wrong, and yet {why:?}")),
            _ => {}
        }
        Ok(())
    }
}

/// Whether a call or a tunnel may end so though neither end did wrong.
pub(super) const fn is_fair(reason: grpctunnel_core::Reason) -> bool {
    use grpctunnel_core::{Reason, StreamReason, TunnelReason};
    matches!(
        reason,
        Reason::Stream(StreamReason::HandlerGone | StreamReason::RevisionZeroBudget)
            | Reason::Tunnel(
                TunnelReason::OpenTimeout
                    | TunnelReason::SettingsTimeout
                    | TunnelReason::GraceExpired
                    | TunnelReason::Unresponsive
                    | TunnelReason::CarrierFinished
                    | TunnelReason::CarrierFailed
                    | TunnelReason::Aborted
            )
    )
}
