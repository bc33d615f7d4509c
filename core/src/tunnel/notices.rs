//! What is to be reported about the tunnel itself, until it is polled.

use core::time::Duration;

use crate::types::{Carrier, Event};
use crate::wire::Revision;

/// See the [module](self). Each kind is reported once, as it was last.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices {
    /// Whether any of them is.
    any: bool,
    settled: Option<Revision>,
    may_open: bool,
    draining: bool,
    round_trip: Option<Duration>,
    responsive: Option<bool>,
    carrier: Option<Carrier>,
}

impl Notices {
    #[inline]
    pub(super) const fn any(&self) -> bool {
        self.any
    }

    pub(super) const fn settled(&mut self, revision: Revision) {
        self.any = true;
        self.settled = Some(revision);
    }

    pub(super) const fn may_open(&mut self) {
        self.any = true;
        self.may_open = true;
    }

    pub(super) const fn draining(&mut self) {
        self.any = true;
        self.draining = true;
    }

    pub(super) const fn round_trip(&mut self, round_trip: Duration) {
        self.any = true;
        self.round_trip = Some(round_trip);
    }

    pub(super) const fn responsive(&mut self, responsive: bool) {
        self.any = true;
        self.responsive = Some(responsive);
    }

    pub(super) fn carrier(&mut self, carrier: Carrier) {
        self.any = true;
        self.carrier = Some(carrier);
    }

    /// The tunnel is over: whether the peer responds no longer matters.
    pub(super) const fn forget_peer(&mut self) {
        self.responsive = None;
        self.round_trip = None;
    }

    /// What goes ahead of the events of streams.
    pub(super) fn first(&mut self) -> Option<Event> {
        self.settled.take().map(Event::Settled)
    }

    /// What goes behind them, the carrier last. `opens`: `open` may succeed.
    pub(super) fn last(&mut self, opens: bool) -> Option<Event> {
        if let Some(responsive) = self.responsive.take() {
            return Some(Event::Responsive(responsive));
        }
        if let Some(round_trip) = self.round_trip.take() {
            return Some(Event::RoundTrip(round_trip));
        }
        if core::mem::take(&mut self.draining) {
            return Some(Event::Draining);
        }
        if core::mem::take(&mut self.may_open) && opens {
            return Some(Event::MayOpen);
        }
        self.any = false;
        self.carrier.take().map(Event::Carrier)
    }

    /// Writes what will be reported.
    #[cfg(feature = "search")]
    pub(super) fn fingerprint<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash as _;

        let Self {
            settled,
            may_open,
            draining,
            round_trip,
            responsive,
            carrier,
            any: _,
        } = self;
        (settled, may_open, draining, round_trip, responsive).hash(state);
        carrier.is_some().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carrier_comes_last_and_each_notice_once() {
        let mut notices = Notices::default();
        assert!(!notices.any() && notices.last(true).is_none());
        notices.carrier(Carrier::Finish);
        notices.may_open();
        notices.draining();
        notices.settled(Revision::One);
        assert!(matches!(notices.first(), Some(Event::Settled(_))));
        assert!(notices.first().is_none());
        assert!(matches!(notices.last(true), Some(Event::Draining)));
        assert!(matches!(notices.last(true), Some(Event::MayOpen)));
        assert!(matches!(notices.last(true), Some(Event::Carrier(_))));
        assert!(!notices.any() && notices.last(true).is_none());
    }

    #[test]
    fn a_tunnel_that_takes_no_calls_invites_none() {
        let mut notices = Notices::default();
        notices.may_open();
        assert!(notices.last(false).is_none() && !notices.any());
    }
}
