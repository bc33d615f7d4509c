//! A circuit breaker: a local server that fails again and again is left alone for a while.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// When a local server is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Breaking {
    /// After so many failures, one after the other.
    pub after: u32,
    /// For so long. Then one call finds out whether it works again.
    pub pause: Duration,
}

impl Breaking {
    /// After so many failures, for 5 s each time.
    #[must_use]
    pub const fn after(failures: u32) -> Self {
        Self {
            after: failures,
            pause: Duration::from_secs(5),
        }
    }
}

#[derive(Debug)]
pub(super) struct Breaker {
    breaking: Breaking,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Calls pass; so many have failed one after the other.
    Closed(u32),
    /// No call passes until then.
    Open(Instant),
    /// One call is under way, on which it depends.
    Probing,
}

impl Breaker {
    pub(super) const fn new(breaking: Breaking) -> Self {
        Self {
            breaking,
            state: Mutex::new(State::Closed(0)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call pass, or says no.
    pub(super) fn admit(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.state();
        match *state {
            State::Closed(_) => {}
            State::Open(until) if now >= until => *state = State::Probing,
            State::Open(_) | State::Probing => return None,
        }
        Some(Pass {
            breaker: self,
            told: false,
        })
    }

    fn ended(&self, well: bool, now: Instant) {
        let mut state = self.state();
        *state = match (*state, well) {
            (State::Closed(_) | State::Probing, true) => State::Closed(0),
            (State::Closed(failures), false) if failures + 1 < self.breaking.after => {
                State::Closed(failures + 1)
            }
            (State::Closed(_) | State::Probing, false) => {
                State::Open(now.checked_add(self.breaking.pause).unwrap_or(now))
            }
            // A call that began before it opened.
            (open @ State::Open(_), _) => open,
        };
    }
}

/// A call that was let pass.
#[derive(Debug)]
pub(super) struct Pass<'b> {
    breaker: &'b Breaker,
    told: bool,
}

impl Pass<'_> {
    /// How it went.
    pub(super) fn ended(mut self, well: bool, now: Instant) {
        self.told = true;
        self.breaker.ended(well, now);
    }
}

impl Drop for Pass<'_> {
    /// A call that its caller gave up says nothing about the server; another one has to find out.
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let mut state = self.breaker.state();
        if matches!(*state, State::Probing) {
            *state = State::Open(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(breaker: &Breaker, now: Instant) {
        breaker.admit(now).unwrap().ended(false, now);
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_call_closes_it() {
        let breaker = Breaker::new(Breaking::after(3));
        let now = Instant::now();
        fails(&breaker, now);
        fails(&breaker, now);
        breaker.admit(now).unwrap().ended(true, now);
        for _ in 0..3 {
            fails(&breaker, now);
        }
        assert!(breaker.admit(now).is_none());
        let later = now + Duration::from_secs(5);
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_none(), "one call finds out");
        probe.ended(false, later);
        assert!(breaker.admit(later).is_none());
        let later = later + Duration::from_secs(5);
        breaker.admit(later).unwrap().ended(true, later);
        let (one, two) = (breaker.admit(later), breaker.admit(later));
        assert!(one.is_some() && two.is_some());
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_the_place_to_another() {
        let breaker = Breaker::new(Breaking::after(1));
        let now = Instant::now();
        fails(&breaker, now);
        let later = now + Duration::from_secs(5);
        drop(breaker.admit(later).unwrap());
        assert!(breaker.admit(later + Duration::from_secs(1)).is_some());
    }
}
