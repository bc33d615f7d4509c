//! Rows 30 to 64 of the catalogue: `new_stream` at a tunnel server, and strings at both ends.

use core::time::Duration;

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{CommandError, Hold, MethodKind, Negotiation, Opening, Server};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{
    Fields, Frame, cancel, close_with, content, half, hdr, metadata, more, msg, new, none, on,
    status, strings, wu,
};
use grpctunnel_tests::harness::{
    Headers, Script, Seen, Store, client, config, server, server_unnegotiated, server_with,
};

/// Keys and their values.
type Entries<'a> = &'a [(&'a [u8], &'a [&'a [u8]])];

/// What the application sees when a call comes in with this frame.
#[expect(clippy::panic, reason = "a helper of tests states what must hold")]
fn opened<S: Store>(frame: impl Into<Frame>) -> (String, Headers) {
    let mut t = server::<S>();
    t.get(frame);
    let seen = t.seen();
    let [
        Seen::Opened {
            method, headers, ..
        },
    ] = &seen[..]
    else {
        panic!("{seen:?}");
    };
    t.lives();
    (method.clone(), headers.clone())
}

both_stores! {
    fn conf_030_any_first_id_and_gaps<S>() {
        for first in [0, 1, 5] {
            let mut t = server::<S>();
            for id in [first, first + 1, first + 100, i64::MAX - 1] {
                t.get(new(id, "svc/m")).sees(&[&format!("opened({id},svc/m)")]);
            }
            t.lives();
        }
    }

    fn conf_031_a_live_id_again<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.get(new(2, "svc/m")).sees(&["opened(2,svc/m)"]);
        t.get(new(1, "svc/m")).sees(&[
            "ended(1,UNAVAILABLE,StreamIdNotIncreasing,sent)",
            "ended(2,UNAVAILABLE,StreamIdNotIncreasing,sent)",
            "abort(INTERNAL,StreamIdNotIncreasing)",
        ]);
        t.sends(&[]);
    }

    fn conf_032_a_finished_id_again<S>() {
        let mut t = server::<S>().with_call();
        t.close(1, 0).sees(&["ended(1,closed)"]).sends(&["close(1,OK)"]);
        t.get(new(1, "svc/m")).sees(&["abort(INTERNAL,StreamIdNotIncreasing)"]);
    }

    fn conf_033_a_lower_id<S>() {
        let mut t = server::<S>();
        t.get(new(10, "svc/m")).sees(&["opened(10,svc/m)"]);
        t.get(new(9, "svc/m")).sees(&[
            "ended(10,UNAVAILABLE,StreamIdNotIncreasing,sent)",
            "abort(INTERNAL,StreamIdNotIncreasing)",
        ]);
    }

    fn conf_034_a_negative_id<S>() {
        for id in [-1, -2, i64::MIN] {
            let mut t = server::<S>();
            t.get(new(id, "svc/m")).sees(&["abort(INTERNAL,StreamIdNegative)"]);
        }
    }

    fn conf_035_the_largest_id_then_a_lower_one<S>() {
        let mut t = server::<S>();
        t.get(new(i64::MAX, "svc/m")).sees(&["opened(9223372036854775807,svc/m)"]);
        t.get(msg(i64::MAX, 2, 2)).sees(&["got(9223372036854775807,2)"]);
        t.get(new(5, "svc/m")).sees(&[
            "ended(9223372036854775807,UNAVAILABLE,StreamIdNotIncreasing,sent)",
            "abort(INTERNAL,StreamIdNotIncreasing)",
        ]);
    }

    fn conf_036_an_empty_method_name_ends_only_its_stream<S>() {
        // Two bytes are the whole frame: stream 0, an empty `new_stream`.
        let mut t = server::<S>();
        t.get(vec![0x12, 0x00]).sends(&["close(0,INVALID_ARGUMENT)"]);
        t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        t.get(msg(1, 3, 3)).sees(&["got(1,3)"]);
        t.close(1, 0).sees(&["ended(1,closed)"]).sends(&["close(1,OK)"]);
        t.lives();
    }

    fn conf_037_the_revision_is_judged_before_the_method<S>() {
        let mut t = server::<S>();
        t.get(new(1, "").revision(9)).sends(&["close(1,UNAVAILABLE)"]);
        t.get(half(1));
        t.get(new(2, "svc/m")).sees(&["opened(2,svc/m)"]);
        t.lives();
    }

    fn conf_038_a_method_without_a_slash<S>() {
        let mut t = server::<S>();
        for (id, method) in [(1, "/"), (2, "foo"), (3, "/foo")] {
            t.get(new(id, method)).sends(&[&format!("close({id},INVALID_ARGUMENT)")]);
        }
        t.lives();
    }

    fn conf_039_a_method_that_no_service_has<S>() {
        let mut t = server::<S>();
        for (id, method) in [(1, "//"), (2, "//a/b"), (3, "a/b/c")] {
            t.get(new(id, method)).sends(&[&format!("close({id},UNIMPLEMENTED)")]);
        }
        t.lives();
    }

    fn conf_040_a_method_with_and_without_a_slash_in_front<S>() {
        for method in ["pkg.S/M", "/pkg.S/M"] {
            assert_eq!(opened::<S>(new(1, method)).0, "pkg.S/M");
        }
    }

    fn conf_041_an_unknown_method_and_what_was_pipelined_behind_it<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/unknown")).sees(&["opened(1,svc/unknown)"]);
        t.close(1, 12).sees(&["ended(1,closed)"]).sends(&["close(1,UNIMPLEMENTED)"]);
        t.get(msg(1, 7, 7));
        t.get(half(1));
        t.lives();

        // The same frames before the answer could leave.
        let mut t = server::<S>();
        t.taking = false;
        t.get(new(1, "svc/unknown")).sees(&["opened(1,svc/unknown)"]);
        t.close(1, 12);
        t.get(msg(1, 7, 7)).sees(&["discard(1,7)"]);
        t.get(half(1)).sees(&["half(1)"]);
        t.taking = true;
        t.settle();
        t.sees(&["ended(1,closed)"]).sends(&["close(1,UNIMPLEMENTED)"]);
        t.lives();
    }

    fn conf_042_an_unknown_revision_and_what_was_pipelined_behind_it<S>() {
        let mut t = server::<S>().with_call();
        t.get(new(2, "svc/m").revision(7)).sends(&["close(2,UNAVAILABLE)"]);
        t.get(msg(2, 7, 7));
        t.get(half(2));
        t.get(msg(1, 5, 5)).sees(&["got(1,5)"]);
        t.lives();
    }

    fn conf_043_an_unknown_revision_on_a_live_id<S>() {
        let mut t = server::<S>().with_call();
        t.get(new(1, "svc/m").revision(7)).sees(&[
            "ended(1,UNAVAILABLE,StreamIdNotIncreasing,sent)",
            "abort(INTERNAL,StreamIdNotIncreasing)",
        ]);
        t.sends(&[]);
    }

    fn conf_044_a_call_while_draining<S>() {
        let mut t = server::<S>().with_call();
        t.act(|end, now| end.drain(now, Duration::from_secs(30)));
        t.get(new(2, "svc/m")).sends(&["close(2,UNAVAILABLE)"]);
        t.lives();
    }

    fn conf_045_an_older_call_finishes_while_draining<S>() {
        let mut t = server::<S>().with_call();
        t.act(|end, now| end.drain(now, Duration::from_secs(30)));
        t.get(new(2, "svc/m")).sends(&["close(2,UNAVAILABLE)"]);
        t.get(msg(2, 7, 7));
        t.get(half(2));
        t.get(msg(1, 5, 5)).sees(&["got(1,5)"]);
        t.get(half(1)).sees(&["half(1)"]);
        t.send(1, 4).sees(&["writable(1)"]).sends(&["msg(1,4,4)"]);
        t.lives();
        t.close(1, 0).sees(&["ended(1,closed)", "finish"]).sends(&["close(1,OK)"]);
        assert_eq!(t.end.tunnel.error(), None);
    }

    fn conf_046_a_window_of_zero_is_honoured<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").window(0)).sees(&["opened(1,svc/m)"]);
        t.get(msg(1, 5, 5)).sees(&["got(1,5)"]);
        t.get(half(1)).sees(&["half(1)"]);
        assert_eq!(t.act(|end, _| end.respond(1, &[])), Ok(()));
        t.sends(&["hdr(1)"]);
        t.send(1, 3);
        t.close(1, 0);
        t.get(wu(1, 3))
            .sees(&["writable(1)", "ended(1,closed)"])
            .sends(&["msg(1,3,3)", "close(1,OK)"]);
        t.lives();
    }

    fn conf_047_the_largest_window<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").window(u32::MAX)).sees(&["opened(1,svc/m)"]);
        // No more is named than what the caller has: the window is no promise to fill it.
        t.send(1, 40_000)
            .sees(&["writable(1)"])
            .sends(&["msg(1,40000,16384)", "more(1,16384)", "more(1,7232)"]);
        t.lives();
    }

    fn conf_048_a_window_means_nothing_in_revision_zero<S>() {
        let mut t = server_unnegotiated::<S>();
        t.get(new(1, "svc/m").revision(0).window(3)).sees(&["opened(1,svc/m)"]);
        t.send(1, 5).sees(&["writable(1)"]).sends(&["msg(1,5,5)"]);
        t.lives();
    }

    fn conf_049_revision_one_without_negotiation<S>() {
        let mut t = server_unnegotiated::<S>();
        t.get(new(1, "svc/m").window(3)).sees(&["opened(1,svc/m)"]);
        t.send(1, 5).sends(&["msg(1,5,3)"]);
        t.get(wu(1, 9)).sees(&["writable(1)"]).sends(&["more(1,2)"]);
        t.lives();
    }

    fn conf_050_revision_zero_after_negotiation<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").revision(0).window(3)).sees(&["opened(1,svc/m)"]);
        t.send(1, 5).sees(&["writable(1)"]).sends(&["msg(1,5,5)"]);
        // Its reader is never asked for credit.
        for _ in 0..8 {
            t.get(msg(1, 20_000, 20_000)).sees(&["got(1,20000)"]);
        }
        t.sends(&[]);
        t.lives();
    }

    fn conf_051_revision_one_while_it_is_not_offered<S>() {
        let mut zero = config::<S>();
        zero.flow_control = false;
        let mut t = server_with::<S>(zero, Opening::Accepted(Negotiation::On));
        t.sends(&["set(-1,65536,[0])"]);
        t.get(new(1, "svc/m").window(3)).sees(&["opened(1,svc/m)"]);
        t.send(1, 5).sends(&["msg(1,5,3)"]);
        t.lives();
    }

    fn conf_052_no_request_headers<S>() {
        assert_eq!(opened::<S>(new(1, "svc/m")).1, Headers::new());
    }

    fn conf_053_a_key_without_values<S>() {
        let entry = Fields::new().bytes(1, b"k");
        let headers = Fields::new().message(1, &entry);
        let (_, headers) = opened::<S>(new(1, "svc/m").headers(headers));
        assert_eq!(headers, Headers::from([("k".to_owned(), vec![])]));
    }

    fn conf_054_an_upper_case_timeout_is_not_honoured<S>() {
        let headers = strings(&[("Grpc-Timeout", "1n"), ("Foo", "1"), ("foo", "2")]);
        let mut t = server::<S>();
        t.get(new(1, "svc/m").headers(headers));
        let seen = t.seen();
        let [Seen::Opened { deadline: None, headers, .. }] = &seen[..] else {
            panic!("{seen:?}");
        };
        assert_eq!(headers.len(), 3, "the keys are handed out as they came");
    }

    fn conf_055_transport_headers_pass_the_core<S>() {
        let keys = [":path", "te", "content-type", "connection", "grpc-status", "grpc-encoding"];
        let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (*key, "x")).collect();
        let (_, headers) = opened::<S>(new(1, "svc/m").headers(strings(&pairs)));
        assert!(keys.iter().all(|key| headers.contains_key(*key)), "{headers:?}");
    }

    fn conf_056_odd_keys_and_values_pass_the_core_whole<S>() {
        let pairs = [("", "1"), ("x y", "2"), ("k\r\n", "3"), ("v", "4\r\n5")];
        let (_, headers) = opened::<S>(new(1, "svc/m").headers(strings(&pairs)));
        for (key, value) in pairs {
            assert_eq!(headers.get(key), Some(&vec![value.to_owned()]), "{key:?}");
        }
        assert_eq!(headers.len(), pairs.len());
    }

    fn conf_057_a_string_that_is_not_utf8_ends_only_its_stream_server<S>() {
        let bad: [(&[u8], Entries<'_>); 3] = [
            (b"svc/\xff", &[]),
            (b"svc/m", &[(b"\xc3", &[b"v"])]),
            (b"svc/m", &[(b"k", &[b"v", b"\xed\xa0\x80"])]),
        ];
        let mut t = server::<S>().with_call();
        for ((method, headers), id) in bad.into_iter().zip(2..) {
            let frame = new(id, "").method(method).headers(metadata(headers));
            t.get(frame).sends(&[&format!("close({id},INVALID_ARGUMENT)")]);
            t.get(half(id));
        }
        t.get(msg(1, 5, 5)).sees(&["got(1,5)"]);
        t.lives();
    }

    fn conf_057_a_string_that_is_not_utf8_ends_only_its_stream_client<S>() {
        let bad = metadata(&[(b"k", &[b"\xff"])]);
        let mut t = client::<S>();
        for _ in 0..4 {
            t.open();
        }
        t.get(on(1, &Fields::new().message(2, &bad)))
            .sees(&["ended(1,INTERNAL,NotUtf8)"])
            .sends(&["cancel(1)"]);
        t.get(close_with(2, &Fields::new().message(1, &bad)))
            .sees(&["ended(2,INTERNAL,NotUtf8)"]);
        t.get(close_with(3, &Fields::new().message(2, &status(5, b"\xff"))))
            .sees(&["ended(3,INTERNAL,NotUtf8)"]);
        t.get(hdr(4, &[])).sees(&["hdr(4)"]);
        t.lives();
    }

    fn conf_058_bytes_under_a_bin_key_pass_raw<S>() {
        let (_, headers) = opened::<S>(new(1, "svc/m").headers(strings(&[("k-bin", "\0\u{1}é")])));
        assert_eq!(headers.get("k-bin"), Some(&vec!["\0\u{1}é".to_owned()]));
    }

    fn conf_059_metadata_beyond_the_limit<S>() {
        let value = "v".repeat(3 << 20);
        let mut t = server::<S>();
        t.get(new(1, "svc/m").headers(strings(&[("k", &value)])))
            .sends(&["close(1,RESOURCE_EXHAUSTED)"]);
        let many: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "v")).collect();
        t.get(new(2, "svc/m").headers(strings(&many))).sends(&["close(2,RESOURCE_EXHAUSTED)"]);
        t.get(new(3, &format!("svc/{}", "m".repeat(2_000)))).sends(&["close(3,RESOURCE_EXHAUSTED)"]);
        t.lives();
    }

    fn conf_060_a_frame_at_the_limit_and_one_beyond<S>() {
        let frame = |len: usize| {
            let overhead = on(1, &Fields::new().bytes(4, &content(0, len))).len() - len;
            on(1, &Fields::new().bytes(4, &content(0, len - overhead)))
        };
        let mut t = server::<S>();
        t.get(new(1, "svc/m").revision(0)).sees(&["opened(1,svc/m)"]);
        t.end.do_not_buffer();
        t.get(msg(1, 4 << 20, 0)).sees(&["data(1,0)"]);
        let whole = frame(4 << 20);
        assert_eq!(whole.len(), 4 << 20);
        t.get(whole);
        assert!(matches!(t.seen()[..], [Seen::Data { call: 1, .. }]));
        t.lives();
        t.get(frame((4 << 20) + 1)).sees(&[
            "ended(1,UNAVAILABLE,FrameTooLarge,sent)",
            "abort(RESOURCE_EXHAUSTED,FrameTooLarge)",
        ]);
    }

    fn conf_061_streams_beyond_the_limit<S>() {
        let mut t = server::<S>();
        t.reading = false;
        let room = i64::from(S::STREAMS);
        for id in 1..=room {
            t.get(new(id, "svc/m")).sees(&[&format!("opened({id},svc/m)")]);
        }
        for id in room + 1..room + 3_000 {
            t.get(new(id, "svc/m")).sends(&[&format!("close({id},RESOURCE_EXHAUSTED)")]);
        }
        assert_eq!(t.end.tunnel.streams(), S::STREAMS as usize);
        // A cancelled stream counts until its handler has ended.
        let last = room + 3_000;
        t.get(cancel(1))
            .sees(&["ended(1,CANCELLED,by peer)"])
            .sends(&["close(1,CANCELLED)"]);
        t.get(new(last, "svc/m")).sends(&[&format!("close({last},RESOURCE_EXHAUSTED)")]);
        t.act(|end, _| end.release(1));
        t.get(new(last + 1, "svc/m")).sees(&[&format!("opened({},svc/m)", last + 1)]);
        t.lives();
    }

    fn conf_062_unknown_fields_in_new_stream<S>() {
        let extra = Fields::new().number(99, 1).bytes(77, b"x");
        assert_eq!(opened::<S>(new(1, "svc/m").extra(extra)).0, "svc/m");
    }

    fn conf_063_the_last_member_counts_and_the_same_one_is_merged<S>() {
        let mut t = server::<S>().with_call();
        let message = Fields::new().number(1, 3).bytes(2, b"abc");
        let half_then_message = Fields::new().bytes(5, b"").message(3, &message);
        t.get(on(1, &half_then_message)).sees(&["got(1,3)"]);
        let message_then_half = Fields::new().message(3, &message).bytes(5, b"");
        t.get(on(1, &message_then_half)).sees(&["half(1)"]);
        t.lives();

        let first = new(1, "first/m").headers(strings(&[("a", "1")])).fields();
        let second = new(1, "second/m").headers(strings(&[("b", "2")])).fields();
        let (method, headers) = opened::<S>(on(
            1,
            &Fields::new().message(2, &first).message(2, &second),
        ));
        assert_eq!(method, "second/m");
        assert_eq!(headers.len(), 2, "{headers:?}");
    }

    fn conf_064_a_truncated_frame<S>() {
        let whole = Frame::from(new(2, "svc/m").headers(strings(&[("k", "v")])));
        for len in 3..whole.len() {
            let mut t = server::<S>().with_call();
            t.get(&whole[..len]).sees(&[
                "ended(1,UNAVAILABLE,Undecodable,sent)",
                "abort(INTERNAL,Undecodable)",
            ]);
        }
    }
}

