//! How two of our own ends agree on extensions.

use super::ids::TUNNEL_ID;
use super::{Client, Role, Server, Tunnel};
use crate::budget::Charge;
use crate::reason::{StreamReason, TunnelReason};
use crate::storage::Storage;
use crate::time::Time;
use crate::types::Input;
use crate::wire::{Extension, ExtensionSet};

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// The extensions in effect: what both ends have named. None before the other end has.
    ///
    /// Heads are to be encoded with them ([`HeadOptions::extensions`]).
    ///
    /// [`HeadOptions::extensions`]: crate::wire::HeadOptions::extensions
    #[must_use]
    pub const fn extensions(&self) -> ExtensionSet {
        self.handshake.extensions()
    }
}

impl<S: Storage> Tunnel<Server, S> {
    /// `extensions`: the client's answer to the offer, which comes once and before any stream.
    pub(super) fn receive_extensions<'f>(
        &mut self,
        now: Time,
        id: i64,
        theirs: ExtensionSet,
    ) -> Result<Input<'f>, TunnelReason> {
        if id != TUNNEL_ID || !self.handshake.expects_answer() {
            return self.receive_on_stream(now, id, StreamReason::UnknownFrame);
        }
        if self.handshake.peer_answered() || self.ids.highest() >= 0 {
            return self.ignore(now, Charge::Useless);
        }
        self.handshake.receive_answer(theirs);
        self.liveness.start(now);
        self.no_timer_before = Time::ZERO;
        let known = self.handshake.agreed(Extension::Drain);
        self.drain.set_known(known);
        self.urgent |= self.drain.is_due();
        Ok(Input::Ignored)
    }
}

impl<S: Storage> Tunnel<Client, S> {
    /// The server's offer, which is answered at once.
    pub(super) fn receive_offer(&mut self, offer: Option<ExtensionSet>) {
        if let Some(theirs) = offer {
            self.handshake.receive_offer(theirs);
            self.urgent = true;
        }
    }
}
