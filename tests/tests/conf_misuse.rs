//! Rows 178 to 189 of the catalogue: what an application may not do, refused before the wire.

use grpctunnel_core::wire::{self, EncodeError, Encoded, HeadOptions, StatusHead};
use grpctunnel_core::{
    Code, CommandError, Config, Envelope, Gone, Growing, Hold, Input, MethodKind, Negotiation,
    OpenError, OpenOptions, Opening, Side, StreamReason, Time, TooManyBytes, TunnelServer,
};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{Fields, cancel, close, close_with, half, msg, new, set};
use grpctunnel_tests::harness::{SentFrame, client, client_with, config, server};

type Pair<'a> = (&'a str, &'a [u8]);

/// What the encoder returns for a call's head. It leaves nothing behind that could be sent.
fn open(method: &str, metadata: &[Pair<'_>]) -> Result<u32, EncodeError> {
    let mut head = Vec::new();
    let pairs = metadata.iter().copied();
    let encoded = wire::encode_open(&mut head, method, pairs, &HeadOptions::default());
    assert!(encoded.is_ok() || head.is_empty(), "{head:?}");
    encoded.map(|encoded| encoded.len())
}

#[test]
fn a_key_names_no_stream_but_its_own() {
    let opening = Opening::Accepted(Negotiation::On);
    let mut server = TunnelServer::<Growing>::new(Time::ZERO, Config::default(), opening).unwrap();
    let open = |server: &mut TunnelServer<Growing>, id| {
        let frame = Vec::from(new(id, "svc/m"));
        match server.handle_frame(Time::ZERO, &frame) {
            Ok(Input::Opened { stream, .. }) => stream,
            other => panic!("{other:?}"),
        }
    };
    let old = open(&mut server, 1);
    assert_eq!(server.inspect(old).and_then(|stream| stream.id()), Some(1));
    assert!(server.handle_frame(Time::ZERO, &cancel(1)).is_ok());
    server.release(old).unwrap();
    while server.poll_transmit(Time::ZERO).is_some() {}
    assert_eq!(
        (
            server.streams(),
            server.inspect(old).and_then(|stream| stream.id())
        ),
        (0, None)
    );
    let key = open(&mut server, 2);
    assert_eq!(key.index(), old.index());
    assert_eq!(server.inspect(key).and_then(|stream| stream.id()), Some(2));
    assert_eq!(server.inspect(old).and_then(|stream| stream.id()), None);
    assert_eq!(
        server
            .inspect(old)
            .and_then(|stream| stream.receive_window()),
        None
    );
    assert!(matches!(server.stream(old), Err(Gone)));
}

#[test]
fn conf_178_a_method_that_no_peer_could_take() {
    assert_eq!(open("", &[]), Err(EncodeError::MethodEmpty));
    for method in ["m", "/m", "/"] {
        assert_eq!(
            open(method, &[]),
            Err(EncodeError::MethodSyntax),
            "{method}"
        );
    }
    assert!(open("svc/m", &[]).is_ok());
    assert!(open("/svc/m", &[]).is_ok());
}

#[test]
fn conf_179_request_metadata_that_is_not_utf8() {
    for key in ["k", "k-bin"] {
        let encoded = open("svc/m", &[("a", b"1"), (key, b"\xff")]);
        assert_eq!(encoded, Err(EncodeError::MetadataNotUtf8), "{key}");
    }
}

#[test]
fn conf_180_response_metadata_that_is_not_utf8() {
    let bad: [Pair<'_>; 1] = [("k", b"\xff")];
    let options = HeadOptions::default();
    let mut head = Vec::new();
    let headers = wire::encode_headers(&mut head, bad.into_iter(), &options);
    assert_eq!(headers.map(|_| ()), Err(EncodeError::MetadataNotUtf8));
    let status = StatusHead {
        code: 0,
        message: "",
        details: &[],
    };
    let trailers = wire::encode_close(&mut head, status, bad.into_iter(), &options);
    assert_eq!(trailers.map(|_| ()), Err(EncodeError::MetadataNotUtf8));
    assert!(head.is_empty());
}

#[test]
fn conf_181_a_status_that_is_too_long_is_cut_between_characters() {
    let status = StatusHead {
        code: 5,
        message: &"é".repeat(20_000),
        details: &[],
    };
    let mut head = Vec::new();
    let options = HeadOptions::default();
    let encoded = wire::encode_close(&mut head, status, std::iter::empty(), &options);
    assert!(encoded.is_ok() && head.len() <= 17_000, "{encoded:?}");
    let frame = close_with(1, &Fields::new().raw(&head));
    let SentFrame::Close { status, .. } = SentFrame::read(Side::Server, &frame) else {
        panic!("not a close");
    };
    assert_eq!(status.code, 5);
    assert!(status.message.len() > 10_000 && status.message.starts_with("éé"));
}

both_stores! {
    fn conf_182_half_close_twice_is_once<S>() {
        let mut t = client::<S>().with_call();
        assert_eq!(t.act(|end, _| end.half_close(1)), Ok(()));
        t.sends(&["half(1)"]);
        assert_eq!(t.act(|end, _| end.half_close(1)), Ok(()));
        t.lives();
    }

    fn conf_183_a_message_after_half_close<S>() {
        let mut t = client::<S>().with_call();
        assert_eq!(t.act(|end, _| end.half_close(1)), Ok(()));
        t.sends(&["half(1)"]);
        let late = t.act(|end, _| end.send(1, vec![1], 1));
        assert_eq!(late, Err(CommandError::SendSideClosed));
        t.lives();
    }

    fn conf_184_a_second_request<S>() {
        for kind in [MethodKind::Unary, MethodKind::ServerStreaming] {
            let mut t = client::<S>();
            t.open_kind(kind);
            t.send(1, 3).sees(&["writable(1)"]).sends(&["msg(1,3,3)"]);
            let second = t.act(|end, _| end.send(1, vec![1], 1));
            assert_eq!(second, Err(CommandError::SecondMessage));
            assert_eq!(CommandError::SecondMessage.code(), Code::Internal);
            t.lives();
        }
    }

    fn conf_185_the_largest_message_client<S>() {
        let mut t = client::<S>().with_call();
        let key = t.end.key(1);
        let sent = t.act(|end, _| end.tunnel.stream(key).unwrap().send_message(Envelope::new(u32::MAX), 0));
        assert_eq!(sent, Ok(()));
        // Its bytes are counted to the last one, and none beyond it.
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).unwrap().send_message(Envelope::new(1), 1)), Err(CommandError::Busy));
        t.taking = false;
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).unwrap().provide(u32::MAX)), Ok(()));
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).unwrap().provide(1)), Err(TooManyBytes));
        assert_eq!(CommandError::TooManyBytes.code(), Code::Internal);
        t.lives();
    }

    fn conf_185_the_largest_message_server<S>() {
        let mut t = server::<S>().with_call();
        let key = t.end.key(1);
        let sent = t.act(|end, _| end.tunnel.stream(key).unwrap().send_message(Envelope::new(u32::MAX), 0));
        assert_eq!(sent, Ok(()));
        t.taking = false;
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).unwrap().provide(u32::MAX)), Ok(()));
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).unwrap().provide(1)), Err(TooManyBytes));
        t.lives();
    }

    fn conf_186_the_last_id<S>() {
        let mut config = config::<S>();
        config.first_stream_id = i64::MAX - 1;
        let mut t = client_with::<S>(config, Opening::Accepted(Negotiation::On));
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        t.taking = false;
        assert_eq!((t.open(), t.open()), (1, 2));
        let third = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(third, Err(OpenError::IdsExhausted));
        assert_eq!(OpenError::IdsExhausted.code(), Code::Unavailable);
        t.taking = true;
        t.settle();
        t.sends(&["new(9223372036854775806,svc/m)", "new(9223372036854775807,svc/m)"]);
        let third = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(third, Err(OpenError::IdsExhausted));
        // The calls that have an id go on.
        t.get(msg(i64::MAX, 3, 3)).sees(&["got(2,3)"]);
        t.lives();
    }

    fn conf_187_headers_and_ends_twice<S>() {
        let status = StatusHead { code: 0, message: "", details: &[] };
        let mut t = server::<S>();
        t.open_kind(1, MethodKind::Unary);
        t.get(half(1));
        t.seen();
        t.sent();

        t.open_kind(2, MethodKind::Unary);
        assert_eq!(t.act(|end, _| end.respond(2, &[])), Ok(()));
        t.sends(&["hdr(2)"]);
        let again = t.act(|end, _| end.respond(2, &[]));
        assert_eq!(again, Err(CommandError::HeadersLate));
        t.send(2, 3).sees(&["writable(2)"]).sends(&["msg(2,3,3)"]);
        let second = t.act(|end, _| end.send(2, vec![1], 1));
        assert_eq!(second, Err(CommandError::SecondMessage));
        t.taking = false;
        t.close(2, 0);
        let again = t.act(|end, now| end.close(now, 2, status, &[], Hold::Never));
        assert_eq!(again, Err(CommandError::SendSideClosed));
        let late = t.act(|end, _| end.respond(2, &[]));
        assert_eq!(late, Err(CommandError::SendSideClosed));
        t.taking = true;
        t.settle();
        t.sees(&["ended(2,closed)"]).sends(&["close(2,OK)"]);
        let status = StatusHead { code: 0, message: "", details: &[] };
        let late = t.act(|end, now| end.close(now, 2, status, &[], Hold::Never));
        assert_eq!(late, Err(CommandError::Gone));

        // Headers behind a message are late as well.
        t.open_kind(3, MethodKind::Unknown);
        t.send(3, 3).sees(&["writable(3)"]).sends(&["msg(3,3,3)"]);
        let late = t.act(|end, _| end.respond(3, &[]));
        assert_eq!(late, Err(CommandError::HeadersLate));
        t.lives();
    }

    fn conf_188_a_handler_that_goes_away<S>() {
        let mut t = server::<S>().with_call();
        t.open_kind(2, MethodKind::Unknown);
        t.act(|end, _| end.release(1));
        t.sees(&["ended(1,INTERNAL,HandlerGone)"]).sends(&["close(1,INTERNAL)"]);
        t.get(msg(2, 3, 3)).sees(&["got(2,3)"]);
        assert_eq!(t.end.tunnel.streams(), 1);
        t.lives();
    }

    fn conf_189_metadata_beyond_what_a_peer_takes_client<S>() {
        let value = vec![b'v'; 70_000];
        let encoded = open("svc/m", &[("k", &value)]);
        assert_eq!(encoded, Err(EncodeError::MetadataTooLarge));
        // Nor does the tunnel take a head that was encoded in another way.
        let mut t = client::<S>();
        let opened = t.act(|end, now| {
            end.tunnel.open(now, Encoded::kept(3 << 20, true), OpenOptions::default()).map(|_| ())
        });
        assert_eq!(opened, Err(OpenError::HeadTooLarge));
        assert_eq!(OpenError::HeadTooLarge.code(), Code::ResourceExhausted);
        t.lives();
    }

    fn conf_189_metadata_beyond_what_a_peer_takes_server<S>() {
        let value = vec![b'v'; 70_000];
        let pairs: [Pair<'_>; 1] = [("k", &value)];
        let options = HeadOptions::default();
        let headers = wire::encode_headers(&mut Vec::new(), pairs.into_iter(), &options);
        assert_eq!(headers.map(|_| ()), Err(EncodeError::MetadataTooLarge));
        let mut t = server::<S>().with_call();
        let key = t.end.key(1);
        let late = t.act(|end, _| end.tunnel.stream(key).unwrap().respond(Encoded::kept(3 << 20, true)));
        assert_eq!(late, Err(CommandError::HeadTooLarge));
        assert_eq!(CommandError::HeadTooLarge.code(), Code::ResourceExhausted);
        let late = t.act(|end, now| end.tunnel.stream(key).unwrap().close(now, Encoded::kept(3 << 20, false), None));
        assert_eq!(late, Err(CommandError::HeadTooLarge));
        t.lives();
    }
}