both_stores! {
    fn refusals_that_nobody_reads_end_the_tunnel<S>() {
        let mut t = server::<S>();
        t.taking = false;
        let mut refused = 0;
        while t.end.feed(t.now(), &Frame::from(new(refused, "a/b/c"))).is_ok() {
            refused += 1;
            assert!(refused <= 1_024, "never cut off");
        }
        assert!(refused >= 64, "cut off after {refused}");
        t.settle();
        t.sees(&["abort(RESOURCE_EXHAUSTED,TooManyRejections)"]);
    }

    fn streams_ended_by_protocol_errors_have_a_budget<S>() {
        let break_one = |t: &mut Script<Server, S>, id: i64| {
            t.open_kind(id, MethodKind::Unknown);
            t.get(none(id));
            t.seen();
            t.sent();
            if t.end.tunnel.error().is_none() {
                t.act(|end, _| end.release(id));
            }
        };
        let mut t = server::<S>();
        for id in 0..1_024 {
            break_one(&mut t, id);
        }
        t.lives();
        t.open_kind(1_024, MethodKind::Unknown);
        t.get(none(1_024)).sees(&[
            "ended(1024,UNAVAILABLE,TooManyProtocolErrors,sent)",
            "abort(RESOURCE_EXHAUSTED,TooManyProtocolErrors)",
        ]);

        // One comes back each second.
        let mut t = server::<S>();
        for id in 0..1_100 {
            break_one(&mut t, id);
            t.advance(Duration::from_secs(1));
        }
        t.lives();
    }

    fn what_an_application_does_is_no_protocol_error<S>() {
        let mut t = server::<S>();
        for id in 0..3_000 {
            t.get(new(id, "")).sends(&[&format!("close({id},INVALID_ARGUMENT)")]);
        }
        t.lives();
    }

    fn a_handler_that_is_late_is_told_so<S>() {
        let mut t = server::<S>();
        t.open_kind(1, MethodKind::Unary);
        t.get(more(1, 1))
            .sees(&["ended(1,INVALID_ARGUMENT,DataWithoutMessage)"])
            .sends(&["close(1,INVALID_ARGUMENT)"]);
        let late = t.act(|end, now| {
            let status = StatusHead { code: 0, message: "", details: &[] };
            end.close(now, 1, status, &[], Hold::Never)
        });
        assert_eq!(late, Err(CommandError::Gone));
        t.lives();
    }
}
