//! Rows 65 to 84 of the catalogue: message data, at both ends.

use grpctunnel_core::{
    Client, Config, MethodKind, Negotiation, Opening, Role, Server, StreamReason,
};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{
    Frame, cancel, close, content, half, hdr, more, more_from, msg, new, set,
};
use grpctunnel_tests::harness::{
    Over, Script, Store, client, client_with, client_zero, config, server, server_with,
};

/// Frames on a live call 1, the messages that its reader gets, and the rule that ends it.
type Row<'a> = (&'a [Frame], &'a [&'a str], Option<StreamReason>);

/// Plays a row, at the end of which these frames are sent. The reader looks only when everything has come:
/// what is whole comes first, then the end.
#[track_caller]
fn play<R: Role, S: Store>(mut t: Script<R, S>, (frames, got, ends): Row<'_>, says: &str) {
    t.reading = false;
    for frame in frames {
        t.is_quiet();
        t.get(frame.clone());
        let over = t.end.over(1).is_some();
        assert!(
            !over || Some(frame) == frames.last(),
            "ended before its last frame"
        );
    }
    let Some(reason) = ends else {
        t.reads(1, got);
        let expected: Vec<&str> = Some(says)
            .filter(|says| !says.is_empty())
            .into_iter()
            .collect();
        t.sends(&expected);
        t.lives();
        return;
    };
    t.seen();
    assert_eq!(t.over(1), Over::Violation(reason));
    t.sends(&[says]);
    let got: Vec<&str> = got.iter().copied().chain(["end"]).collect();
    t.reads(1, &got);
    t.lives();
}

fn play_server<S: Store>(row: Row<'_>, code: &str) {
    play(
        server::<S>().with_call(),
        row,
        &row.2.map_or(String::new(), |_| format!("close(1,{code})")),
    );
}

fn play_client<S: Store>(row: Row<'_>) {
    play(
        client::<S>().with_call(),
        row,
        row.2.map_or("", |_| "cancel(1)"),
    );
}

const INVALID: &str = "INVALID_ARGUMENT";

/// A server with a live call, whose limits are changed.
fn limited_server<S: Store>(change: impl Fn(&mut Config)) -> Script<Server, S> {
    let mut config = config::<S>();
    change(&mut config);
    let mut t = server_with::<S>(config, Opening::Accepted(Negotiation::On));
    t.sends(&["set(-1,65536,[0, 1])"]);
    t.with_call()
}

/// A client with a live call, whose limits are changed.
fn limited_client<S: Store>(change: impl Fn(&mut Config)) -> Script<Client, S> {
    let mut config = config::<S>();
    change(&mut config);
    let mut t = client_with::<S>(config, Opening::Accepted(Negotiation::On));
    t.get(set(-1, 65_536, &[0, 1]))
        .sees(&["settled(One)", "may open"]);
    t.with_call()
}

