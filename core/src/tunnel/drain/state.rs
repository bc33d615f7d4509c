//! How far the drain of a tunnel has come.

use crate::time::Time;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(in crate::tunnel) struct DrainState {
    /// No new streams: this end drains, or its peer does.
    began: bool,
    /// Another tunnel that shares the carrier still needs it.
    finish_held: bool,
    /// Streams that are open then end.
    until: Time,
    /// The highest id when it began.
    last_id: i64,
    /// The peer is to be told.
    due: bool,
    /// The peer drains.
    peer: bool,
}

impl DrainState {
    pub(in crate::tunnel) const fn new() -> Self {
        Self {
            began: false,
            finish_held: false,
            until: Time::MAX,
            last_id: -1,
            due: false,
            peer: false,
        }
    }

    pub(in crate::tunnel) const fn began(&self) -> bool {
        self.began
    }

    /// This end drains. `tell`: its peer knows the frame for it. Again: nothing happens.
    pub(in crate::tunnel) const fn begin(&mut self, last_id: i64, tell: bool) {
        if !self.began {
            self.began = true;
            self.last_id = last_id;
            self.due = tell;
        }
    }

    /// The peer has named its extensions, and `DRAIN` is among them or not.
    pub(in crate::tunnel) const fn set_known(&mut self, known: bool) {
        self.due = self.began && known;
    }

    /// The peer drains. False: it has said so before.
    pub(in crate::tunnel) const fn begin_of_peer(&mut self) -> bool {
        self.began = true;
        !core::mem::replace(&mut self.peer, true)
    }

    /// Sets the limit, or shortens it.
    pub(in crate::tunnel) fn limit(&mut self, until: Time) {
        self.until = self.until.min(until);
    }

    pub(in crate::tunnel) const fn until(&self) -> Time {
        self.until
    }

    /// The limit has passed, or has no meaning any more.
    pub(in crate::tunnel) const fn lift_limit(&mut self) {
        self.until = Time::MAX;
    }

    pub(in crate::tunnel) const fn hold_finish(&mut self, hold: bool) {
        self.finish_held = hold;
    }

    /// Whether the carrier may be finished once no stream is open.
    #[inline]
    pub(in crate::tunnel) const fn may_finish(&self) -> bool {
        self.began && !self.finish_held
    }

    /// Whether the peer is to be told.
    pub(in crate::tunnel) const fn is_due(&self) -> bool {
        self.due
    }

    /// Takes what the peer is to be told: the highest id that is still handled.
    pub(in crate::tunnel) fn take_notice(&mut self) -> Option<i64> {
        core::mem::take(&mut self.due).then_some(self.last_id)
    }

    /// The tunnel is over.
    pub(in crate::tunnel) const fn end(&mut self) {
        self.until = Time::MAX;
        self.due = false;
    }

    /// Writes what decides the future; of ids, the distance from `base`. `may_tell`: whether the
    /// peer may yet turn out to know the frame.
    #[cfg(feature = "search")]
    pub(in crate::tunnel) fn fingerprint<H: core::hash::Hasher>(
        &self,
        may_tell: bool,
        base: i64,
        now: Time,
        state: &mut H,
    ) {
        use core::hash::Hash as _;

        let Self {
            began,
            finish_held,
            until,
            last_id,
            due,
            peer,
        } = self;
        until.nanos_left(now).hash(state);
        (began, finish_held, due, peer).hash(state);
        (*due || *began && may_tell)
            .then(|| last_id.wrapping_sub(base))
            .hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_told_once_with_the_id_of_its_beginning() {
        let mut drain = DrainState::new();
        drain.begin(4, true);
        drain.begin(9, true);
        assert_eq!((drain.take_notice(), drain.take_notice()), (Some(4), None));
    }

    #[test]
    fn a_peer_that_learns_the_frame_late_is_told_then() {
        let mut drain = DrainState::new();
        drain.set_known(true);
        assert!(!drain.is_due());
        drain.begin(4, false);
        drain.set_known(true);
        assert_eq!(drain.take_notice(), Some(4));
    }

    #[test]
    fn a_limit_only_shrinks() {
        let mut drain = DrainState::new();
        drain.limit(Time::from_millis(5));
        drain.limit(Time::from_millis(9));
        assert_eq!(drain.until(), Time::from_millis(5));
        drain.lift_limit();
        assert_eq!(drain.until(), Time::MAX);
    }

    #[test]
    fn a_shared_carrier_is_not_finished() {
        let mut drain = DrainState::new();
        assert!(!drain.may_finish());
        assert!(drain.begin_of_peer() && !drain.begin_of_peer());
        drain.hold_finish(true);
        assert!(!drain.may_finish());
        drain.hold_finish(false);
        assert!(drain.may_finish());
    }
}
