//! What is left unread on the streams without flow control.

use crate::limits::RevisionZeroLimits;
use crate::streams::{Mark, Stream};
use crate::time::Time;
use crate::wire::Revision;

/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tunnel) struct RevisionZero {
    /// Unread bytes of all of them.
    unread: u64,
    /// How many are over their own budget.
    over: u32,
    /// Whether the tunnel has ever carried a stream with flow control: those must never wait.
    saw_flow_control: bool,
    /// Since when nothing is read.
    stalled_since: Option<Time>,
}

/// What more unread bytes lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unbounded {
    /// Nothing.
    Within,
    /// The stream pays for them.
    Refused,
    /// The carrier is not read until some were consumed.
    Stalls,
}

impl RevisionZero {
    pub(in crate::tunnel) fn saw(&mut self, revision: Revision) {
        self.saw_flow_control |= revision == Revision::One;
    }

    fn is_over(&self, limits: &RevisionZeroLimits) -> bool {
        self.over > 0 || self.unread > limits.tunnel
    }

    pub(super) fn wants_read(&self, limits: &RevisionZeroLimits) -> bool {
        self.saw_flow_control || !self.is_over(limits)
    }

    /// More bytes of the stream are unread, which its window counts already.
    pub(super) fn note_unread(
        &mut self,
        now: Time,
        stream: &mut Stream,
        bytes: u32,
        limits: &RevisionZeroLimits,
    ) -> Unbounded {
        if stream.revision == Revision::One {
            return Unbounded::Within;
        }
        self.unread = self.unread.saturating_add(u64::from(bytes));
        let unread = stream.receive.window().unread();
        if unread > limits.stream && !stream.has(Mark::OverBudget) {
            stream.marks.set(Mark::OverBudget);
            self.over = self.over.saturating_add(1);
        }
        if self.saw_flow_control {
            // Nobody waits: the stream that goes over pays, and no other.
            return if self.unread > limits.tunnel || stream.has(Mark::OverBudget) {
                Unbounded::Refused
            } else {
                Unbounded::Within
            };
        }
        if self.is_over(limits) {
            self.stalled_since.get_or_insert(now);
            return Unbounded::Stalls;
        }
        Unbounded::Within
    }

    /// Unread bytes of the stream are gone. True: nobody waits for it.
    pub(super) fn note_read(
        &mut self,
        stream: &mut Stream,
        bytes: u32,
        limits: &RevisionZeroLimits,
    ) -> bool {
        if stream.revision == Revision::One {
            return false;
        }
        self.unread = self.unread.saturating_sub(u64::from(bytes));
        let within = stream.receive.window().unread() <= limits.stream;
        if within && stream.marks.take(Mark::OverBudget) {
            self.over = self.over.saturating_sub(1);
        }
        self.go_on(limits)
    }

    /// The stream has ended. True: nobody waits for it.
    pub(super) fn forget(&mut self, stream: &mut Stream, limits: &RevisionZeroLimits) -> bool {
        if stream.revision == Revision::One {
            return false;
        }
        let unread = u64::from(stream.receive.window().unread());
        self.unread = self.unread.saturating_sub(unread);
        if stream.marks.take(Mark::OverBudget) {
            self.over = self.over.saturating_sub(1);
        }
        self.go_on(limits)
    }

    /// The carrier is read again where nothing is over a budget.
    fn go_on(&mut self, limits: &RevisionZeroLimits) -> bool {
        let within = !self.is_over(limits);
        if within {
            self.stalled_since = None;
        }
        within
    }

    /// The stream that held up the others has ended; if another one still does, it has as long.
    pub(super) fn stall_again(&mut self, now: Time, limits: &RevisionZeroLimits) {
        self.stalled_since = self.is_over(limits).then_some(now);
    }

    pub(super) fn stall_ends(&self, limits: &RevisionZeroLimits) -> Time {
        match self.stalled_since {
            Some(since) if !self.saw_flow_control => since.saturating_add(limits.stall),
            _ => Time::MAX,
        }
    }

    /// Writes what decides the future.
    #[cfg(feature = "search")]
    pub(in crate::tunnel) fn fingerprint<H: core::hash::Hasher>(&self, now: Time, state: &mut H) {
        use core::hash::Hash as _;

        let Self {
            unread,
            over,
            saw_flow_control,
            stalled_since,
        } = self;
        (unread, over, saw_flow_control).hash(state);
        stalled_since.map(|since| since.nanos_left(now)).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const LIMITS: RevisionZeroLimits = RevisionZeroLimits {
        stream: 10,
        tunnel: 15,
        stall: Duration::from_secs(1),
    };

    fn stream() -> Stream {
        Stream::new(0, Revision::Zero, 0, 0)
    }

    fn come(state: &mut RevisionZero, stream: &mut Stream, bytes: u32) -> Unbounded {
        stream.receive.take_credit(bytes as usize).unwrap();
        state.note_unread(Time::ZERO, stream, bytes, &LIMITS)
    }

    #[test]
    fn a_stream_over_its_budget_stalls_the_tunnel_until_it_is_read() {
        let (mut state, mut stream) = (RevisionZero::default(), stream());
        assert_eq!(come(&mut state, &mut stream, 10), Unbounded::Within);
        assert_eq!(state.stall_ends(&LIMITS), Time::MAX);
        assert_eq!(come(&mut state, &mut stream, 1), Unbounded::Stalls);
        assert!(!state.wants_read(&LIMITS));
        assert_eq!(state.stall_ends(&LIMITS), Time::from_millis(1_000));
        stream.receive.window_mut().consume(1).unwrap();
        assert!(state.note_read(&mut stream, 1, &LIMITS));
        assert!(state.wants_read(&LIMITS));
        assert_eq!(state.stall_ends(&LIMITS), Time::MAX);
    }

    #[test]
    fn several_streams_are_over_the_budget_of_the_tunnel_until_one_ends() {
        let mut state = RevisionZero::default();
        let (mut one, mut other) = (stream(), stream());
        assert_eq!(come(&mut state, &mut one, 8), Unbounded::Within);
        assert_eq!(come(&mut state, &mut other, 8), Unbounded::Stalls);
        assert!(state.forget(&mut one, &LIMITS) && state.wants_read(&LIMITS));
    }

    #[test]
    fn nobody_waits_beside_streams_with_flow_control() {
        let (mut state, mut stream) = (RevisionZero::default(), stream());
        state.saw(Revision::One);
        assert_eq!(come(&mut state, &mut stream, 10), Unbounded::Within);
        assert_eq!(come(&mut state, &mut stream, 1), Unbounded::Refused);
        assert!(state.wants_read(&LIMITS));
        assert_eq!(state.stall_ends(&LIMITS), Time::MAX);
    }
}
