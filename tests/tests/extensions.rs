//! The extensions between our own ends, and what changes towards a peer that knows none: nothing.

use core::time::Duration;

use grpctunnel_core::wire::{ClientKind, DecodeLimits, ExtensionSet, decode_client};
use grpctunnel_core::{
    Code, CommandError, Envelope, Hold, Negotiation, OpenOptions, Opening, Side,
};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{
    self, Fields, close, content, extensions, half, msg, new, none, on, set, set_with, strings, wu,
};
use grpctunnel_tests::harness::{
    OnHeap, Pair, Seen, SentFrame, Setup, client_agreed, client_with, config_with, extension_set,
    server_agreed, server_with,
};

const NEGOTIATED: Opening = Opening::Accepted(Negotiation::On);
const RAW_METADATA: u8 = 1;
const TRANSPARENT: u8 = 2;
const DRAIN: u8 = 4;
const PING: u8 = 8;

/// What both ends have in effect once everything has arrived.
fn settled(setup: Setup) -> [ExtensionSet; 2] {
    let mut pair = Pair::<OnHeap>::new(setup);
    pair.drive_bounded(100);
    [
        pair.client.tunnel.extensions(),
        pair.server.tunnel.extensions(),
    ]
}

#[test]
fn what_both_name_is_in_effect_and_nothing_else() {
    for client in 0..32 {
        for server in 0..32 {
            for reverse in [false, true] {
                let setup = Setup {
                    reverse,
                    extensions: (client, server),
                    ..Setup::default()
                };
                assert_eq!(
                    settled(setup),
                    [extension_set(client & server); 2],
                    "{setup:?}"
                );
                let setup = Setup {
                    negotiate: false,
                    ..setup
                };
                assert_eq!(settled(setup), [ExtensionSet::EMPTY; 2], "{setup:?}");
            }
        }
    }
}