both_stores! {
    fn conf_065_a_message_in_one_frame_server<S>() {
        play_server::<S>((&[msg(1, 7, 7)], &["got(1,7)"], None), "");
    }

    fn conf_065_a_message_in_one_frame_client<S>() {
        play_client::<S>((&[msg(1, 7, 7)], &["got(1,7)"], None));
    }

    fn conf_066_an_envelope_without_data_and_an_empty_chunk_server<S>() {
        play_server::<S>((&[msg(1, 7, 0), more(1, 0), more(1, 7)], &["got(1,7)"], None), "");
    }

    fn conf_066_an_envelope_without_data_and_an_empty_chunk_client<S>() {
        play_client::<S>((&[msg(1, 7, 0), more(1, 0), more(1, 7)], &["got(1,7)"], None));
    }

    fn conf_067_two_empty_messages_server<S>() {
        play_server::<S>((&[msg(1, 0, 0), msg(1, 0, 0)], &["got(1,0)", "got(1,0)"], None), "");
    }

    fn conf_067_two_empty_messages_client<S>() {
        play_client::<S>((&[msg(1, 0, 0), msg(1, 0, 0)], &["got(1,0)", "got(1,0)"], None));
    }

    fn conf_068_data_in_an_empty_message_server<S>() {
        play_server::<S>((&[msg(1, 0, 2)], &[], Some(StreamReason::DataBeyondSize)), INVALID);
    }

    fn conf_068_data_in_an_empty_message_client<S>() {
        play_client::<S>((&[msg(1, 0, 2)], &[], Some(StreamReason::DataBeyondSize)));
    }

    fn conf_069_more_of_no_message_server<S>() {
        play_server::<S>((&[more(1, 1)], &[], Some(StreamReason::DataWithoutMessage)), INVALID);
    }

    fn conf_069_more_of_no_message_client<S>() {
        play_client::<S>((&[more(1, 1)], &[], Some(StreamReason::DataWithoutMessage)));
    }

    fn conf_070_the_whole_message_first_then_the_error_server<S>() {
        let frames = [msg(1, 7, 7), more(1, 0)];
        play_server::<S>((&frames, &["got(1,7)"], Some(StreamReason::DataWithoutMessage)), INVALID);
    }

    fn conf_070_the_whole_message_first_then_the_error_client<S>() {
        let frames = [msg(1, 7, 7), more(1, 0)];
        play_client::<S>((&frames, &["got(1,7)"], Some(StreamReason::DataWithoutMessage)));
    }

    fn conf_071_an_envelope_inside_a_message_server<S>() {
        let frames = [msg(1, 10, 1), msg(1, 10, 1)];
        play_server::<S>((&frames, &[], Some(StreamReason::MessageInterrupted)), INVALID);
    }

    fn conf_071_an_envelope_inside_a_message_client<S>() {
        let frames = [msg(1, 10, 1), msg(1, 10, 1)];
        play_client::<S>((&frames, &[], Some(StreamReason::MessageInterrupted)));
    }

    fn conf_072_more_than_the_size_server<S>() {
        let frames = [msg(1, 2, 2), msg(1, 3, 1), more(1, 3)];
        play_server::<S>((&frames, &["got(1,2)"], Some(StreamReason::DataBeyondSize)), INVALID);
    }

    fn conf_072_more_than_the_size_client<S>() {
        let frames = [msg(1, 2, 2), msg(1, 3, 1), more(1, 3)];
        play_client::<S>((&frames, &["got(1,2)"], Some(StreamReason::DataBeyondSize)));
    }

    fn conf_073_a_chunk_as_large_as_the_window_server<S>() {
        let row = (&[msg(1, 65_536, 65_536)][..], &["got(1,65536)"][..], None);
        play(server::<S>().with_call(), row, "wu(1,65536)");
        // Ours are never larger than 16,384.
        let mut t = server::<S>().with_call();
        t.send(1, 16_385).sees(&["writable(1)"]).sends(&["msg(1,16385,16384)", "more(1,1)"]);
    }

    fn conf_073_a_chunk_as_large_as_the_window_client<S>() {
        let row = (&[msg(1, 65_536, 65_536)][..], &["got(1,65536)"][..], None);
        play(client::<S>().with_call(), row, "wu(1,65536)");
        let mut t = client::<S>().with_call();
        t.send(1, 16_385).sees(&["writable(1)"]).sends(&["msg(1,16385,16384)", "more(1,1)"]);
    }

    fn conf_074_a_large_chunk_in_revision_zero_server<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").revision(0)).sees(&["opened(1,svc/m)"]);
        t.end.do_not_buffer();
        t.get(msg(1, 1 << 20, 1 << 20)).sees(&["data(1,1048576)"]);
        t.lives();
    }

    fn conf_074_a_large_chunk_in_revision_zero_client<S>() {
        let mut t = client_zero::<S>().with_call();
        t.end.do_not_buffer();
        t.get(msg(1, 1 << 20, 1 << 20)).sees(&["data(1,1048576)"]);
        t.lives();
    }

    fn conf_075_a_message_beyond_the_limit_ends_at_its_envelope<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").revision(0)).sees(&["opened(1,svc/m)"]);
        t.get(msg(1, 64 << 20, 0))
            .sees(&["ended(1,RESOURCE_EXHAUSTED,MessageTooLarge)"])
            .sends(&["close(1,RESOURCE_EXHAUSTED)"]);
        t.get(more(1, 100));
        t.lives();
    }

    fn conf_076_a_declared_size_takes_no_memory_server<S>() {
        let row = (&[msg(1, u32::MAX, 0)][..], &[][..], Some(StreamReason::MessageTooLarge));
        play_server::<S>(row, "RESOURCE_EXHAUSTED");
        let mut t = limited_server::<S>(|config| config.limits.max_message = u32::MAX);
        let before = t.end.buffer_memory(1);
        t.get(msg(1, u32::MAX, 0));
        t.get(more(1, 1));
        t.get(more(1, 1));
        assert!(t.end.buffer_memory(1) <= before + 64, "{}", t.end.buffer_memory(1));
        t.lives();
    }

    fn conf_076_a_declared_size_takes_no_memory_client<S>() {
        play_client::<S>((&[msg(1, u32::MAX, 0)], &[], Some(StreamReason::MessageTooLarge)));
        let mut t = limited_client::<S>(|config| config.limits.max_message = u32::MAX);
        let before = t.end.buffer_memory(1);
        t.get(msg(1, u32::MAX, 0));
        t.get(more(1, 1));
        t.get(more(1, 1));
        assert!(t.end.buffer_memory(1) <= before + 64, "{}", t.end.buffer_memory(1));
        t.lives();
    }

    fn conf_077_a_flood_of_empty_messages_server<S>() {
        a_flood_of_empty_messages(server::<S>().with_call());
    }

    fn conf_077_a_flood_of_empty_messages_client<S>() {
        a_flood_of_empty_messages(client::<S>().with_call());
    }

    fn conf_078_empty_chunks_without_progress_server<S>() {
        empty_chunks(server::<S>().with_call(), "close(1,RESOURCE_EXHAUSTED)");
    }

    fn conf_078_empty_chunks_without_progress_client<S>() {
        empty_chunks(client::<S>().with_call(), "cancel(1)");
    }

    fn conf_079_a_window_of_one_byte_messages_server<S>() {
        a_window_of_one_byte_messages(server::<S>().with_call());
    }

    fn conf_079_a_window_of_one_byte_messages_client<S>() {
        a_window_of_one_byte_messages(client::<S>().with_call());
    }

    fn conf_080_data_after_half_close<S>() {
        let mut t = server::<S>().with_call();
        t.get(half(1)).sees(&["half(1)"]);
        t.get(msg(1, 7, 7));
        t.get(more(1, 1));
        t.get(msg(1, 5, 1));
        t.get(msg(1, 100_000, 70_000));
        assert_eq!(t.end.tunnel.counters().ignored, 4);
        t.lives();
    }

    fn conf_081_data_after_the_end_server<S>() {
        let mut t = server::<S>().with_call();
        t.get(cancel(1)).sees(&["ended(1,CANCELLED,by peer)"]).sends(&["close(1,CANCELLED)"]);
        t.open_kind(2, MethodKind::Unknown);
        t.close(2, 0).sees(&["ended(2,closed)"]).sends(&["close(2,OK)"]);
        for id in [1, 2] {
            t.get(msg(id, 7, 7));
            t.get(more(id, 7));
        }
        assert_eq!(t.end.tunnel.counters().ignored, 4);
        t.lives();
    }

    fn conf_081_data_after_the_end_client<S>() {
        let mut t = client::<S>().with_call();
        assert_eq!(t.act(|end, _| end.cancel(1)), Ok(()));
        t.sees(&["ended(1,CANCELLED)"]).sends(&["cancel(1)"]);
        t.open();
        t.get(close(2, 0)).sees(&["ended(2,OK)"]);
        for id in [1, 2] {
            t.get(msg(id, 7, 7));
            t.get(more(id, 7));
        }
        assert_eq!(t.end.tunnel.counters().ignored, 4);
        t.lives();
    }

    fn conf_082_a_truncated_request_of_a_client_stream<S>() {
        let mut t = server::<S>();
        t.open_kind(1, MethodKind::ClientStreaming);
        let frames = [msg(1, 7, 7), msg(1, 10, 1), half(1)];
        let row = (&frames[..], &["got(1,7)"][..], Some(StreamReason::Truncated));
        play(t, row, "close(1,INTERNAL)");
    }

    fn conf_083_a_truncated_request<S>() {
        let mut t = server::<S>();
        t.open_kind(1, MethodKind::Unary);
        let frames = [msg(1, 10, 1), half(1)];
        play(t, (&frames, &[], Some(StreamReason::Truncated)), "close(1,INTERNAL)");
    }

    fn conf_084_a_truncated_response<S>() {
        let mut t = client::<S>().with_call();
        t.reading = false;
        t.get(msg(1, 0, 0));
        t.get(msg(1, 10, 1));
        // The server has closed already, so there is nothing to cancel.
        t.get(close(1, 0)).sees(&["ended(1,INTERNAL,Truncated)"]);
        t.reads(1, &["got(1,0)", "end"]);
        t.lives();
    }
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn a_flood_of_empty_messages<R: Role, S: Store>(mut t: Script<R, S>) {
    t.reading = false;
    let before = t.end.buffer_memory(1);
    for _ in 0..100_000 {
        t.end.feed(t.now(), &msg(1, 0, 0)).unwrap();
    }
    assert!(
        t.end.buffer_memory(1) <= before + 64,
        "{}",
        t.end.buffer_memory(1)
    );
    // They cost no credit, and are delivered one by one all the same.
    while t.end.read(1, 0) {}
    let got = t.end.take_seen().len();
    assert_eq!(got, 100_000);
    t.lives();
}

