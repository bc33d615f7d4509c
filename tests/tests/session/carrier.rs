//! What a session asks of its carrier: timers, when to read, and when answers are due.

use grpctunnel_core::Timer;

use super::*;

fn after(time: Time, seconds: u64) -> Time {
    time.saturating_add(Duration::from_secs(seconds))
}

#[test]
fn the_next_timer_has_a_side_and_a_reason() {
    let mut two = Two::new();
    for end in &two.ends {
        // Both ends ask whether the other lives, each of its tunnels for itself.
        let (time, _, timer) = end.next_timer().unwrap();
        assert_eq!((Some(time), timer), (end.poll_timeout(), Timer::Question));
    }
    let options = OpenOptions {
        deadline: Some(after(two.now, 1)),
        ..OpenOptions::default()
    };
    let call = two.ends[CLIENT].open("a/B", &OwnedMetadata::new(), options);
    call.unwrap();
    two.rest();
    for (end, side) in [(CLIENT, Side::Client), (SERVER, Side::Server)] {
        let (time, of, timer) = two.ends[end].next_timer().unwrap();
        assert_eq!((Some(time), of), (options.deadline, side));
        assert!(matches!(timer, Timer::Deadline(_)), "{timer:?}");
    }
}

/// An answer is due once the question has left, however long the carrier took to take it.
#[test]
fn no_answer_is_due_while_the_carrier_takes_nothing() {
    let mut two = Two::new();
    two.events(CLIENT);
    let asked = two.ends[CLIENT].poll_timeout().unwrap();
    let end = &mut two.ends[CLIENT];
    let mut bytes = Vec::new();
    assert!(end.poll_bytes(asked, &mut bytes) > 0, "a question");
    end.set_backlogged(asked, true);
    let taken = after(asked, 300);
    end.handle_timeout(taken);
    assert_eq!(end.poll_event(), None);
    end.set_backlogged(taken, false);
    end.poll_bytes(taken, &mut bytes);
    let answer = settings().tunnel.limits.liveness.answer;
    end.handle_timeout(taken.saturating_add(answer / 2));
    assert_eq!(end.poll_event(), None);
    end.handle_timeout(taken.saturating_add(answer));
    assert_eq!(end.poll_event(), Some(SessionEvent::Responsive(false)));
}

#[test]
fn a_carrier_is_not_read_while_a_reader_without_flow_control_is_behind() {
    let now = Time::ZERO;
    let mut config = settings();
    config.tunnel.limits.revision_zero.stream = 1_000;
    let opening = Opening::Accepted(Negotiation::Off);
    let mut client = Session::grpc(now, settings(), Side::Client, opening).unwrap();
    let mut server = Session::grpc(now, config, Side::Server, opening).unwrap();
    let call = client.open("a/B", &OwnedMetadata::new(), OpenOptions::default());
    client.send(call.unwrap(), &[1; 2_000]).unwrap();
    let mut bytes = Vec::new();
    client.poll_bytes(now, &mut bytes);
    assert!(server.wants_read());
    server.handle_bytes(now, &bytes).unwrap();
    assert!(!server.wants_read());
    let theirs = server.accept().unwrap().key;
    assert_eq!(server.recv(theirs), Some(Received::Message(vec![1; 2_000])));
    assert!(server.wants_read());
}

/// A network client whose server calls on the tunnel: it offers settings once the response headers
/// say that both ends negotiate.
#[test]
fn a_server_that_waits_for_the_response_headers_sends_its_settings_behind_them() {
    let now = Time::ZERO;
    for (negotiation, sends) in [(Negotiation::On, true), (Negotiation::Off, false)] {
        let opening = Opening::Requested;
        let mut server = Session::grpc(now, settings(), Side::Server, opening).unwrap();
        let mut bytes = Vec::new();
        assert_eq!(server.poll_bytes(now, &mut bytes), 0);
        server.handle_opened(now, negotiation);
        assert_eq!(server.poll_bytes(now, &mut bytes) > 0, sends);
    }
}

#[test]
fn what_arrives_after_a_clean_end_is_no_error() {
    let now = Time::ZERO;
    let opening = Opening::Accepted(Negotiation::Off);
    let mut client = Session::grpc(now, settings(), Side::Client, opening).unwrap();
    client.drain(now, Duration::ZERO);
    let mut bytes = Vec::new();
    while client.poll_bytes(now, &mut bytes) > 0 {}
    client.handle_end(now, Cause::Finished);
    assert!(client.is_closed());
    // A frame beyond any limit.
    assert_eq!(client.handle_bytes(now, &[0, 255, 255, 255, 255]), Ok(()));
    assert_eq!(client.error(), None);
}

/// The first piece of the bytes that end a session may be a sign of life, which is of no use then.
#[test]
fn what_ends_a_session_is_reported_alone_in_whatever_pieces_it_comes() {
    // A frame beyond any limit.
    let fatal = [0, 255, 255, 255, 255];
    for piece in 1..=fatal.len() {
        let mut two = Two::new();
        let end = &mut two.ends[CLIENT];
        let asked = end.poll_timeout().unwrap();
        end.poll_bytes(asked, &mut Vec::new());
        let silent = after(asked, 60);
        end.handle_timeout(silent);
        while end.poll_event().is_some() {}
        for piece in fatal.chunks(piece) {
            let _ = end.handle_bytes(silent, piece);
        }
        let error = end.error().unwrap().clone();
        let carrier = SessionEvent::Carrier(Carrier::Abort(error));
        assert_eq!(end.poll_event(), Some(carrier), "pieces of {piece}");
        assert_eq!(end.poll_event(), None);
    }
}
