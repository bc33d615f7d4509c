//! Rows 155 to 162 of the catalogue: ids, empty frames and unknown ones at a tunnel server.

use grpctunnel_core::MethodKind;
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{Fields, cancel, half, more, msg, new, none, on, wu};
use grpctunnel_tests::harness::server;

both_stores! {
    fn conf_155_a_message_before_any_stream<S>() {
        server::<S>().get(msg(0, 1, 1)).sees(&["abort(INTERNAL,StreamNeverCreated)"]);
    }

    fn conf_156_frames_for_negative_ids<S>() {
        let mut t = server::<S>();
        for frame in [half(-5), cancel(-1), msg(i64::MIN, 1, 1), none(-9), wu(-2, 7)] {
            t.get(frame);
        }
        t.lives();
    }

    fn conf_157_frames_for_ids_that_were_skipped<S>() {
        let mut t = server::<S>();
        t.get(new(5, "svc/m")).sees(&["opened(5,svc/m)"]);
        for id in 1..5 {
            for frame in [msg(id, 1, 1), more(id, 1), half(id), cancel(id), wu(id, 7), none(id)] {
                t.get(frame);
            }
        }
        t.lives();
    }

    fn conf_158_frames_for_an_id_above<S>() {
        for frame in [msg(6, 1, 1), more(6, 1), half(6), cancel(6), wu(6, 7), none(6)] {
            let mut t = server::<S>();
            t.get(new(5, "svc/m")).sees(&["opened(5,svc/m)"]);
            t.get(frame).sees(&[
                "ended(5,UNAVAILABLE,StreamNeverCreated,sent)",
                "abort(INTERNAL,StreamNeverCreated)",
            ]);
        }
    }

    fn conf_159_a_frame_of_no_known_kind<S>() {
        let unknown = Fields::new().bytes(99, b"x");
        for frame in [none(1), on(1, &unknown)] {
            let mut t = server::<S>().with_call();
            t.open_kind(2, MethodKind::Unknown);
            t.get(frame).sees(&["ended(1,INTERNAL,UnknownFrame)"]).sends(&["close(1,INTERNAL)"]);
            t.get(msg(2, 1, 1)).sees(&["got(2,1)"]);
            t.lives();
        }
    }

    fn conf_160_an_empty_frame_for_a_finished_stream<S>() {
        let mut t = server::<S>().with_call();
        t.close(1, 0).sees(&["ended(1,closed)"]).sends(&["close(1,OK)"]);
        t.get(none(1));
        t.lives();
    }

    fn conf_161_unknown_fields_beside_a_known_frame<S>() {
        let mut t = server::<S>().with_call();
        let extra = Fields::new().raw(&msg(1, 2, 2)).number(77, 5).bytes(99, b"x");
        t.get(extra.done()).sees(&["got(1,2)"]);
        t.lives();
    }

    fn conf_162_a_flood_of_frames_for_finished_streams<S>() {
        for frame in [half(1), cancel(1), none(1), more(1, 0), msg(1, 0, 0)] {
            let mut t = server::<S>().with_call();
            t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]).sends(&["close(1,CANCELLED)"]);
            let mut taken = 0;
            while t.end.feed(t.now(), &frame).is_ok() {
                taken += 1;
                assert!(taken < 20_000, "never cut off");
            }
            assert_eq!(taken, 10_000);
            t.settle();
            t.sees(&["abort(RESOURCE_EXHAUSTED,TooManyUselessFrames)"]);
        }
    }
}

both_stores! {
    fn data_in_flight_when_we_ended_the_stream_is_free<S>() {
        let mut t = server::<S>().with_call();
        t.close(1, 5).sees(&["ended(1,closed)"]).sends(&["close(1,NOT_FOUND)"]);
        // A whole window was granted, and may still arrive, byte by byte.
        for _ in 0..65_536 {
            t.end.feed(t.now(), &more(1, 1)).unwrap();
        }
        t.settle();
        t.lives();
    }
}
