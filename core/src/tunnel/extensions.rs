//! The extensions between our own ends: the offer in `settings`, the answer, and what follows.

use super::ids::TUNNEL_ID;
use super::{Client, Role, Server, Tunnel};
use crate::budget::Charge;
use crate::error::Reason;
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
        self.extensions
    }

    /// The other end has named its own.
    pub(super) const fn agree(&mut self, theirs: ExtensionSet) {
        self.peer_extends = true;
        self.extensions = self.own_extensions.intersection(theirs);
    }
}

impl<S: Storage> Tunnel<Server, S> {
    /// `extensions`: the client's answer to the offer, which comes once and before any stream.
    pub(super) fn receive_extensions<'f>(
        &mut self,
        now: Time,
        id: i64,
        theirs: ExtensionSet,
    ) -> Result<Input<'f>, Reason> {
        if id != TUNNEL_ID || !self.negotiated || self.own_extensions.is_empty() {
            return self.receive_on_stream(now, id, Reason::UnknownFrame);
        }
        if self.peer_extends || self.ids.highest() >= 0 {
            return self.ignore(now, Charge::Useless);
        }
        self.agree(theirs);
        self.alive.start(now);
        self.wakes = Time::ZERO;
        self.drain_due = self.draining && self.extensions.contains(Extension::Drain);
        self.urgent |= self.drain_due;
        Ok(Input::Ignored)
    }
}

impl<S: Storage> Tunnel<Client, S> {
    /// The server's offer, which is answered at once.
    pub(super) fn receive_offer(&mut self, offer: Option<ExtensionSet>) {
        if let Some(theirs) = offer {
            self.agree(theirs);
            self.extensions_due = true;
            self.urgent = true;
        }
    }
}
