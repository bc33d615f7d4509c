//! What the two ends of a tunnel have negotiated: revision, window, extensions.

use crate::types::Negotiation;
use crate::wire::{Extension, ExtensionSet, Revision};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    /// Whether this end speaks revision one.
    flow_control: bool,
    /// The extensions of this end, and those of both.
    own: ExtensionSet,
    agreed: ExtensionSet,
    /// The peer has named its extensions, whichever they are.
    peer_answered: bool,
    /// Whether both ends negotiate.
    negotiates: bool,
    /// A client's, once it is settled.
    revision: Revision,
    peer_window: u32,
    settings_due: bool,
    extensions_due: bool,
}

impl Handshake {
    pub(super) const fn new(flow_control: bool, own: ExtensionSet) -> Self {
        Self {
            flow_control,
            own,
            agreed: ExtensionSet::EMPTY,
            peer_answered: false,
            negotiates: false,
            revision: Revision::Zero,
            peer_window: 0,
            settings_due: false,
            extensions_due: false,
        }
    }

    /// The headers of the carrier were exchanged. `sends_settings`: at a tunnel server.
    pub(super) fn negotiate(&mut self, negotiation: Negotiation, sends_settings: bool) {
        self.negotiates = negotiation == Negotiation::On;
        self.settings_due = self.negotiates && sends_settings;
    }

    pub(super) const fn negotiates(&self) -> bool {
        self.negotiates
    }

    /// A client knows the revision, and the window of its new streams.
    pub(super) const fn settle(&mut self, revision: Revision, peer_window: u32) {
        self.revision = revision;
        self.peer_window = peer_window;
    }

    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) const fn peer_window(&self) -> u32 {
        self.peer_window
    }

    /// The revisions of this end, and their numbers.
    pub(super) const fn supported(&self) -> (&'static [Revision], &'static [i32]) {
        if self.flow_control {
            (&[Revision::Zero, Revision::One], &[0, 1])
        } else {
            (&[Revision::Zero], &[0])
        }
    }

    /// The extensions in effect.
    pub(super) const fn extensions(&self) -> ExtensionSet {
        self.agreed
    }

    #[inline(always)]
    pub(super) const fn agreed(&self, extension: Extension) -> bool {
        self.agreed.contains(extension)
    }

    /// The extensions that a tunnel server offers; `None`: none.
    pub(super) fn offer(&self) -> Option<ExtensionSet> {
        (!self.own.is_empty()).then_some(self.own)
    }

    /// Whether the peer may answer an offer.
    pub(super) fn expects_answer(&self) -> bool {
        self.negotiates && self.offer().is_some()
    }

    pub(super) const fn peer_answered(&self) -> bool {
        self.peer_answered
    }

    /// The client has answered the offer.
    pub(super) const fn receive_answer(&mut self, theirs: ExtensionSet) {
        self.peer_answered = true;
        self.agreed = self.own.intersection(theirs);
    }

    /// The server has offered, which is to be answered.
    pub(super) const fn receive_offer(&mut self, theirs: ExtensionSet) {
        self.receive_answer(theirs);
        self.extensions_due = true;
    }

    pub(super) const fn is_due(&self) -> bool {
        self.settings_due || self.extensions_due
    }

    /// Takes the settings that are to be sent.
    pub(super) fn take_settings(&mut self) -> bool {
        core::mem::take(&mut self.settings_due)
    }

    /// Takes the answer to the offer that is to be sent.
    pub(super) fn take_answer(&mut self) -> Option<ExtensionSet> {
        core::mem::take(&mut self.extensions_due).then_some(self.own)
    }

    /// The tunnel is over.
    pub(super) const fn end(&mut self) {
        self.settings_due = false;
        self.extensions_due = false;
    }

    /// Writes what decides the future, apart from the settings of this end.
    #[cfg(feature = "search")]
    pub(super) fn fingerprint<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash as _;

        let Self {
            flow_control: _,
            own: _,
            agreed,
            peer_answered,
            negotiates,
            revision,
            peer_window,
            settings_due,
            extensions_due,
        } = self;
        (negotiates, revision, peer_window).hash(state);
        (agreed, peer_answered, settings_due, extensions_due).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_ends_name_is_in_effect() {
        let own = ExtensionSet::EMPTY
            .with(Extension::Drain)
            .with(Extension::Ping);
        let mut handshake = Handshake::new(true, own);
        assert!(!handshake.agreed(Extension::Ping));
        handshake.receive_offer(ExtensionSet::EMPTY.with(Extension::Ping));
        assert!(handshake.agreed(Extension::Ping) && !handshake.agreed(Extension::Drain));
        assert_eq!(handshake.take_answer(), Some(own));
        assert_eq!(handshake.take_answer(), None);
    }

    #[test]
    fn settings_are_sent_once_and_by_one_end() {
        let mut server = Handshake::new(true, ExtensionSet::EMPTY);
        server.negotiate(Negotiation::On, true);
        assert!(server.is_due() && server.take_settings() && !server.take_settings());
        let mut client = Handshake::new(true, ExtensionSet::EMPTY);
        client.negotiate(Negotiation::On, false);
        assert!(!client.is_due() && client.negotiates());
    }
}
