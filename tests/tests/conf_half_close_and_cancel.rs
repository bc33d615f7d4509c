//! Rows 103 to 113 of the catalogue: `half_close` and `cancel`.

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{CommandError, Hold, MethodKind};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{cancel, close, half, hdr, more, msg, new, none, wu};
use grpctunnel_tests::harness::{client, server};

both_stores! {
    fn conf_103_half_close_twice<S>() {
        let mut t = server::<S>().with_call();
        t.get(half(1)).sees(&["half(1)"]);
        t.get(half(1));
        t.lives();
    }

    fn conf_104_half_close_and_cancel_of_a_finished_stream<S>() {
        let mut t = server::<S>().with_call();
        t.close(1, 0).sees(&["ended(1,closed)"]).sends(&["close(1,OK)"]);
        t.get(half(1));
        t.get(cancel(1));
        t.lives();
    }

    fn conf_105_half_close_and_cancel_of_a_stream_that_was_never_created<S>() {
        for frame in [half(1), cancel(1)] {
            server::<S>().get(frame).sees(&["abort(INTERNAL,StreamNeverCreated)"]);
        }
    }

    fn conf_106_cancel_after_half_close<S>() {
        let mut t = server::<S>().with_call();
        t.reading = false;
        t.get(msg(1, 7, 7));
        t.get(half(1)).sees(&["half(1)"]);
        t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]).sends(&["close(1,CANCELLED)"]);
        // The handler is cancelled: it gets no message any more.
        t.reads(1, &["end"]);
        t.lives();
    }

    fn conf_107_cancel_of_a_live_stream<S>() {
        let mut t = server::<S>().with_call();
        assert_eq!(t.act(|end, _| end.respond(1, &[])), Ok(()));
        t.sends(&["hdr(1)"]);
        t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]).sends(&["close(1,CANCELLED)"]);
        let late = t.act(|end, now| {
            let status = StatusHead { code: 0, message: "", details: &[] };
            end.close(now, 1, status, &[], Hold::Never)
        });
        assert_eq!(late, Err(CommandError::Gone));
        t.act(|end, _| end.release(1));
        assert_eq!(t.end.tunnel.streams(), 0);
        t.lives();
    }

    fn conf_108_cancel_twice_and_what_follows<S>() {
        let mut t = server::<S>().with_call();
        t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]).sends(&["close(1,CANCELLED)"]);
        for frame in [cancel(1), msg(1, 3, 3), more(1, 3), wu(1, 9), half(1), none(1)] {
            t.get(frame);
        }
        t.lives();
    }

    fn conf_109_cancel_before_response_headers<S>() {
        // Headers that wait for their turn are not worth sending any more.
        let mut t = server::<S>().with_call();
        t.taking = false;
        assert_eq!(t.act(|end, _| end.respond(1, &[])), Ok(()));
        t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]);
        t.taking = true;
        t.settle();
        t.sends(&["close(1,CANCELLED)"]);
        t.lives();
    }

    fn conf_110_cancel_that_crosses_close<S>() {
        let mut t = server::<S>().with_call();
        t.close(1, 5).sees(&["ended(1,closed)"]).sends(&["close(1,NOT_FOUND)"]);
        t.get(cancel(1));
        t.lives();

        // It replaces a close that has not left.
        let mut t = server::<S>().with_call();
        t.taking = false;
        t.close(1, 0);
        t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]);
        t.taking = true;
        t.settle();
        t.sends(&["close(1,CANCELLED)"]);
        t.lives();
    }

    fn conf_111_frames_after_our_cancel<S>() {
        let mut t = client::<S>().with_call();
        assert_eq!(t.act(|end, _| end.cancel(1)), Ok(()));
        t.sees(&["ended(1,CANCELLED)"]).sends(&["cancel(1)"]);
        for frame in [hdr(1, &[]), msg(1, 3, 3), more(1, 1), wu(1, 9), close(1, 1)] {
            t.get(frame);
        }
        assert_eq!(t.act(|end, _| end.cancel(1)), Err(CommandError::Gone));
        t.lives();
    }

    fn conf_112_messages_after_close<S>() {
        let mut t = client::<S>().with_call();
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.get(msg(1, 3, 3));
        t.get(more(1, 3));
        t.lives();
    }

    fn conf_113_cancel_waits_for_no_writer<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").window(u32::MAX)).sees(&["opened(1,svc/m)"]);
        // The peer reads nothing, and the handler writes.
        t.taking = false;
        t.send(1, 1 << 20);
        t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]);
        t.open_kind(2, MethodKind::Unary);
        t.get(msg(2, 3, 3)).sees(&["got(2,3)"]);
        t.get(half(2)).sees(&["half(2)"]);
        t.close(2, 0);
        t.taking = true;
        t.settle();
        // Of the first call nothing is left but its close.
        t.sees(&["ended(2,closed)"]).sends(&["close(1,CANCELLED)", "close(2,OK)"]);
        t.lives();
    }
}

both_stores! {
    fn a_call_cancelled_before_it_left_uses_no_id<S>() {
        let mut t = client::<S>();
        t.taking = false;
        assert_eq!(t.open(), 1);
        assert_eq!(t.open(), 2);
        assert_eq!(t.act(|end, _| end.cancel(1)), Ok(()));
        t.sees(&["ended(1,CANCELLED)"]);
        t.taking = true;
        t.settle();
        t.sends(&["new(1,svc/m)"]);
        assert_eq!(t.end.tunnel.inspect(t.end.key(2)).and_then(|stream| stream.id()), Some(1));
        t.lives();
    }
}
