//! What a session's verbs refuse, and which of them hold a call to its method's kind.

use super::*;

#[test]
fn the_kind_of_a_method_bounds_messages_both_ways() {
    let mut two = Two::new();
    let (ours, theirs) = two.open(MethodKind::Bidi);
    let server = &mut two.ends[SERVER];
    assert_eq!(
        server.set_method_kind(theirs, MethodKind::Unary),
        Ok(()),
        "right after accept"
    );
    server.send(theirs, b"one").unwrap();
    assert_eq!(server.send(theirs, b"two"), Err(SendError::SecondMessage));
    // The client believes that there may be many, and the server ends the call at the second one.
    two.ends[CLIENT].send(ours, b"one").unwrap();
    two.ends[CLIENT].send(ours, b"two").unwrap();
    two.rest();
    assert_eq!(two.message(SERVER, theirs), b"one");
    let end = two.ended(SERVER, theirs);
    assert_eq!(end.reason, Some(StreamReason::SecondRequest.into()));

    let (ours, theirs) = two.open(MethodKind::Unary);
    let client = &mut two.ends[CLIENT];
    client.send(ours, b"one").unwrap();
    assert_eq!(client.send(ours, b"two"), Err(SendError::SecondMessage));
    // The kind is told to `open` at this end.
    assert_eq!(client.set_method_kind(ours, MethodKind::Bidi), Err(Gone));
    client.cancel(ours).unwrap();
    two.rest();
    let server = &mut two.ends[SERVER];
    assert_eq!(server.set_method_kind(theirs, MethodKind::Unary), Err(Gone));
    assert_eq!(
        server.respond(theirs, &OwnedMetadata::new()),
        Err(RespondError::Gone)
    );
    assert_eq!(server.cancel(theirs), Ok(()));
    assert_eq!(server.cancel(theirs), Err(Gone));
}

/// A call holds its place until its end is received. Then there is room at once, and not only when
/// something is sent or arrives.
#[test]
fn room_for_a_call_is_reported_when_the_end_of_another_is_received() {
    let mut config = settings();
    config.tunnel.limits.max_streams = 1;
    let mut two = Two::with(config, usize::MAX);
    let (ours, theirs) = two.open(MethodKind::Bidi);
    let none = OwnedMetadata::new();
    let full = two.ends[CLIENT].open("a/B", &none, OpenOptions::default());
    assert_eq!(full, Err(OpenCallError::Tunnel(OpenError::Full)));
    two.events(CLIENT);
    two.ends[SERVER].close(theirs, &OwnedStatus::OK).unwrap();
    two.rest();
    assert!(!two.events(CLIENT).contains(&SessionEvent::MayOpen));
    let received = two.ends[CLIENT].recv(ours);
    assert!(matches!(received, Some(Received::Ended(_))), "{received:?}");
    assert_eq!(two.events(CLIENT), [SessionEvent::MayOpen]);
    let opened = two.ends[CLIENT].open("a/B", &none, OpenOptions::default());
    assert!(opened.is_ok(), "{opened:?}");
}

#[test]
fn headers_go_out_once() {
    let mut two = Two::new();
    let (ours, theirs) = two.open(MethodKind::Bidi);
    let headers = OwnedMetadata::from_iter([("h", "1")]);
    let server = &mut two.ends[SERVER];
    server.respond(theirs, &headers).unwrap();
    assert_eq!(server.respond(theirs, &headers), Err(RespondError::Late));
    let unsendable = OwnedMetadata::from_iter([("Not lower case", "1")]);
    assert!(matches!(
        server.close_with(theirs, &OwnedStatus::OK, &unsendable),
        Err(CloseError::Head(_))
    ));
    // What was refused has changed nothing.
    server.close(theirs, &OwnedStatus::OK).unwrap();
    two.rest();
    assert_eq!(two.recv(CLIENT, ours), Some(Received::Headers(headers)));
    assert!(two.ended(CLIENT, ours).status.is_ok());
}

#[test]
fn every_refusal_has_a_text_of_its_own() {
    let head = EncodeError::MetadataKey;
    let texts = [
        vec![
            OpenCallError::NoClient.to_string(),
            OpenCallError::Head(head).to_string(),
            OpenCallError::Tunnel(OpenError::Full).to_string(),
        ],
        [
            SendError::Full,
            SendError::Gone,
            SendError::HalfClosed,
            SendError::SecondMessage,
            SendError::TooLarge,
        ]
        .map(|error| error.to_string())
        .to_vec(),
        [
            RespondError::Head(head),
            RespondError::Late,
            RespondError::Gone,
        ]
        .map(|error| error.to_string())
        .to_vec(),
        [CloseError::Head(head), CloseError::Gone]
            .map(|error| error.to_string())
            .to_vec(),
    ];
    for texts in &texts {
        for (number, text) in texts.iter().enumerate() {
            assert!(text.len() > 10 && !text.ends_with('.'), "{text}");
            assert!(!texts[..number].contains(text), "{text}");
        }
    }
    assert_eq!(Gone.to_string(), CloseError::Gone.to_string());
    assert_eq!(
        CloseError::Head(head).to_string(),
        head.to_string(),
        "the cause is named"
    );
}

/// A reply that has no room keeps its call from being read. Who waits for room learns of the end, too.
#[test]
fn who_waits_for_room_is_told_of_room_and_of_the_end_of_the_call() {
    let mut config = settings();
    config.send_buffer = 10;
    let mut two = Two::with(config, usize::MAX);
    let (ours, theirs) = two.open(MethodKind::Bidi);
    two.ends[CLIENT].send(ours, b"request").unwrap();
    two.rest();
    let server = &mut two.ends[SERVER];
    let request = server.recv(theirs);
    assert_eq!(request, Some(Received::Message(b"request".to_vec())));
    // Any size is taken while there is room at all.
    for message in [vec![2; 3], vec![1; 200_000]] {
        assert!(server.may_send(theirs));
        server.send(theirs, &message).unwrap();
    }
    assert!(!server.may_send(theirs));
    assert_eq!(server.send(theirs, &[]), Err(SendError::Full));
    two.events(SERVER);
    two.rest();
    assert_eq!(two.events(SERVER), [], "the peer reads nothing");
    assert_eq!(two.message(CLIENT, ours), [2; 3]);
    assert_eq!(two.message(CLIENT, ours), [1; 200_000]);
    assert_eq!(two.events(SERVER), [SessionEvent::Writable(theirs)]);

    let server = &mut two.ends[SERVER];
    server.send(theirs, &[3; 200_000]).unwrap();
    assert!(!server.may_send(theirs));
    two.ends[CLIENT].cancel(ours).unwrap();
    two.rest();
    assert_eq!(two.events(SERVER), [SessionEvent::Writable(theirs)]);
    assert!(two.ends[SERVER].may_send(theirs));
    assert_eq!(two.ends[SERVER].send(theirs, &[]), Err(SendError::Gone));
    let end = two.ended(SERVER, theirs);
    assert_eq!(end.reason, Some(StreamReason::Cancelled.into()));
}