both_stores! {
    fn a_server_offers_what_it_can_do<S>() {
        server_with::<S>(config_with::<S>(0), NEGOTIATED).sends(&["set(-1,65536,[0, 1])"]);
        server_with::<S>(config_with::<S>(31), NEGOTIATED)
            .sends(&["set(-1,65536,[0, 1],[1, 2, 3, 4, 5])"]);
        server_with::<S>(config_with::<S>(DRAIN), NEGOTIATED).sends(&["set(-1,65536,[0, 1],[3])"]);
        server_with::<S>(config_with::<S>(31), Opening::Accepted(Negotiation::Off)).sends(&[]);
    }

    fn an_offer_is_answered_first_and_even_with_nothing<S>() {
        client_agreed::<S>(0, 15).lives();
        client_agreed::<S>(15, 15).lives();
        // An offer of values that nobody knows is an offer.
        let mut t = client_with::<S>(config_with::<S>(31), NEGOTIATED);
        t.get(set_with(65_536, &[9, 0, 99, 4, 4, 6]))
            .sees(&["settled(One)", "may open"])
            .sends(&["extensions([1, 2, 3, 4, 5])"]);
        assert_eq!(t.end.tunnel.extensions(), extension_set(PING));
        // No offer, no answer.
        let mut t = client_with::<S>(config_with::<S>(31), NEGOTIATED);
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]).sends(&[]);
        assert!(t.end.tunnel.extensions().is_empty());
    }

    fn an_answer_counts_once_and_before_any_stream<S>() {
        let mut t = server_agreed::<S>(15, DRAIN);
        let ignored = t.end.tunnel.counters().ignored;
        t.get(extensions(-1, &[4]));
        assert_eq!(t.end.tunnel.extensions(), extension_set(DRAIN));
        assert_eq!(t.end.tunnel.counters().ignored, ignored + 1);
        t.lives();

        let mut t = server_with::<S>(config_with::<S>(31), NEGOTIATED);
        t.sent();
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.get(extensions(-1, &[3, 4]));
        assert!(t.end.tunnel.extensions().is_empty());
        // On a stream it is a frame without a member.
        t.get(extensions(1, &[3])).sees(&["ended(1,INTERNAL,UnknownFrame)"])
            .sends(&["close(1,INTERNAL)"]);
        t.lives();
    }

    fn without_an_offer_nothing_changes<S>() {
        let mut t = server_with::<S>(config_with::<S>(0), NEGOTIATED);
        t.sent();
        for frame in [extensions(-1, &[1, 2, 3, 4, 5]), frames::ping(-1, 5), frames::pong(-1, 5)] {
            t.get(frame);
        }
        assert!(t.end.tunnel.extensions().is_empty());
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.act(|end, now| end.drain(now, Duration::from_secs(30)));
        t.sends(&[]);
        t.get(frames::ping(1, 5)).sees(&["ended(1,INTERNAL,UnknownFrame)", "finish"])
            .sends(&["close(1,INTERNAL)"]);

        let mut t = client_agreed::<S>(0, 15).with_call();
        t.get(frames::drain(0));
        t.get(frames::ping(-1, 5));
        t.lives();
        t.get(frames::ping(1, 5)).sees(&["ended(1,INTERNAL,UnknownFrame)"])
            .sends(&["cancel(1)"]);
        t.lives();
    }

    fn raw_values_pass_where_they_are_agreed_on<S>() {
        let raw = Fields::new().bytes(100, b"\xff\x00");
        let entry = Fields::new().bytes(1, b"k-bin").message(2, &raw);
        let head = Fields::new().message(1, &entry);
        for (agreed, expected) in [(RAW_METADATA, vec![b"\xff\x00".to_vec()]), (0, vec![])] {
            let mut t = server_agreed::<S>(15, agreed);
            let frame: Vec<u8> = new(1, "svc/m").headers(head.clone()).into();
            let now = t.now();
            let input = t.end.tunnel.handle_frame(now, &frame);
            let Ok(grpctunnel_core::Input::Opened { metadata, .. }) = input else {
                panic!("{input:?}");
            };
            let entry = metadata.iter().next().unwrap();
            assert_eq!(entry.key(), b"k-bin");
            let raw: Vec<_> = entry.raw_values().map(<[u8]>::to_vec).collect();
            assert_eq!(raw, expected);
        }
        let mut t = client_agreed::<S>(15, 0).with_call();
        t.get(on(1, &Fields::new().message(2, &head))).sees(&["hdr(1)"]);
        t.lives();
    }

    fn a_compressed_message_passes_where_it_is_agreed_on<S>() {
        let compressed = Envelope { size: 3, compressed: true };
        let frame = {
            let data = Fields::new().number(1, 3).bytes(2, &content(0, 3)).number(100, 1);
            on(1, &Fields::new().message(3, &data))
        };
        for (agreed, sent) in [
            (TRANSPARENT, Ok(())),
            (15 - TRANSPARENT, Err(CommandError::CompressionNotAgreed)),
        ] {
            let mut t = server_agreed::<S>(15, agreed);
            let encoding = strings(&[("grpc-encoding", "gzip")]);
            t.get(new(1, "svc/m").headers(encoding)).sees(&["opened(1,svc/m)"]);
            let now = t.now();
            let input = t.end.tunnel.handle_frame(now, &frame);
            let Ok(grpctunnel_core::Input::Data { begins: Some(begins), .. }) = input else {
                panic!("{input:?}");
            };
            assert_eq!(begins.compressed, sent.is_ok());
            let key = t.end.key(1);
            assert_eq!(t.end.tunnel.stream(key).unwrap().send_message(compressed, 0), sent);
            if let Err(refused) = sent {
                assert_eq!(refused.code(), Code::Unimplemented);
            }
        }
    }

    fn no_ok_is_held_for_a_peer_that_answered<S>() {
        let hold = Hold::UntilHalfClose { max: Duration::from_secs(10) };
        let mut t = server_agreed::<S>(DRAIN, 0);
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.close_with(1, 0, &[], hold).sees(&["ended(1,closed)"]).sends(&["close(1,OK)"]);
        let mut t = server_with::<S>(config_with::<S>(DRAIN), NEGOTIATED);
        t.sent();
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.close_with(1, 0, &[], hold).sends(&[]);
        t.get(half(1)).sees(&["half(1)", "ended(1,closed)"]).sends(&["close(1,OK)"]);
    }

    fn a_draining_server_says_what_it_handles<S>() {
        let mut t = server_agreed::<S>(15, 15);
        t.get(new(7, "svc/m")).sees(&["opened(7,svc/m)"]);
        t.act(|end, now| end.drain(now, Duration::from_secs(30)));
        t.sends(&["drain(7)"]);
        t.act(|end, now| end.drain(now, Duration::from_secs(20)));
        t.sends(&[]);
        t.get(new(8, "svc/m")).sends(&["close(8,UNAVAILABLE)"]);
        t.get(half(7)).sees(&["half(7)"]);
        t.close(7, 0).sees(&["ended(7,closed)", "finish"]).sends(&["close(7,OK)"]);

        let mut t = server_agreed::<S>(15, 15);
        t.act(|end, now| end.drain(now, Duration::from_secs(30)));
        t.sends(&["drain(-1)"]).sees(&["finish"]);
    }

    fn a_drain_takes_no_ping_s_place<S>() {
        let mut t = server_agreed::<S>(15, 15);
        t.get(new(7, "svc/m")).sees(&["opened(7,svc/m)"]);
        // Both are due at once.
        t.advance(Duration::from_secs(20));
        t.act(|end, now| {
            end.drain(now, Duration::from_secs(30));
            end.tunnel.handle_timeout(now);
        });
        t.sends(&["drain(7)", "ping(1)"]);
    }

    fn a_drain_before_the_answer_is_told_when_it_comes<S>() {
        let mut t = server_with::<S>(config_with::<S>(31), NEGOTIATED);
        t.sent();
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.act(|end, now| end.drain(now, Duration::from_secs(30)));
        t.sends(&[]);
        // Behind a stream an answer is too late.
        t.get(extensions(-1, &[3]));
        t.sends(&[]);

        let mut t = server_with::<S>(config_with::<S>(31), NEGOTIATED);
        t.sent();
        t.taking = false;
        t.act(|end, now| end.drain(now, Duration::from_secs(30)));
        t.get(extensions(-1, &[3]));
        t.taking = true;
        t.settle();
        t.sends(&["drain(-1)"]).sees(&["finish"]);
    }

    fn what_a_draining_server_does_not_handle_is_safe_to_retry<S>() {
        let mut t = client_agreed::<S>(15, 15);
        for call in 1..=3 {
            assert_eq!(t.open(), call);
        }
        t.taking = false;
        assert_eq!(t.open(), 4);
        t.get(frames::drain(1)).sees(&[
            "ended(2,UNAVAILABLE,PeerDraining,never sent)",
            "ended(3,UNAVAILABLE,PeerDraining,never sent)",
            "ended(4,UNAVAILABLE,PeerDraining,never sent)",
            "draining",
        ]);
        t.taking = true;
        t.settle();
        t.sends(&[]);
        let opened = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(opened, Err(grpctunnel_core::OpenError::Draining));
        t.get(close(2, 14));
        // A second one changes nothing.
        t.get(frames::drain(0));
        t.get(msg(1, 5, 5)).sees(&["got(1,5)"]);
        t.get(close(1, 0)).sees(&["ended(1,OK)", "finish"]);
    }

    fn a_ping_is_answered_ahead_of_data<S>() {
        let mut t = server_agreed::<S>(15, 15);
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.taking = false;
        t.send(1, 5);
        t.get(frames::ping(-1, u64::MAX));
        t.get(frames::ping(-1, 0));
        t.taking = true;
        t.settle();
        t.sees(&["writable(1)"]).sends(&[
            "pong(18446744073709551615)", "pong(0)", "msg(1,5,5)",
        ]);
        // On a stream it is a frame without a member.
        t.get(frames::ping(1, 1)).sees(&["ended(1,INTERNAL,UnknownFrame)"])
            .sends(&["close(1,INTERNAL)"]);
        t.get(none(-1));
        t.get(wu(-1, 0));
        t.lives();

        let mut t = client_agreed::<S>(15, 15);
        t.get(frames::ping(-1, 7)).sends(&["pong(7)"]);
        t.get(frames::pong(-1, 7));
        t.lives();
    }

    fn of_many_pings_at_once_the_last_are_answered<S>() {
        let mut t = server_agreed::<S>(15, 15);
        t.taking = false;
        for opaque in 1..=6 {
            t.get(frames::ping(-1, opaque));
        }
        t.taking = true;
        t.settle();
        t.sends(&["pong(3)", "pong(4)", "pong(5)", "pong(6)"]);
        t.lives();
    }

    fn a_flood_of_pings_ends_the_tunnel<S>() {
        let mut t = server_agreed::<S>(15, 15);
        for round in 0..100_000_u64 {
            t.get(frames::ping(-1, round));
            t.sent();
            if t.end.tunnel.is_ended() {
                assert!(round > 1_000, "after {round}");
                let seen = t.seen();
                let [Seen::Carrier(_)] = seen.as_slice() else {
                    panic!("{seen:?}");
                };
                let error = t.end.tunnel.error().unwrap();
                assert_eq!(error.code(), Code::ResourceExhausted);
                return;
            }
        }
        panic!("it never ends");
    }
}

#[test]
fn the_answer_leaves_before_the_first_stream() {
    let mut t = client_with::<OnHeap>(config_with::<OnHeap>(31), NEGOTIATED);
    t.taking = false;
    t.get(set_with(65_536, &[1]))
        .sees(&["settled(One)", "may open"]);
    let opened = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
    assert!(opened.is_ok());
    t.taking = true;
    t.settle();
    let sent: Vec<SentFrame> = t.sent();
    assert!(
        matches!(
            sent.as_slice(),
            [SentFrame::Extensions(_), SentFrame::New { .. }]
        ),
        "{sent:?}"
    );
}

#[test]
fn our_answer_is_what_the_codec_reads() {
    let frame = extensions(-1, &[3, 4]);
    let frame = decode_client(&frame, &DecodeLimits::default()).unwrap();
    let ClientKind::Extensions(set) = frame.kind else {
        panic!("{frame:?}");
    };
    assert_eq!(set, extension_set(DRAIN | PING));
    assert_eq!(Side::Client, client_agreed::<OnHeap>(0, 1).end.side());
}
