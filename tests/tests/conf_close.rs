//! Rows 114 to 132 of the catalogue: response headers and `close_stream` at a tunnel client, and
//! when a tunnel server sends its own.

use core::time::Duration;

use grpctunnel_core::{Config, Hold, MethodKind, Negotiation, Opening, Unread};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{
    Fields, cancel, close, close_with, half, hdr, more, msg, new, none, set, status, strings, wu,
};
use grpctunnel_tests::harness::{
    Headers, Over, Seen, client, client_window, client_with, config, server,
};

const HELD: Hold = Hold::UntilHalfClose {
    max: Duration::from_secs(10),
};

both_stores! {
    fn conf_114_headers_message_close<S>() {
        let mut t = client::<S>().with_call();
        t.get(hdr(1, &[("k", "v")]));
        let headers = Headers::from([("k".to_owned(), vec!["v".to_owned()])]);
        assert_eq!(t.seen(), [Seen::Headers { call: 1, headers }]);
        t.get(msg(1, 7, 7)).sees(&["got(1,7)"]);
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.lives();
    }

    fn conf_115_no_headers<S>() {
        let mut t = client::<S>().with_call();
        t.get(msg(1, 7, 7)).sees(&["got(1,7)"]);
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.lives();
    }

    fn conf_116_headers_behind_a_message<S>() {
        let mut t = client::<S>().with_call();
        t.get(msg(1, 7, 7)).sees(&["got(1,7)"]);
        t.get(hdr(1, &[("a", "1")]));
        t.get(hdr(1, &[("b", "1")]));
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.lives();
    }

    fn conf_117_headers_twice<S>() {
        let mut t = client::<S>().with_call();
        t.get(hdr(1, &[("a", "1")])).sees(&["hdr(1)"]);
        t.get(hdr(1, &[("b", "1")]));
        t.lives();
    }

    fn conf_118_close_without_status<S>() {
        let mut t = client::<S>();
        t.open_kind(MethodKind::Unary);
        t.get(msg(1, 7, 7)).sees(&["got(1,7)"]);
        t.get(close_with(1, &Fields::new())).sees(&["ended(1,OK)"]);
        t.lives();
    }

    fn conf_119_a_missing_response<S>() {
        for kind in [MethodKind::Unary, MethodKind::ClientStreaming] {
            let mut t = client::<S>();
            t.open_kind(kind);
            t.get(close_with(1, &Fields::new())).sees(&["ended(1,INTERNAL,MissingResponse)"]);
            t.lives();
        }
        let mut t = client::<S>();
        t.open_kind(MethodKind::ServerStreaming);
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
    }

    fn conf_120_ok_with_text_and_details_is_ok<S>() {
        let mut t = client::<S>().with_call();
        let detail = Fields::new().bytes(1, b"type").bytes(2, b"value");
        let status = Fields::new().bytes(2, b"fine").message(3, &detail);
        t.get(close_with(1, &Fields::new().message(2, &status))).sees(&["ended(1,OK)"]);
        assert!(t.over(1).is_ok());
        t.lives();
    }

    fn conf_121_a_code_that_grpc_does_not_define<S>() {
        for code in [99, -1, 17, i32::MIN] {
            let mut t = client::<S>().with_call();
            t.get(close(1, code)).sees(&[&format!("ended(1,{code})")]);
            assert!(!t.over(1).is_ok(), "no success");
            t.lives();
        }
    }

    fn conf_122_error_details_and_trailers_byte_for_byte<S>() {
        let detail = Fields::new().bytes(1, b"type.example/x").bytes(2, b"\x08\x01\xff\x00");
        let wanted = status(5, "kein Gerät".as_bytes()).message(3, &detail).message(3, &detail);
        let trailers = strings(&[("t", "1"), ("t-bin", "\u{1}")]);
        let mut t = client::<S>().with_call();
        let content = Fields::new().message(1, &trailers).message(2, &wanted);
        t.get(close_with(1, &content)).sees(&["ended(1,NOT_FOUND)"]);
        let Over::Status {
            status, trailers, ..
        } = t.over(1) else {
            panic!("{:?}", t.over(1));
        };
        assert_eq!(status.message, "kein Gerät");
        assert_eq!(status.details, [detail.clone().done(), detail.done()]);
        assert_eq!(trailers.len(), 2);
        assert_eq!(trailers.get("t-bin"), Some(&vec!["\u{1}".to_owned()]));
        t.lives();
    }

    fn conf_123_close_twice<S>() {
        let mut t = client::<S>().with_call();
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.get(close(1, 5));
        t.get(msg(1, 7, 7));
        t.lives();
    }

    fn conf_124_a_second_response<S>() {
        for kind in [MethodKind::Unary, MethodKind::ClientStreaming] {
            let mut t = client::<S>();
            t.open_kind(kind);
            t.get(msg(1, 7, 7)).sees(&["got(1,7)"]);
            t.get(msg(1, 7, 7)).sees(&["ended(1,INTERNAL,SecondResponse)"]).sends(&["cancel(1)"]);
            t.get(close(1, 0));
            t.lives();
        }
    }

    fn conf_125_a_response_and_then_an_error<S>() {
        let mut t = client::<S>();
        t.open_kind(MethodKind::Unary);
        t.reading = false;
        t.get(msg(1, 7, 7));
        t.get(close(1, 5));
        let seen = t.seen();
        assert!(matches!(seen[..], [Seen::Ended { unread: Unread::Discard, .. }]), "{seen:?}");
        t.reads(1, &["end"]);
        assert_eq!(t.over(1).code(t.end.side()), 5);
        t.lives();
    }

    fn conf_126_an_empty_frame_on_a_live_stream<S>() {
        let mut t = client::<S>().with_call();
        t.get(none(1)).sees(&["ended(1,INTERNAL,UnknownFrame)"]).sends(&["cancel(1)"]);
        t.lives();
    }

    fn conf_127_a_frame_for_a_stream_that_was_never_created<S>() {
        let mut t = client::<S>().with_call();
        assert_eq!(t.open(), 2);
        t.get(hdr(99, &[])).sees(&[
            "ended(1,UNAVAILABLE,StreamNeverCreated,sent)",
            "ended(2,UNAVAILABLE,StreamNeverCreated,sent)",
            "abort(INTERNAL,StreamNeverCreated)",
        ]);
        t.sends(&[]);
    }

    fn conf_128_frames_for_ids_below<S>() {
        let mut t = client::<S>().with_call();
        for id in [0, -7, -1, i64::MIN] {
            for frame in [none(id), hdr(id, &[]), msg(id, 1, 1), close(id, 0), wu(id, 5)] {
                t.get(frame);
            }
        }
        t.lives();
    }

    fn conf_129_the_end_before_our_half_close_is_out<S>() {
        let mut t = client_window::<S>(10);
        t.open_kind(MethodKind::Unary);
        t.send(1, 40_000).sends(&["msg(1,40000,10)"]);
        assert_eq!(t.act(|end, _| end.half_close(1)), Ok(()));
        t.get(hdr(1, &[])).sees(&["hdr(1)"]);
        t.get(msg(1, 7, 7)).sees(&["got(1,7)"]);
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        // Neither the rest of the request nor the half-close is of use now.
        t.sends(&[]);
        t.get(wu(1, 40_000));
        t.lives();
    }

    fn conf_130_an_error_while_blocked_on_credit<S>() {
        let mut t = client_window::<S>(10).with_call();
        t.send(1, 40_000).sends(&["msg(1,40000,10)"]);
        assert!(t.end.tunnel.inspect(t.end.key(1)).is_some_and(|stream| stream.is_blocked_on_credit()));
        t.get(close(1, 7)).sees(&["ended(1,PERMISSION_DENIED)"]);
        assert!(!t.end.tunnel.inspect(t.end.key(1)).is_some_and(|stream| stream.is_blocked_on_credit()));
        t.lives();
    }

    fn conf_131_a_response_beyond_the_limit<S>() {
        let mut small: Config = config::<S>();
        small.limits.max_message = 1_000;
        let mut t = client_with::<S>(small, Opening::Accepted(Negotiation::On));
        t.get(set(-1, 65_536, &[0, 1])).sees(&["settled(One)", "may open"]);
        t.open();
        t.get(msg(1, 1_000, 1_000)).sees(&["got(1,1000)"]);
        t.get(msg(1, 1_001, 0))
            .sees(&["ended(1,RESOURCE_EXHAUSTED,MessageTooLarge)"])
            .sends(&["cancel(1)"]);
        t.lives();
    }

    fn conf_132_ok_before_the_half_close_is_held<S>() {
        // It goes out with the half-close.
        let mut t = server::<S>().with_call();
        t.close_with(1, 0, &[], HELD);
        t.get(half(1)).sees(&["half(1)", "ended(1,closed)"]).sends(&["close(1,OK)"]);

        // What comes meanwhile is dropped, and its credit given back.
        t.open_kind(2, MethodKind::Unknown);
        t.close_with(2, 0, &[], HELD);
        t.get(msg(2, 50_000, 40_000)).sees(&["discard(2,40000)"]).sends(&["wu(2,40000)"]);
        t.get(more(2, 10_000)).sees(&["discard(2,10000)"]);
        t.get(half(2)).sees(&["half(2)", "ended(2,closed)"]).sends(&["close(2,OK)"]);

        // It waits no longer than it was told.
        t.open_kind(3, MethodKind::Unknown);
        t.close_with(3, 0, &[], HELD);
        t.wait(Duration::from_secs(9));
        t.wait(Duration::from_secs(1)).sees(&["ended(3,closed)"]).sends(&["close(3,OK)"]);

        // An error is never held, nor is anything where the half-close has come.
        t.open_kind(4, MethodKind::Unknown);
        t.close_with(4, 5, &[], HELD).sees(&["ended(4,closed)"]).sends(&["close(4,NOT_FOUND)"]);
        t.open_kind(5, MethodKind::Unknown);
        t.get(half(5)).sees(&["half(5)"]);
        t.close_with(5, 0, &[], HELD).sees(&["ended(5,closed)"]).sends(&["close(5,OK)"]);

        // The peer's cancel replaces it.
        t.open_kind(6, MethodKind::Unknown);
        t.close_with(6, 0, &[], HELD);
        t.get(cancel(6)).sees(&["ended(6,CANCELLED,by peer)"]).sends(&["close(6,CANCELLED)"]);
        t.lives();
    }
}

both_stores! {
    fn a_held_ok_goes_out_at_the_deadline_and_at_the_drain_limit<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").timeout("2S")).sees(&["opened(1,svc/m)"]);
        t.close_with(1, 0, &[], HELD);
        t.wait(Duration::from_secs(2)).sees(&["ended(1,closed)"]).sends(&["close(1,OK)"]);

        t.open_kind(2, MethodKind::Unknown);
        t.close_with(2, 0, &[], HELD);
        t.act(|end, now| end.drain(now, Duration::from_secs(1)));
        t.wait(Duration::from_secs(1)).sees(&["ended(2,closed)", "finish"]).sends(&["close(2,OK)"]);
        assert_eq!(t.end.tunnel.error(), None);
    }

    fn a_held_ok_behind_a_message_without_credit_misses_the_deadline<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").window(1).timeout("2S")).sees(&["opened(1,svc/m)"]);
        t.send(1, 5).sends(&["msg(1,5,1)"]);
        t.close_with(1, 0, &[], HELD);
        t.wait(Duration::from_secs(2))
            .sees(&["ended(1,DEADLINE_EXCEEDED)"])
            .sends(&["close(1,DEADLINE_EXCEEDED)"]);
        t.lives();
    }
}
