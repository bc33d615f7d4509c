//! Tests of what this end makes of silence.

use super::*;
use crate::limits::Liveness;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Liveness {
    Liveness {
        heartbeat: SECOND * 20,
        probe: SECOND * 30,
        ping: SECOND * 10,
        answer: SECOND * 8,
    }
}

fn rules(asks: Asks) -> Rules {
    Rules {
        limits: limits(),
        asks,
        heartbeats: false,
    }
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

#[test]
fn two_questions_without_an_answer_mean_that_the_peer_is_dead() {
    let rules = rules(Asks::WithPing);
    let mut state = LivenessState::new(at(0));
    assert_eq!(state.question_at(rules), at(10));
    assert_eq!(state.run(at(10), rules), Verdict::Unchanged);
    assert_eq!(state.next(at(10), rules.asks), Some(Urgent::Ping(1)));
    assert_eq!(state.answer_at(rules), Time::MAX, "the carrier has it not");
    state.taken(at(11));
    assert_eq!(state.answer_at(rules), at(19));
    assert_eq!(state.run(at(19), rules), Verdict::Silent);
    assert!(!state.is_responsive());
    assert_eq!(state.next(at(19), rules.asks), Some(Urgent::Ping(2)));
    state.taken(at(19));
    assert_eq!(state.run(at(27), rules), Verdict::Dead);
}

#[test]
fn whatever_is_received_answers_but_only_the_pong_measures() {
    let rules = rules(Asks::WithPing);
    let mut state = LivenessState::new(at(0));
    state.run(at(10), rules);
    state.next(at(10), rules.asks);
    state.taken(at(10));
    assert!(state.received(at(12)) && !state.hear());
    assert_eq!(state.ponged(at(13), 7), None);
    assert_eq!(state.ponged(at(13), 1), Some(SECOND * 3));
    assert_eq!(state.run(at(18), rules), Verdict::Unchanged);
    assert_eq!(state.round_trip(), Some(SECOND * 3));
}

#[test]
fn a_backlog_puts_the_answer_off() {
    let rules = rules(Asks::WithProbe);
    let mut state = LivenessState::new(at(0));
    state.run(at(30), rules);
    assert_eq!(state.next(at(30), rules.asks), Some(Urgent::Probe));
    state.probed(at(30), 5);
    state.set_backlogged(true);
    state.taken(at(31));
    assert_eq!(state.answer_at(rules), Time::MAX);
    state.set_backlogged(false);
    state.taken(at(40));
    assert_eq!(state.half_close_at(rules), at(44));
    state.run(at(44), rules);
    assert_eq!(state.next(at(44), rules.asks), Some(Urgent::HalfClose(5)));
    assert_eq!(state.probe_closed(at(45), 4), None);
    assert_eq!(state.probe_closed(at(45), 5), Some(SECOND * 5));
}

#[test]
#[cfg(feature = "search")]
fn a_fingerprint_tells_what_was_asked_and_what_came_of_it() {
    use core::hash::Hasher as _;
    use std::hash::DefaultHasher;

    const PROBE: i64 = 5;
    let fingerprint = |state: &LivenessState, asks, base| {
        let mut hasher = DefaultHasher::new();
        state.fingerprint(rules(asks), base, at(11), &mut hasher);
        hasher.finish()
    };
    let asked = |asks| {
        let mut state = LivenessState::new(at(0));
        state.run(at(10), rules(asks));
        match asks {
            Asks::WithProbe => state.probed(at(10), PROBE),
            _ => drop(state.next(at(10), asks)),
        }
        state
    };
    let changes: [fn(&mut LivenessState); 5] = [
        |it| assert!(!it.hear()),
        |it| it.taken(at(11)),
        |it| it.set_backlogged(true),
        |it| it.pinged(3),
        |it| it.asked = None,
    ];
    for asks in [Asks::WithProbe, Asks::WithPing] {
        let state = asked(asks);
        for (number, change) in changes.iter().enumerate() {
            let mut changed = state.clone();
            change(&mut changed);
            let (changed, state) = (
                fingerprint(&changed, asks, PROBE),
                fingerprint(&state, asks, PROBE),
            );
            assert_ne!(changed, state, "{asks:?} {number}");
        }
    }
    // Of a probe counts how far behind the other ids it is, and not which number it has.
    let probe = asked(Asks::WithProbe);
    let mut later = LivenessState::new(at(0));
    later.run(at(10), rules(Asks::WithProbe));
    later.probed(at(10), PROBE + 1);
    let of = |state, base| fingerprint(state, Asks::WithProbe, base);
    assert_ne!(of(&probe, PROBE), of(&probe, PROBE + 1));
    assert_eq!(of(&probe, PROBE), of(&later, PROBE + 1));
}
