//! The stream ids of a tunnel: which come next, which are late.

/// The stream id of frames that concern the tunnel.
pub(super) const TUNNEL_ID: i64 = -1;

/// Ids rise, and none is used twice.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    /// A client's next one, unless all were used.
    next: i64,
    exhausted: bool,
    /// The highest id that was sent or received. A frame up to it that names no open stream is late.
    highest: i64,
}

impl Ids {
    /// Those of a tunnel client: no id is late before it has used one.
    pub(super) const fn of_client(first: i64) -> Self {
        Self {
            next: first,
            exhausted: false,
            highest: i64::MIN,
        }
    }

    /// Those of a tunnel server. Known ones count ids from -1, so that frames for negative ids are
    /// late.
    pub(super) const fn of_server() -> Self {
        Self {
            next: 0,
            exhausted: true,
            highest: -1,
        }
    }

    pub(super) const fn highest(&self) -> i64 {
        self.highest
    }

    /// Whether a stream of this id was there before.
    pub(super) const fn was_used(&self, id: i64) -> bool {
        id <= self.highest
    }

    /// Notes the id of a peer's new stream. False: it does not rise.
    pub(super) const fn receive(&mut self, id: i64) -> bool {
        let rises = id > self.highest;
        if rises {
            self.highest = id;
        }
        rises
    }

    /// Whether there is an id beyond those that so many open calls will need.
    pub(super) fn has_spare(&self, unsent: u32) -> bool {
        !self.exhausted && self.next.checked_add(i64::from(unsent)).is_some()
    }

    /// How many ids are left beyond those that so many open calls will need.
    pub(super) fn left(&self, unsent: u32) -> u32 {
        match self.next.checked_add(i64::from(unsent)) {
            Some(next) if !self.exhausted => {
                let left = i64::MAX.saturating_sub(next).saturating_add(1);
                u32::try_from(left).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }

    /// The next id, which [`take`](Self::take) uses up.
    pub(super) const fn next(&self) -> i64 {
        self.next
    }

    /// Uses up the next id.
    pub(super) const fn take(&mut self) -> i64 {
        let id = self.next;
        self.highest = id;
        match id.checked_add(1) {
            Some(next) => self.next = next,
            None => self.exhausted = true,
        }
        id
    }

    /// Writes what decides which ids may be used, but for their numbers.
    #[cfg(feature = "search")]
    pub(super) fn fingerprint<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash as _;

        // Until the first id, every lower one is unknown; from then on all of them are late.
        (self.highest == i64::MIN, self.exhausted).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_end_with_the_last_one() {
        let mut ids = Ids::of_client(i64::MAX - 1);
        assert!(ids.has_spare(0) && ids.has_spare(1) && !ids.has_spare(2));
        assert_eq!(ids.take(), i64::MAX - 1);
        assert!(ids.has_spare(0) && !ids.has_spare(1));
        assert_eq!(ids.take(), i64::MAX);
        assert!(!ids.has_spare(0) && ids.was_used(i64::MAX));
    }

    #[test]
    fn only_what_was_used_is_late() {
        let mut client = Ids::of_client(1);
        assert!(!client.was_used(0) && !client.was_used(-1));
        client.take();
        assert!(client.was_used(0) && client.was_used(1) && !client.was_used(2));
        let mut server = Ids::of_server();
        assert!(server.was_used(-1) && !server.was_used(0));
        assert!(server.receive(4) && !server.receive(4) && !server.receive(3));
        assert!(server.was_used(2) && !server.was_used(5));
    }
}
