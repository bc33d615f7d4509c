//! Rows 86 to 102 of the catalogue: flow control.

use core::time::Duration;

use grpctunnel_core::{MethodKind, Role};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{
    cancel, close, content, half, more, more_from, msg, new, wu,
};
use grpctunnel_tests::harness::{
    Script, Seen, SentFrame, Store, client, client_window, client_zero, server,
};

/// Lengths of the chunks of message 1 that were sent, and whether nothing else was.
fn chunks(frames: &[SentFrame]) -> Option<Vec<usize>> {
    frames
        .iter()
        .map(|frame| match frame {
            SentFrame::Message { id: 1, data, .. } | SentFrame::More { id: 1, data } => {
                Some(data.len())
            }
            _ => None,
        })
        .collect()
}

both_stores! {
    fn conf_086_credit_beyond_32_bits_server<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").window(100)).sees(&["opened(1,svc/m)"]);
        t.get(wu(1, u32::MAX - 100));
        t.get(wu(1, 1))
            .sees(&["ended(1,INTERNAL,WindowOverflow)"])
            .sends(&["close(1,INTERNAL)"]);
        t.lives();
    }

    fn conf_086_credit_beyond_32_bits_client<S>() {
        let mut t = client_window::<S>(100).with_call();
        t.get(wu(1, 4_294_967_196))
            .sees(&["ended(1,INTERNAL,WindowOverflow)"])
            .sends(&["cancel(1)"]);
        t.lives();
    }

    fn conf_087_a_huge_grant_is_no_loss<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").window(70_000)).sees(&["opened(1,svc/m)"]);
        t.get(wu(1, u32::MAX))
            .sees(&["ended(1,INTERNAL,WindowOverflow)"])
            .sends(&["close(1,INTERNAL)"]);
        t.lives();
    }

    fn conf_088_a_byte_beyond_the_window<S>() {
        let mut t = server::<S>().with_call();
        t.reading = false;
        t.get(msg(1, 70_000, 65_536));
        t.get(more(1, 1))
            .sees(&["ended(1,RESOURCE_EXHAUSTED,WindowExceeded)"])
            .sends(&["close(1,RESOURCE_EXHAUSTED)"]);
        t.get(more(1, 1));
        t.reads(1, &["end"]);
        t.lives();
    }

    fn conf_089_a_byte_beyond_the_window_of_responses<S>() {
        let mut t = client::<S>().with_call();
        t.reading = false;
        t.get(msg(1, 65_536, 65_536));
        t.get(msg(1, 1, 1))
            .sees(&["ended(1,RESOURCE_EXHAUSTED,WindowExceeded)"])
            .sends(&["cancel(1)"]);
        t.reads(1, &["got(1,65536)", "end"]);
        t.lives();
    }

    fn conf_090_one_chunk_larger_than_the_window<S>() {
        let mut t = server::<S>().with_call();
        t.get(msg(1, 65_537, 65_537))
            .sees(&["ended(1,RESOURCE_EXHAUSTED,WindowExceeded)"])
            .sends(&["close(1,RESOURCE_EXHAUSTED)"]);
        assert_eq!(t.end.buffered(1), 0);
        t.lives();
    }

    fn conf_091_full_windows_hold_up_no_other_stream<S>() {
        let mut t = server::<S>();
        t.open_kind(1, MethodKind::Unknown);
        t.open_kind(2, MethodKind::Unknown);
        t.reading = false;
        for id in [1, 2] {
            t.get(msg(id, 65_536, 65_536));
        }
        t.open_kind(3, MethodKind::Unary);
        t.get(msg(3, 5, 5));
        t.get(half(3)).sees(&["half(3)"]);
        t.reads(3, &["got(3,5)"]);
        t.send(3, 2).sees(&["writable(3)"]).sends(&["msg(3,2,2)"]);
        t.close(3, 0).sees(&["ended(3,closed)"]).sends(&["close(3,OK)"]);
        t.lives();
    }

    fn conf_092_a_grant_of_nothing_server<S>() {
        let mut t = server::<S>().with_call();
        t.get(wu(1, 0));
        t.lives();
    }

    fn conf_092_a_grant_of_nothing_client<S>() {
        let mut t = client::<S>().with_call();
        t.get(wu(1, 0));
        t.lives();
    }

    fn conf_093_credit_for_a_finished_stream_server<S>() {
        let mut t = server::<S>().with_call();
        t.close(1, 0).sees(&["ended(1,closed)"]).sends(&["close(1,OK)"]);
        t.get(wu(1, 5));
        t.lives();
    }

    fn conf_093_credit_for_a_finished_stream_client<S>() {
        let mut t = client::<S>().with_call();
        t.get(close(1, 0)).sees(&["ended(1,OK)"]);
        t.get(wu(1, 5));
        t.lives();
    }

    fn conf_094_credit_for_a_stream_that_was_never_created_server<S>() {
        server::<S>().get(wu(1, 5)).sees(&["abort(INTERNAL,StreamNeverCreated)"]);
    }

    fn conf_094_credit_for_a_stream_that_was_never_created_client<S>() {
        client::<S>().get(wu(1, 5)).sees(&["abort(INTERNAL,StreamNeverCreated)"]);
    }

    fn conf_095_credit_in_revision_zero_server<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").revision(0)).sees(&["opened(1,svc/m)"]);
        t.get(wu(1, u32::MAX));
        t.get(wu(1, u32::MAX));
        t.lives();
    }

    fn conf_095_credit_in_revision_zero_client<S>() {
        let mut t = client_zero::<S>().with_call();
        t.get(wu(1, u32::MAX));
        t.get(wu(1, u32::MAX));
        t.lives();
    }

    fn conf_096_credit_after_half_close<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").window(0)).sees(&["opened(1,svc/m)"]);
        t.get(half(1)).sees(&["half(1)"]);
        t.send(1, 5);
        t.get(wu(1, 5)).sees(&["writable(1)"]).sends(&["msg(1,5,5)"]);
        t.lives();
    }

    fn conf_097_one_small_chunk_for_each_grant<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").window(1)).sees(&["opened(1,svc/m)"]);
        t.send(1, 50_000).sends(&["msg(1,50000,1)"]);
        // As many chunks as grants, and none without one.
        for _ in 0..500 {
            t.get(wu(1, 1)).sends(&["more(1,1)"]);
        }
        t.wait(Duration::from_secs(3_600)).sends(&[]);
        t.lives();
    }

    fn conf_098_a_flood_of_grants_server<S>() {
        a_flood_of_grants(server::<S>().with_call());
        // The heartbeat is free once a second, and pays after that.
        let mut t = server::<S>();
        for _ in 0..5_000 {
            t.get(wu(-1, 0));
            t.advance(Duration::from_secs(1));
        }
        t.lives();
        flood(&mut t, &wu(-1, 0));
    }

    fn conf_098_a_flood_of_grants_client<S>() {
        a_flood_of_grants(client::<S>().with_call());
    }

    fn conf_099_a_grant_for_each_chunk_server<S>() {
        a_grant_for_each_chunk(server::<S>().with_call());
    }

    fn conf_099_a_grant_for_each_chunk_client<S>() {
        a_grant_for_each_chunk(client::<S>().with_call());
    }

    fn conf_100_no_credit_after_half_close<S>() {
        let mut t = server::<S>().with_call();
        t.reading = false;
        t.get(msg(1, 60_000, 60_000));
        t.get(half(1)).sees(&["half(1)"]);
        t.reads(1, &["got(1,60000)"]);
        t.sends(&[]);
        t.lives();
    }

    fn conf_101_a_message_larger_than_the_window_server<S>() {
        a_message_larger_than_the_window(server::<S>().with_call());
    }

    fn conf_101_a_message_larger_than_the_window_client<S>() {
        a_message_larger_than_the_window(client::<S>().with_call());
    }

    fn conf_102_a_message_over_a_small_window<S>() {
        let mut t = client_window::<S>(10).with_call();
        t.send(1, 22).sends(&["msg(1,22,10)"]);
        t.get(wu(1, 40)).sees(&["writable(1)"]).sends(&["more(1,12)"]);
        t.lives();
    }
}