both_stores! {
    fn a_full_client_says_when_it_has_room<S>() {
        let mut t = client::<S>();
        for _ in 0..S::STREAMS {
            t.open();
        }
        let full = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(full, Err(OpenError::Full));
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.act(|end, _| end.release(1));
        t.sees(&["may open"]);
        t.open();
        t.lives();
    }

    fn a_refused_command_changes_nothing<S>() {
        let mut t = client::<S>().with_call();
        let key = t.end.key(1);
        let refused = t.act(|end, _| end.tunnel.stream(key).unwrap().send_message(Envelope::new(3), 4));
        assert_eq!(refused, Err(CommandError::TooManyBytes));
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).unwrap().provide(1)), Err(TooManyBytes));
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).unwrap().consumed(1)), Err(TooManyBytes));
        assert_eq!(t.act(|end, _| end.send(1, vec![1; 5], 2)), Ok(()));
        t.sends(&["msg(1,5,2)"]);
        assert_eq!(t.act(|end, _| end.send(1, vec![1], 1)), Err(CommandError::Busy));
        assert_eq!(t.act(|end, _| end.half_close(1)), Err(CommandError::MessageIncomplete));
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).unwrap().provide(4)), Err(TooManyBytes));
        assert_eq!(t.act(|end, _| end.provide(1, 3)), Ok(()));
        t.sees(&["writable(1)"]).sends(&["more(1,3)"]);
        assert_eq!(t.act(|end, _| end.half_close(1)), Ok(()));
        t.sends(&["half(1)"]);
        t.lives();
    }

    fn a_caller_ends_a_stream_for_a_reason_that_it_found<S>() {
        let mut t = client::<S>().with_call();
        let key = t.end.key(1);
        let failed = t.act(|end, _| {
            let failed = end.tunnel.stream(key).map(|stream| stream.fail(StreamReason::ReceiveBufferFull));
            // What follows is seen.
            assert!(!end.read(1, 0));
            failed
        });
        assert_eq!(failed, Ok(()));
        t.settle();
        t.sees(&["ended(1,RESOURCE_EXHAUSTED,ReceiveBufferFull)"]).sends(&["cancel(1)"]);
        let again = t.act(|end, _| end.tunnel.stream(key).map(|stream| stream.fail(StreamReason::ReceiveBufferFull)));
        assert_eq!(again, Err(Gone));
        assert_eq!(t.end.tunnel.counters().violations, 1);
        t.lives();

        let mut t = server::<S>().with_call();
        let key = t.end.key(1);
        assert_eq!(t.act(|end, _| end.tunnel.stream(key).map(|stream| stream.fail(StreamReason::NotUtf8))), Ok(()));
        t.sees(&["ended(1,INVALID_ARGUMENT,NotUtf8)"]).sends(&["close(1,INVALID_ARGUMENT)"]);
        t.lives();
    }

    fn a_key_that_names_no_stream_is_answered<S>() {
        let mut t = client::<S>().with_call();
        let key = t.end.key(1);
        t.act(|end, _| end.release(1));
        t.sees(&["ended(1,CANCELLED)"]).sends(&["cancel(1)"]);
        assert_eq!(t.end.tunnel.release(key), Err(Gone));
        assert!(matches!(t.end.tunnel.stream(key), Err(Gone)));
        assert!(t.end.tunnel.inspect(key).is_none());
    }
}
