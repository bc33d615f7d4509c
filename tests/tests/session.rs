//! `Session`: calls between two of them, in any pieces, with back-pressure both ways.

mod carrier;
mod values;
mod verbs;

use core::time::Duration;

use grpctunnel_core::bare::{Directions, PipeEnd};
use grpctunnel_core::session::{
    CallEnd, CallKey, CloseError, Gone, OpenCallError, OwnedMetadata, OwnedStatus, Received,
    RespondError, SendError, SessionConfig, SessionEvent, Trace, TunnelState,
};
use grpctunnel_core::wire::EncodeError;
use grpctunnel_core::{
    Carrier, Cause, Code, MethodKind, Negotiation, OpenError, OpenOptions, Opening, Reason,
    Session, Side, StreamReason, Time, TunnelReason,
};

/// Two ends, and what is on its way to each.
struct Two {
    ends: [Session; 2],
    wires: [Vec<u8>; 2],
    now: Time,
    /// Bytes that arrive at once.
    piece: usize,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

fn settings() -> SessionConfig {
    SessionConfig::default()
}

#[expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
impl Two {
    fn with(config: SessionConfig, piece: usize) -> Self {
        let now = Time::from_millis(1);
        let both = Directions::Both;
        let mut two = Self {
            ends: [
                Session::bare(now, config.clone(), PipeEnd::Opener, both).unwrap(),
                Session::bare(now, config, PipeEnd::Acceptor, both).unwrap(),
            ],
            wires: [Vec::new(), Vec::new()],
            now,
            piece,
        };
        two.rest();
        two
    }

    fn new() -> Self {
        Self::with(settings(), usize::MAX)
    }

    /// Carries bytes both ways until nothing moves.
    fn rest(&mut self) {
        loop {
            let mut moved = 0;
            for from in [CLIENT, SERVER] {
                let (end, wire) = (&mut self.ends[from], &mut self.wires[1 - from]);
                moved += end.poll_bytes(self.now, wire);
            }
            for to in [CLIENT, SERVER] {
                let arrived = core::mem::take(&mut self.wires[to]);
                for piece in arrived.chunks(self.piece.min(arrived.len().max(1))) {
                    self.ends[to].handle_bytes(self.now, piece).unwrap();
                }
            }
            if moved == 0 {
                return;
            }
        }
    }

    fn events(&mut self, end: usize) -> Vec<SessionEvent> {
        core::iter::from_fn(|| self.ends[end].poll_event()).collect()
    }

    fn open(&mut self, kind: MethodKind) -> (CallKey, CallKey) {
        let options = OpenOptions {
            kind,
            ..OpenOptions::default()
        };
        let metadata = OwnedMetadata::from_iter([("k", "v"), ("b-bin", "\u{ff}")]);
        let ours = self.ends[CLIENT]
            .open("svc/method", &metadata, options)
            .unwrap();
        self.rest();
        let incoming = self.ends[SERVER].accept().unwrap();
        assert_eq!(
            (incoming.method.as_str(), &incoming.metadata),
            ("svc/method", &metadata)
        );
        (ours, incoming.key)
    }

    fn recv(&mut self, end: usize, key: CallKey) -> Option<Received> {
        let received = self.ends[end].recv(key);
        self.rest();
        received
    }

