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
