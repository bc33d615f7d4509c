//! The extension `UNPROCESSED`: which refusals carry the mark, and when a client relies on it.

use core::time::Duration;

use grpctunnel_core::{Negotiation, Opening};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{self, Fields, extensions, new, none, strings};
use grpctunnel_tests::harness::{client_agreed, config_with, extension_numbers, server_with};

const NEGOTIATED: Opening = Opening::Accepted(Negotiation::On);
const UNPROCESSED: u8 = 16;

both_stores! {
    fn a_refusal_that_another_try_can_cure_says_that_no_handler_saw_the_call<S>() {
        let full = |own: u8, theirs: u8| {
            let mut config = config_with::<S>(own);
            config.limits.max_streams = 1;
            let mut t = server_with::<S>(config, NEGOTIATED);
            t.sent();
            t.get(extensions(-1, &extension_numbers(theirs)));
            t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
            t
        };
        let mut t = full(UNPROCESSED, UNPROCESSED);
        t.get(new(2, "svc/m"))
            .sends(&["close(2,RESOURCE_EXHAUSTED,unprocessed)"]);
        // What no other try cures is not marked.
        t.get(new(3, "svc")).sends(&["close(3,INVALID_ARGUMENT)"]);
        t.get(new(4, "a/b/c")).sends(&["close(4,UNIMPLEMENTED)"]);
        t.get(new(5, "svc/m").timeout("0S"))
            .sends(&["close(5,DEADLINE_EXCEEDED)"]);
        t.get(new(6, "svc/m").revision(7))
            .sends(&["close(6,UNAVAILABLE)"]);
        let large = "v".repeat(70_000);
        t.get(new(7, "svc/m").headers(strings(&[("k", &large)])))
            .sends(&["close(7,RESOURCE_EXHAUSTED)"]);
        t.act(|end, now| end.drain(now, Duration::from_secs(30)));
        t.get(new(8, "svc/m"))
            .sends(&["close(8,UNAVAILABLE,unprocessed)"]);
        // A handler saw this one.
        t.get(none(1))
            .sees(&["ended(1,INTERNAL,UnknownFrame)", "finish"])
            .sends(&["close(1,INTERNAL)"]);
        for (own, theirs) in [(0, UNPROCESSED), (UNPROCESSED, 0), (15, 31), (31, 15)] {
            let mut t = full(own, theirs);
            t.get(new(2, "svc/m"))
                .sends(&["close(2,RESOURCE_EXHAUSTED)"]);
            t.lives();
        }
    }

    fn a_client_believes_the_mark_only_where_it_is_agreed<S>() {
        let refused = |id, code| {
            let content = Fields::new().message(2, &frames::status(code, b""));
            frames::close_with(id, &content.number(100, 1))
        };
        let mut t = client_agreed::<S>(UNPROCESSED, UNPROCESSED).with_call();
        t.get(refused(1, 14))
            .sees(&["ended(1,UNAVAILABLE,unprocessed)"]);
        t.open();
        // A call that succeeded was processed.
        t.get(refused(2, 0)).sees(&["ended(2,OK)"]);
        t.lives();
        for (own, theirs) in [(0, UNPROCESSED), (UNPROCESSED, 0), (15, 31), (31, 15)] {
            let mut t = client_agreed::<S>(own, theirs).with_call();
            t.get(refused(1, 14)).sees(&["ended(1,UNAVAILABLE)"]);
            t.lives();
        }
    }
}