fn empty_chunks<R: Role, S: Store>(mut t: Script<R, S>, says: &str) {
    t.get(msg(1, 10, 0));
    let before = t.end.buffer_memory(1);
    for _ in 0..100 {
        t.get(more(1, 0));
    }
    t.get(more(1, 1));
    for _ in 0..100 {
        t.get(more(1, 0));
    }
    assert!(t.end.buffer_memory(1) <= before + 64);
    t.get(more(1, 0)).sends(&[says]);
    t.seen();
    assert_eq!(t.over(1), Over::Violation(StreamReason::TooManyEmptyChunks));
    t.lives();
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn a_window_of_one_byte_messages<R: Role, S: Store>(mut t: Script<R, S>) {
    t.reading = false;
    for offset in 0..65_536 {
        let message = [msg(1, 1, 0), more_from(1, offset, 1)];
        for frame in message {
            t.end.feed(t.now(), &frame).unwrap();
        }
    }
    assert!(
        t.end.buffer_memory(1) <= 10 * 65_536,
        "{}",
        t.end.buffer_memory(1)
    );
    while t.end.read(1, usize::MAX) {}
    let got: Vec<Vec<u8>> = t
        .end
        .take_seen()
        .into_iter()
        .filter_map(|seen| match seen {
            grpctunnel_tests::harness::Seen::Got { message, .. } => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(got.concat(), content(0, 65_536));
    assert_eq!(got.len(), 65_536);
    t.settle();
    t.sent();
    t.lives();
}

both_stores! {
    /// Where an id goes over more bytes than one, the last of them may look like the next field.
    fn bytes_of_an_id_are_no_fields<S>() {
        let mut t = server::<S>();
        for place in [7, 14, 21] {
            for id in [0x12, 0x1a, 0x22, 0x38].map(|last| last << place | 1 << (place - 7)) {
                t.get(new(id, "svc/m")).sees(&[&format!("opened({id},svc/m)")]);
                t.get(msg(id, 34, 1));
                t.get(more_from(id, 1, 33)).sees(&[&format!("got({id},34)")]);
                t.get(cancel(id)).sees(&[&format!("ended({id},CANCELLED,by peer)")]);
                t.sent();
            }
        }
        t.lives();
    }

    fn response_headers_do_not_interrupt_a_message<S>() {
        let mut t = client::<S>().with_call();
        t.get(hdr(1, &[])).sees(&["hdr(1)"]);
        t.get(msg(1, 4, 2));
        t.get(hdr(1, &[]));
        t.get(more_from(1, 2, 2)).sees(&["got(1,4)"]);
        t.lives();
    }
}
