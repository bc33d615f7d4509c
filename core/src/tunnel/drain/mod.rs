//! How a tunnel comes to its end without losing a call.

mod state;

use core::time::Duration;

use super::ids::TUNNEL_ID;
use super::{Client, Phase, Role, Tunnel};
use crate::budget::Charge;
use crate::error::TunnelError;
use crate::reason::{StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::streams::{NO_ID, Streams, Terminal};
use crate::time::Time;
use crate::types::{Carrier, Input, Unread};
use crate::wire::Extension;

pub(super) use state::DrainState;

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Begins to drain: no new streams; the carrier is finished when the last stream has ended
    /// and everything was transmitted. Streams that are open after `limit` end UNAVAILABLE.
    /// A second call can only shorten the limit.
    ///
    /// A tunnel server refuses what is opened from now on, and says so at once with `drain` where
    /// that extension is in effect. A tunnel that waits for its peer's answer or settings carries
    /// no call yet: its carrier is finished at once, and its error is [`TunnelReason::Aborted`].
    pub fn drain(&mut self, now: Time, limit: Duration) {
        self.handle_timeout(now);
        let known = self.handshake.agreed(Extension::Drain);
        self.drain.begin(self.ids.highest(), known);
        self.urgent |= self.drain.is_due();
        match self.phase {
            Phase::Opening | Phase::Settling => {
                let error = TunnelError::new(R::SIDE, TunnelReason::Aborted);
                self.error.get_or_insert(error);
                // A server may have taken calls in that came ahead of the answer.
                self.end_tunnel(TunnelReason::Aborted, Carrier::Finish);
                self.finish(now);
            }
            Phase::Open => {
                self.drain.limit(now.saturating_add(limit));
                self.no_timer_before = Time::ZERO;
            }
            Phase::Finished | Phase::Ended => {}
        }
    }

    /// Whether the carrier must not be finished yet, because another tunnel on it needs it. For two
    /// tunnels on one carrier that are not a [`Pipe`](crate::bare::Pipe), which does this by itself.
    pub const fn hold_finish(&mut self, hold: bool) {
        self.drain.hold_finish(hold);
    }

    /// Whether `poll_transmit` finishes the carrier when it has no frame.
    pub(super) fn may_finish(&self) -> bool {
        self.drain.may_finish() && self.phase == Phase::Open && self.streams.active() == 0
    }

    /// Finishes the carrier once a drain has nothing left to do.
    #[inline(always)]
    pub(super) fn finish_if_drained(&mut self, now: Time) {
        if self.may_finish() {
            self.finish(now);
        }
    }

    /// Finishes this end's half of the carrier; the peer has the grace to finish its own.
    #[cold]
    #[inline(never)]
    fn finish(&mut self, now: Time) {
        self.phase = Phase::Finished;
        self.phase_until = now.saturating_add(self.limits.finish_grace);
        self.no_timer_before = Time::ZERO;
        self.drain.lift_limit();
        self.notices.carrier(Carrier::Finish);
    }

    /// The drain limit: what is held goes out, what is open ends.
    pub(super) fn expire_drain(&mut self) {
        let mut walk = Streams::<S>::walk();
        while let Some(slot) = walk.next(&self.streams) {
            self.end_hold(slot);
            let stream = self.streams.get(slot);
            if stream.send.is_all_but_closed() {
                continue;
            }
            let why = Terminal::lost(TunnelReason::DrainLimit, stream.on_wire(R::SIDE));
            self.end_with_event(slot, why, Unread::Discard);
        }
    }
}

impl<S: Storage> Tunnel<Client, S> {
    /// `drain`: no stream above `last` was or will be handled. The tunnel ends with the others.
    pub(super) fn receive_drain<'f>(
        &mut self,
        now: Time,
        id: i64,
        last: i64,
    ) -> Result<Input<'f>, TunnelReason> {
        if id != TUNNEL_ID || !self.handshake.agreed(Extension::Drain) {
            return self.receive_on_stream(now, id, StreamReason::UnknownFrame);
        }
        if !self.drain.begin_of_peer() {
            return self.ignore(now, Charge::Useless);
        }
        self.notices.draining();
        let mut walk = Streams::<S>::walk();
        while let Some(slot) = walk.next(&self.streams) {
            let stream = self.streams.get_mut(slot);
            if stream.id() != NO_ID && stream.id() <= last {
                continue;
            }
            // The server refuses it or never hears of it: it needs no `cancel`.
            stream.receive.finish();
            let why = Terminal::NotProcessed(TunnelReason::PeerDraining);
            self.end_with_event(slot, why, Unread::Discard);
        }
        Ok(Input::Ignored)
    }
}
