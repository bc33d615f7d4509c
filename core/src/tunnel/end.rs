//! How a tunnel ends.

use super::{Phase, Role, Tunnel};
use crate::code::Side;
use crate::error::TunnelError;
use crate::reason::TunnelReason;
use crate::storage::Storage;
use crate::streams::{Streams, Terminal};
use crate::time::Time;
use crate::types::{Carrier, Cause, Unread};

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Ends every stream, each with an event.
    pub(super) fn end_all(&mut self, cause: TunnelReason) {
        let unread = match R::SIDE {
            Side::Client => Unread::Deliver,
            Side::Server => Unread::Discard,
        };
        let mut walk = Streams::<S>::walk();
        while let Some(slot) = walk.next(&self.streams) {
            let sent = self.streams.get(slot).on_wire(R::SIDE);
            self.end_with_event(slot, Terminal::lost(cause, sent), unread);
        }
    }

    /// The tunnel is over: nothing more is transmitted.
    pub(super) fn end_tunnel(&mut self, cause: TunnelReason, carrier: Carrier) {
        self.phase = Phase::Ended;
        self.phase_until = Time::MAX;
        self.drain.end();
        self.handshake.end();
        self.notices.forget_peer();
        self.refusals.clear();
        self.end_all(cause);
        let mut walk = Streams::<S>::walk();
        while let Some(slot) = walk.next(&self.streams) {
            self.streams.drop_notice(slot);
            self.retire(slot);
        }
        self.notices.carrier(carrier);
    }

    /// Gives the tunnel up for a reason that the caller found: a frame that its framer refused,
    /// a carrier that makes no progress. Returns the error that ended the tunnel, which is the
    /// first one if it had ended before; `None` if it had ended without one.
    ///
    /// A reason that ends a stream does not end a tunnel:
    ///
    /// ```compile_fail,E0308
    /// # use grpctunnel_core::*;
    /// # fn give_up(tunnel: &mut TunnelClient<Fixed<1, 1>>) {
    /// tunnel.abort(Time::ZERO, StreamReason::Truncated);
    /// # }
    /// ```
    pub fn abort(&mut self, now: Time, reason: TunnelReason) -> Option<TunnelError> {
        self.handle_timeout(now);
        match self.phase {
            Phase::Ended => self.error.clone(),
            _ => Some(self.end_with_error(reason)),
        }
    }

    /// The tunnel has failed. The first error is kept, and returned.
    pub(super) fn end_with_error(&mut self, reason: TunnelReason) -> TunnelError {
        let error = self
            .error
            .get_or_insert_with(|| TunnelError::new(R::SIDE, reason))
            .clone();
        if self.phase != Phase::Ended {
            self.end_tunnel(reason, Carrier::Abort(error.clone()));
        }
        error
    }

    /// The carrier ended, in whatever way the caller saw. Every open stream is lost, and at a
    /// tunnel client that has not settled the opening has failed.
    pub fn handle_end(&mut self, now: Time, cause: Cause) {
        self.handle_timeout(now);
        let (reason, carrier) = match (self.phase, cause) {
            (Phase::Ended, _) => return,
            (Phase::Finished, _) => {
                self.phase = Phase::Ended;
                self.phase_until = Time::MAX;
                return;
            }
            (Phase::Open, Cause::Finished) => {
                (TunnelReason::CarrierFinished, Some(Carrier::Finish))
            }
            (_, Cause::Finished) => (TunnelReason::CarrierFinished, None),
            (_, Cause::Failed) => (TunnelReason::CarrierFailed, None),
        };
        let error = TunnelError::new(R::SIDE, reason);
        let carrier = carrier.unwrap_or_else(|| Carrier::Abort(error.clone()));
        self.error.get_or_insert(error);
        self.end_tunnel(reason, carrier);
    }
}