    /// A message that is larger than the window needs more than one call.
    fn message(&mut self, end: usize, key: CallKey) -> Vec<u8> {
        for _ in 0..100 {
            match self.recv(end, key) {
                Some(Received::Message(message)) => return message,
                None => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("no message")
    }

    fn ended(&mut self, end: usize, key: CallKey) -> CallEnd {
        match self.recv(end, key) {
            Some(Received::Ended(end)) => end,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_unary_call_in_pieces_of_any_size() {
    for piece in [1, 7, 4_096, usize::MAX] {
        let mut two = Two::with(settings(), piece);
        assert_eq!(two.events(CLIENT), [SessionEvent::MayOpen]);
        let (ours, theirs) = two.open(MethodKind::Unary);
        let request = vec![7; 300_000];
        two.ends[CLIENT].send(ours, &request).unwrap();
        two.ends[CLIENT].half_close(ours).unwrap();
        two.rest();
        assert_eq!(two.message(SERVER, theirs), request);
        assert_eq!(two.recv(SERVER, theirs), Some(Received::HalfClosed));
        assert_eq!(two.recv(SERVER, theirs), None);
        let headers = OwnedMetadata::from_iter([("h", "1"), ("h", "2")]);
        let trailers = OwnedMetadata::from_iter([("t", "3")]);
        let server = &mut two.ends[SERVER];
        server.respond(theirs, &headers).unwrap();
        server.send(theirs, b"reply").unwrap();
        server
            .close_with(theirs, &OwnedStatus::OK, &trailers)
            .unwrap();
        assert_eq!(server.send(theirs, b"late"), Err(SendError::Gone));
        two.rest();
        assert_eq!(two.recv(CLIENT, ours), Some(Received::Headers(headers)));
        assert_eq!(two.message(CLIENT, ours), b"reply");
        let end = two.ended(CLIENT, ours);
        assert_eq!(
            (end.status, end.trailers, end.reason),
            (OwnedStatus::OK, trailers, None)
        );
        assert_eq!(two.recv(CLIENT, ours), None);
        for end in &two.ends {
            assert_eq!(end.pipe().client().map(|it| it.streams()), Some(0));
            assert_eq!(end.pipe().server().map(|it| it.streams()), Some(0));
        }
    }
}

#[test]
fn messages_in_order_with_a_status_behind_them_and_room_told_when_there_is_some() {
    let mut config = settings();
    config.send_buffer = 100;
    let mut two = Two::with(config, usize::MAX);
    let (ours, theirs) = two.open(MethodKind::Bidi);
    // The peer reads nothing: a window full is on its way, and the buffer is full behind it.
    let mut taken = 0_u8;
    while two.ends[CLIENT].send(ours, &[taken; 30]).is_ok() {
        taken += 1;
    }
    assert_eq!(two.ends[CLIENT].send(ours, &[0; 30]), Err(SendError::Full));
    assert_eq!(taken, 4);
    two.events(CLIENT);
    two.rest();
    assert_eq!(two.events(CLIENT), [SessionEvent::Writable(ours)]);
    two.ends[CLIENT].send(ours, &[4; 30]).unwrap();
    two.ends[CLIENT].half_close(ours).unwrap();
    assert_eq!(two.ends[CLIENT].send(ours, &[]), Err(SendError::HalfClosed));
    two.rest();
    for number in 0..5 {
        assert_eq!(two.message(SERVER, theirs), [number; 30]);
    }
    assert_eq!(two.recv(SERVER, theirs), Some(Received::HalfClosed));

    // A status goes out behind what was sent before it.
    for number in 0..3 {
        two.ends[SERVER].send(theirs, &[number; 20]).unwrap();
    }
    let status = OwnedStatus::new(Code::NotFound, "none");
    two.ends[SERVER].close(theirs, &status).unwrap();
    two.rest();
    for number in 0..3 {
        assert_eq!(two.message(CLIENT, ours), [number; 20]);
    }
    assert_eq!(two.ended(CLIENT, ours).status, status);
}

#[test]
fn a_reader_that_does_not_read_holds_its_peer_back_and_no_other_call() {
    let mut config = settings();
    config.tunnel.limits.receive_window.growth_budget = 0;
    let mut two = Two::with(config, usize::MAX);
    let (slow, slow_there) = two.open(MethodKind::Bidi);
    let (quick, quick_there) = two.open(MethodKind::Bidi);
    two.ends[CLIENT].send(slow, &[1; 1_000_000]).unwrap();
    two.rest();
    let held = two.ends[SERVER].memory();
    assert!(held < 2 * 65_536 + 10_000, "{held}");
    two.ends[CLIENT].send(quick, &[2; 60_000]).unwrap();
    two.rest();
    assert_eq!(two.message(SERVER, quick_there), [2; 60_000]);
    assert_eq!(two.message(SERVER, slow_there), [1; 1_000_000]);
}

#[test]
fn both_ends_call_and_a_cancelled_call_is_known_at_once() {
    let mut two = Two::new();
    let (ours, theirs) = two.open(MethodKind::Bidi);
    let other = two.ends[SERVER].open("a/B", &OwnedMetadata::new(), OpenOptions::default());
    let other = other.unwrap();
    two.rest();
    let incoming = two.ends[CLIENT].accept().unwrap();
    assert_eq!(
        (incoming.key.side(), other.side()),
        (Side::Server, Side::Client)
    );
    two.ends[CLIENT].cancel(ours).unwrap();
    assert_eq!(two.ends[CLIENT].send(ours, b""), Err(SendError::Gone));
    two.ends[CLIENT].cancel(incoming.key).unwrap();
    two.rest();
    assert_eq!(
        two.ended(SERVER, theirs).reason,
        Some(Reason::Stream(StreamReason::Cancelled))
    );
    assert_eq!(two.ended(SERVER, other).status.code(), Code::Internal);
    // One that nobody accepted is gone before anybody does.
    let unseen = two.ends[CLIENT].open("a/B", &OwnedMetadata::new(), OpenOptions::default());
    two.rest();
    two.ends[CLIENT].cancel(unseen.unwrap()).unwrap();
    two.rest();
    assert_eq!(two.ends[SERVER].accept(), None);
    assert!(!two.events(SERVER).contains(&SessionEvent::Incoming));
    for end in &two.ends {
        assert_eq!(end.pipe().client().map(|it| it.streams()), Some(0));
        assert_eq!(end.pipe().server().map(|it| it.streams()), Some(0));
    }
}

#[test]
fn a_deadline_ends_a_call_at_both_ends() {
    let mut two = Two::new();
    let options = OpenOptions {
        deadline: Some(two.now.saturating_add(Duration::from_secs(1))),
        ..OpenOptions::default()
    };
    let ours = two.ends[CLIENT]
        .open("a/B", &OwnedMetadata::new(), options)
        .unwrap();
    two.rest();
    let theirs = two.ends[SERVER].accept().unwrap().key;
    assert_eq!(two.ends[CLIENT].poll_timeout(), options.deadline);
    two.now = options.deadline.unwrap();
    for end in &mut two.ends {
        end.handle_timeout(two.now);
    }
    for (end, key) in [(CLIENT, ours), (SERVER, theirs)] {
        assert!(two.events(end).contains(&SessionEvent::Readable(key)));
        assert_eq!(two.ended(end, key).status.code(), Code::DeadlineExceeded);
    }
}

#[test]
fn refusals_name_their_cause() {
    let now = Time::ZERO;
    let opening = Opening::Requested;
    let mut client = Session::grpc(now, settings(), Side::Client, opening).unwrap();
    let none = OwnedMetadata::new();
    let early = client.open("a/B", &none, OpenOptions::default());
    assert_eq!(early, Err(OpenCallError::Tunnel(OpenError::NotSettled)));
    assert!(matches!(
        client.open("a", &none, OpenOptions::default()),
        Err(OpenCallError::Head(_))
    ));
    client.handle_opened(now, Negotiation::Off);
    assert_eq!(client.poll_event(), Some(SessionEvent::MayOpen));
    let call = client.open("a/B", &none, OpenOptions::default()).unwrap();
    assert_eq!(client.respond(call, &none), Err(RespondError::Gone));
    assert!(client.close(call, &OwnedStatus::OK).is_err());
    let opening = Opening::Accepted(Negotiation::Off);
    let mut server = Session::grpc(now, settings(), Side::Server, opening).unwrap();
    let no_client = server.open("a/B", &none, OpenOptions::default());
    assert_eq!(no_client, Err(OpenCallError::NoClient));
    let mut bytes = Vec::new();
    client.poll_bytes(now, &mut bytes);
    server.handle_bytes(now, &bytes).unwrap();
    let theirs = server.accept().unwrap().key;
    assert!(server.half_close(theirs).is_err());
    server.send(theirs, b"x").unwrap();
    assert_eq!(server.respond(theirs, &none), Err(RespondError::Late));
    // A frame with another flag is not one of a gRPC stream.
    let error = server.handle_bytes(now, &[1, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(error.reason(), TunnelReason::FrameFlags);
    assert_eq!(server.handle_bytes(now, &[]), Ok(()));
    assert_eq!(server.handle_bytes(now, &[0, 0, 0, 0, 0]), Err(error));
    assert!(server.is_closed());
}

#[test]
fn a_drain_is_a_clean_end_at_both_ends() {
    let mut two = Two::new();
    let (ours, theirs) = two.open(MethodKind::Bidi);
    two.events(CLIENT);
    two.ends[SERVER].drain(two.now, Duration::from_secs(5));
    two.rest();
    assert_eq!(two.events(CLIENT), [SessionEvent::Draining]);
    let late = two.ends[CLIENT].open("a/B", &OwnedMetadata::new(), OpenOptions::default());
    assert_eq!(late, Err(OpenCallError::Tunnel(OpenError::Draining)));
    two.ends[CLIENT].half_close(ours).unwrap();
    two.rest();
    two.ends[SERVER].close(theirs, &OwnedStatus::OK).unwrap();
    two.rest();
    assert!(two.ended(CLIENT, ours).status.is_ok());
    two.rest();
    for end in [CLIENT, SERVER] {
        let finish = SessionEvent::Carrier(Carrier::Finish);
        assert!(two.events(end).contains(&finish), "end {end}");
        assert!(two.ends[end].is_ended() && !two.ends[end].is_closed());
    }
    for end in &mut two.ends {
        end.handle_end(two.now, Cause::Finished);
        assert!(end.is_closed());
        assert_eq!(end.error(), None);
    }
}

#[test]
fn who_sees_the_other_finish_with_nothing_open_has_no_error() {
    let now = Time::ZERO;
    for (drains, early) in [
        (PipeEnd::Opener, false),
        (PipeEnd::Acceptor, false),
        (PipeEnd::Opener, true),
    ] {
        let mut ends = [PipeEnd::Opener, PipeEnd::Acceptor]
            .map(|end| Session::bare(now, settings(), end, Directions::Forward).unwrap());
        let drained = usize::from(drains == PipeEnd::Acceptor);
        let mut bytes = Vec::new();
        if early {
            // Before it has settled.
            ends[drained].drain(now, Duration::ZERO);
        }
        ends[1].poll_bytes(now, &mut bytes);
        ends[0].handle_bytes(now, &bytes).unwrap();
        ends[drained].drain(now, Duration::ZERO);
        bytes.clear();
        ends[drained].poll_bytes(now, &mut bytes);
        ends[1 - drained].handle_bytes(now, &bytes).unwrap();
        for end in [1 - drained, drained] {
            ends[end].handle_end(now, Cause::Finished);
            let events: Vec<_> = core::iter::from_fn(|| ends[end].poll_event()).collect();
            assert!(
                events.contains(&SessionEvent::Carrier(Carrier::Finish)),
                "{events:?}"
            );
            assert_eq!(ends[end].error(), None, "{drains:?} {early}");
            assert!(ends[end].is_closed());
        }
    }
}

#[test]
fn an_end_that_is_no_end_of_a_frame_is_an_error_and_one_with_calls_loses_them() {
    let mut two = Two::new();
    let (ours, theirs) = two.open(MethodKind::Unary);
    two.ends[SERVER].handle_bytes(two.now, &[0, 0]).unwrap();
    two.ends[SERVER].handle_end(two.now, Cause::Finished);
    let error = two.ends[SERVER].error().unwrap();
    assert_eq!(error.reason(), TunnelReason::FrameTruncated);
    let end = two.ended(SERVER, theirs);
    assert_eq!(
        end.reason,
        Some(Reason::Tunnel(TunnelReason::FrameTruncated))
    );
    let unsent = two.ends[CLIENT].open("a/B", &OwnedMetadata::new(), OpenOptions::default());
    two.ends[CLIENT].handle_end(two.now, Cause::Failed);
    assert!(!two.ended(CLIENT, ours).unprocessed);
    assert!(two.ended(CLIENT, unsent.unwrap()).unprocessed);
}

#[test]
fn one_frame_at_a_time() {
    let now = Time::ZERO;
    let both = Directions::Both;
    let mut opener = Session::bare(now, settings(), PipeEnd::Opener, both).unwrap();
    let mut acceptor = Session::bare(now, settings(), PipeEnd::Acceptor, both).unwrap();
    let mut frames = 0;
    for (from, to) in [(&mut opener, &mut acceptor)] {
        let mut message = Vec::new();
        while from.poll_frame(now, &mut message) {
            to.handle_frame(now, message[0], &message[5..]).unwrap();
            message.clear();
            frames += 1;
        }
    }
    assert_eq!(frames, 1);
    assert_eq!(acceptor.poll_event(), Some(SessionEvent::MayOpen));
}

#[derive(Debug, Default)]
struct Seen {
    frames_in: usize,
    frames_out: usize,
    states: Vec<(Side, TunnelState)>,
    limits: Vec<StreamReason>,
}

impl Trace for Seen {
    fn frame_in(&mut self, _: Time, _: u8, _: &[u8]) {
        self.frames_in += 1;
    }
    fn frame_out(&mut self, _: Time, _: &[u8]) {
        self.frames_out += 1;
    }
    fn state(&mut self, _: Time, side: Side, state: TunnelState) {
        self.states.push((side, state));
    }
    fn limit(&mut self, _: Time, _: CallKey, reason: StreamReason) {
        self.limits.push(reason);
    }
}

#[test]
fn a_trace_sees_frames_states_and_limits() {
    let now = Time::ZERO;
    let mut config = settings();
    config.tunnel.limits.max_message = 10;
    let forward = Directions::Forward;
    let mut client = Session::bare(now, settings(), PipeEnd::Opener, forward).unwrap();
    let server = Session::bare(now, config, PipeEnd::Acceptor, forward).unwrap();
    let mut server = server.with_trace(Seen::default());
    let mut bytes = Vec::new();
    server.poll_bytes(now, &mut bytes);
    client.handle_bytes(now, &bytes).unwrap();
    let call = client
        .open("a/B", &OwnedMetadata::new(), OpenOptions::default())
        .unwrap();
    client.send(call, &[0; 11]).unwrap();
    bytes.clear();
    client.poll_bytes(now, &mut bytes);
    server.handle_bytes(now, &bytes).unwrap();
    let error = server.abort(now, TunnelReason::Stalled).unwrap();
    let seen = server.trace();
    // The answer to the offer of extensions, the call, its message.
    assert_eq!((seen.frames_in, seen.frames_out), (3, 1));
    assert_eq!(seen.limits, [StreamReason::MessageTooLarge]);
    assert_eq!(
        seen.states,
        [(Side::Server, TunnelState::Failed(error.reason()))]
    );
}