/// 1,000 grants are in the bucket and 2 come with the stream; then the tunnel ends.
fn a_flood_of_grants<R: Role, S: Store>(mut t: Script<R, S>) {
    flood(&mut t, &wu(1, 1));
}

fn flood<R: Role, S: Store>(t: &mut Script<R, S>, frame: &[u8]) {
    let mut taken = 0;
    while t.end.feed(t.now(), frame).is_ok() {
        taken += 1;
        assert!(taken < 10_000, "never cut off");
    }
    assert!(taken >= 1_000, "cut off after {taken}");
    t.settle();
    let last = t.seen().pop().map(|seen| seen.notation(t.end.side()));
    let expected = "abort(RESOURCE_EXHAUSTED,TooManyWindowUpdates)";
    assert_eq!(last.as_deref(), Some(expected));
    assert!(t.end.feed(t.now(), frame).is_err(), "and stays so");
}

/// As the Go module grants: each frame by its length, for longer than the bucket lasts.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn a_grant_for_each_chunk<R: Role, S: Store>(mut t: Script<R, S>) {
    for _ in 0..1_500 {
        t.send(1, 100);
        let mut sent = 0;
        loop {
            let frames = t.sent();
            let chunks = chunks(&frames).unwrap();
            sent += chunks.iter().sum::<usize>();
            for len in &chunks {
                t.end
                    .feed(t.now(), &wu(1, u32::try_from(*len).unwrap()))
                    .unwrap();
            }
            if chunks.is_empty() {
                break;
            }
            t.settle();
        }
        assert_eq!(sent, 100);
        t.sees(&["writable(1)"]);
    }
    t.lives();
}

#[expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn a_message_larger_than_the_window<R: Role, S: Store>(mut t: Script<R, S>) {
    let size = 200_000_usize;
    let mut credit = 65_536;
    let (mut sent, mut granted) = (0, 0);
    t.get(msg(1, u32::try_from(size).unwrap(), 0));
    while sent < size {
        let len = credit.min(16_384).min(size - sent);
        assert!(len > 0, "no credit after {sent} bytes");
        t.get(more_from(1, sent, len));
        sent += len;
        credit -= len;
        for frame in t.sent() {
            let SentFrame::WindowUpdate { id: 1, bytes } = frame else {
                panic!("{frame}");
            };
            // Batched, and never more than was read.
            assert!(bytes >= 32_768, "{bytes}");
            credit += bytes as usize;
            granted += bytes as usize;
        }
        assert!(granted <= sent);
    }
    let expected = Seen::Got {
        call: 1,
        message: content(0, size),
    };
    assert_eq!(t.seen(), [expected]);
    t.lives();
}

both_stores! {
    fn a_reader_that_stops_gives_its_credit_back<S>() {
        let mut t = server::<S>().with_call();
        t.reading = false;
        t.get(msg(1, 70_000, 40_000));
        t.act(|end, _| end.stop_reading(1));
        t.sends(&["wu(1,40000)"]);
        t.get(more(1, 30_000)).sees(&["discard(1,30000)"]);
        t.get(msg(1, 40_000, 35_000)).sees(&["discard(1,35000)"]).sends(&["wu(1,65000)"]);
        t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]).sends(&["close(1,CANCELLED)"]);
        t.lives();
    }
}
