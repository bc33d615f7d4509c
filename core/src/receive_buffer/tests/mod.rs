//! What the reader gets, in every order of things, over both stores.

use std::format;
use std::vec::Vec;

use super::*;

mod memory;
mod model;

/// Room for a window of 65,536 bytes.
type Fixed = FixedStore<65_536, 32>;

/// Runs generic tests over both stores.
macro_rules! both_stores {
    ($($name:ident),* $(,)?) => {
        mod fixed {
            $(#[test] fn $name() { super::$name::<$crate::receive_buffer::tests::Fixed>(); })*
        }
        #[cfg(feature = "alloc")]
        mod growing {
            $(#[test] fn $name() { super::$name::<$crate::receive_buffer::GrowingStore>(); })*
        }
    };
}
use both_stores;

both_stores!(
    a_message_in_any_two_chunks_is_the_same_message,
    empty_messages_are_messages,
    a_reader_of_whole_messages_sees_no_part_of_one,
    what_is_left_of_a_message_is_shown_again,
    nothing_is_taken_beyond_the_message_being_read,
    nothing_is_taken_where_no_message_was_begun,
    compression_stays_with_its_message,
    misplaced_payload_changes_nothing,
    conf_070_completed_messages_come_before_the_error,
    conf_072_completed_messages_come_before_the_error,
    conf_082_the_first_message_then_the_end_of_a_truncated_one,
    conf_084_the_first_message_then_the_end_of_a_truncated_one,
    a_truncated_message_is_never_a_short_message,
    the_end_comes_behind_everything_that_was_delivered,
    conf_144_a_waiting_reader_gets_one_end_and_no_message,
    conf_145_part_of_a_message_gives_no_message,
    a_message_being_read_that_is_whole_is_read_to_its_end,
    a_message_being_read_that_will_never_be_whole_has_no_end,
    discarding_leaves_nothing_but_the_end,
    the_first_end_counts,
    the_payload_is_not_in_the_debug_output,
);

fn pushed<S: Store>(messages: &[&[u8]]) -> ReceiveBuffer<S, u8> {
    let mut buffer = ReceiveBuffer::new();
    for message in messages {
        push_whole(&mut buffer, message);
    }
    buffer
}

fn push_whole<S: Store>(buffer: &mut ReceiveBuffer<S, u8>, message: &[u8]) {
    assert_eq!(buffer.push(message, Some(envelope(message)), true), Ok(()));
}

fn envelope(message: &[u8]) -> Envelope {
    Envelope::new(u32::try_from(message.len()).unwrap())
}

/// Reads one whole message, all of it.
fn message<S: Store>(buffer: &mut ReceiveBuffer<S, u8>) -> Option<Vec<u8>> {
    let Receive::Message {
        envelope,
        head,
        tail,
    } = buffer.poll_message()
    else {
        return None;
    };
    let message = [head, tail].concat();
    assert_eq!(message.len(), envelope.size as usize);
    assert_eq!(buffer.consume(message.len()), envelope.size);
    Some(message)
}

/// Cuts through what is there: `(`, the bytes, `)` for each message, `!` for the end.
fn cut_through<S: Store>(buffer: &mut ReceiveBuffer<S, u8>) -> Vec<u8> {
    let mut seen = Vec::new();
    loop {
        match buffer.poll_read() {
            Read::Begin(_) => seen.push(b'('),
            Read::Data { head, tail } => {
                seen.extend_from_slice(head);
                seen.extend_from_slice(tail);
                let len = head.len() + tail.len();
                assert_eq!(buffer.consume(len) as usize, len);
            }
            Read::End => seen.push(b')'),
            Read::Terminal(_) => seen.push(b'!'),
            Read::Pending | Read::Done => return seen,
        }
    }
}

fn assert_ends<S: Store>(buffer: &mut ReceiveBuffer<S, u8>, terminal: u8) {
    assert_eq!(buffer.buffered(), 0);
    assert_eq!(buffer.poll_message(), Receive::Terminal(terminal));
    assert_eq!(buffer.poll_message(), Receive::Done);
    assert_eq!(buffer.poll_read(), Read::Done);
}

fn a_message_in_any_two_chunks_is_the_same_message<S: Store>() {
    let text = b"twelve bytes";
    for first in 0..text.len() {
        let (begin, rest) = text.split_at(first);
        let mut buffer = pushed::<S>(&[]);
        assert_eq!(buffer.push(begin, Some(envelope(text)), false), Ok(()));
        assert_eq!(buffer.poll_message(), Receive::Pending);
        assert_eq!(buffer.push(rest, None, true), Ok(()));
        assert_eq!(message(&mut buffer).unwrap(), text);

        assert_eq!(buffer.push(begin, Some(envelope(text)), false), Ok(()));
        assert_eq!(cut_through(&mut buffer), [b"(", begin].concat());
        assert_eq!(buffer.push(rest, None, true), Ok(()));
        assert_eq!(cut_through(&mut buffer), [rest, b")"].concat());
    }
}

fn empty_messages_are_messages<S: Store>() {
    let mut buffer = pushed::<S>(&[b"", b"", b"a", b"", b"b", b"", b""]);
    assert_eq!(cut_through(&mut buffer), b"()()(a)()(b)()()");
    let mut buffer = pushed::<S>(&[b"", b"", b"a", b""]);
    let messages: Vec<_> = core::iter::from_fn(|| message(&mut buffer)).collect();
    assert_eq!(messages, [&b""[..], b"", b"a", b""]);
}

fn a_reader_of_whole_messages_sees_no_part_of_one<S: Store>() {
    let mut buffer = pushed::<S>(&[b"ab"]);
    buffer.push(b"c", Some(Envelope::new(2)), false).unwrap();
    assert_eq!(message(&mut buffer).unwrap(), b"ab");
    assert_eq!(buffer.poll_message(), Receive::Pending);
    assert_eq!(buffer.consume(1), 0);

    // Begun by cutting through: the rest is shown when it is all here.
    assert_eq!(buffer.poll_read(), Read::Begin(Envelope::new(2)));
    assert_eq!(buffer.poll_message(), Receive::Pending);
    assert_eq!(buffer.read(&mut [0; 8]), 1);
    assert_eq!(buffer.poll_message(), Receive::Pending);
    buffer.push(b"d", None, true).unwrap();
    let rest = Receive::Message {
        envelope: Envelope::new(2),
        head: &b"d"[..],
        tail: &b""[..],
    };
    assert_eq!(buffer.poll_message(), rest);
}

fn what_is_left_of_a_message_is_shown_again<S: Store>() {
    let mut buffer = pushed::<S>(&[b"abc", b"d"]);
    for left in [&b"abc"[..], b"bc", b"c"] {
        let shown = Receive::Message {
            envelope: Envelope::new(3),
            head: left,
            tail: &b""[..],
        };
        assert_eq!(buffer.poll_message(), shown);
        assert_eq!(buffer.as_slices(), (left, &b""[..]));
        assert_eq!(buffer.consume(1), 1);
    }
    assert_eq!(message(&mut buffer).unwrap(), b"d");
    assert_eq!(buffer.poll_message(), Receive::Pending);
}

fn nothing_is_taken_beyond_the_message_being_read<S: Store>() {
    let mut buffer = pushed::<S>(&[b"abc", b"def"]);
    buffer.push(b"g", Some(Envelope::new(9)), false).unwrap();
    assert!(matches!(buffer.poll_message(), Receive::Message { .. }));
    let mut into = [0; 2];
    assert_eq!(buffer.read(&mut into), 2);
    assert_eq!(&into, b"ab");
    assert_eq!(buffer.consume(usize::MAX), 1);
    assert_eq!(buffer.consume(usize::MAX), 0);
    // Shown as a whole: another end would pass for another message.
    assert_eq!(buffer.poll_read(), Read::Begin(Envelope::new(3)));
    let mut into = [0; 64];
    assert_eq!(buffer.read(&mut into), 3);
    assert_eq!(into.get(..4).unwrap(), b"def\0");
    assert_eq!(buffer.buffered(), 1);
}

fn nothing_is_taken_where_no_message_was_begun<S: Store>() {
    let mut buffer = pushed::<S>(&[b"abc"]);
    assert_eq!(buffer.as_slices(), (&b""[..], &b""[..]));
    assert_eq!(buffer.read(&mut [0; 8]), 0);
    assert_eq!(buffer.consume(3), 0);
    assert_eq!(message(&mut buffer).unwrap(), b"abc");
}

fn compression_stays_with_its_message<S: Store>() {
    let flags = [false, true, true, false, true, false, false, true];
    for size in [0, 1] {
        let mut buffer = ReceiveBuffer::<S, u8>::new();
        for compressed in flags {
            let bytes = b"x".get(..size).unwrap();
            let begins = Envelope {
                compressed,
                ..envelope(bytes)
            };
            buffer.push(bytes, Some(begins), true).unwrap();
        }
        for expected in flags {
            let Receive::Message { envelope, .. } = buffer.poll_message() else {
                panic!("a message is missing");
            };
            assert_eq!(envelope.compressed, expected);
            assert_eq!(buffer.consume(size) as usize, size);
        }
    }
}

fn misplaced_payload_changes_nothing<S: Store>() {
    let five = Some(Envelope::new(5));
    let outside: [(&[u8], _, _); 6] = [
        (b"a", None, false),
        (b"", None, true),
        (b"abcde", five, false),
        (b"abcd", five, true),
        (b"abcdef", five, true),
        (b"a", Some(Envelope::new(0)), true),
    ];
    let inside: [(&[u8], _, _); 5] = [
        (b"", five, false),
        (b"", Some(Envelope::new(0)), true),
        (b"de", None, false),
        (b"d", None, true),
        (b"def", None, true),
    ];
    let mut buffer = pushed::<S>(&[b"before"]);
    for (bytes, begins, ends) in outside {
        assert_eq!(buffer.push(bytes, begins, ends), Err(PushError::Misplaced));
    }
    buffer.push(b"abc", five, false).unwrap();
    for (bytes, begins, ends) in inside {
        assert_eq!(buffer.push(bytes, begins, ends), Err(PushError::Misplaced));
    }
    buffer.push(b"de", None, true).unwrap();
    buffer.finish(7, Unread::Deliver);
    let late = buffer.push(b"late!", five, true);
    assert_eq!(late, Err(PushError::Misplaced));
    assert_eq!(cut_through(&mut buffer), b"(before)(abcde)!");
}

/// `msg(7,7) more(0)`: the stray chunk ends the stream, the message is delivered first.
fn conf_070_completed_messages_come_before_the_error<S: Store>() {
    let mut buffer = pushed::<S>(&[b"7 bytes"]);
    assert_eq!(buffer.finish(13, Unread::Deliver), 0);
    assert!(buffer.is_finished());
    assert_eq!(message(&mut buffer).unwrap(), b"7 bytes");
    assert_ends(&mut buffer, 13);
}

/// A message, then `msg(3,1) more(3)`: the tunnel hands on one byte of the message that gets too
/// long, then the end.
fn conf_072_completed_messages_come_before_the_error<S: Store>() {
    let mut buffer = pushed::<S>(&[b"first", b"", b"third"]);
    buffer.push(b"x", Some(Envelope::new(3)), false).unwrap();
    assert_eq!(buffer.finish(3, Unread::Deliver), 1);
    for whole in [&b"first"[..], b"", b"third"] {
        assert_eq!(message(&mut buffer).unwrap(), whole);
    }
    assert_ends(&mut buffer, 3);
}

/// `msg(7,7) msg(10,1)`, then the end.
fn conf_082_the_first_message_then_the_end_of_a_truncated_one<S: Store>() {
    first_message_then_truncated::<S>(b"7 bytes");
}

/// `msg(0,0) msg(10,1)`, then the end.
fn conf_084_the_first_message_then_the_end_of_a_truncated_one<S: Store>() {
    first_message_then_truncated::<S>(b"");
}

fn first_message_then_truncated<S: Store>(first: &[u8]) {
    let mut buffer = pushed::<S>(&[first]);
    buffer.push(b"x", Some(Envelope::new(10)), false).unwrap();
    assert_eq!(buffer.finish(13, Unread::Deliver), 1);
    assert_eq!(message(&mut buffer).unwrap(), first);
    assert_ends(&mut buffer, 13);
}

fn a_truncated_message_is_never_a_short_message<S: Store>() {
    let text = b"ten bytes!";
    for arrived in 0..text.len() {
        let mut buffer = pushed::<S>(&[]);
        let (begin, _) = text.split_at(arrived);
        buffer.push(begin, Some(envelope(text)), false).unwrap();
        assert_eq!(buffer.finish(3, Unread::Deliver) as usize, arrived);
        assert_ends(&mut buffer, 3);
    }
}

fn the_end_comes_behind_everything_that_was_delivered<S: Store>() {
    let mut buffer = pushed::<S>(&[b"one", b"", b"two"]);
    buffer.finish(7, Unread::Deliver);
    assert_eq!(cut_through(&mut buffer), b"(one)()(two)!");
    assert_eq!(buffer.poll_read(), Read::Done);
}

fn conf_144_a_waiting_reader_gets_one_end_and_no_message<S: Store>() {
    for unread in [Unread::Deliver, Unread::Discard] {
        let mut buffer = pushed::<S>(&[b"read"]);
        assert_eq!(message(&mut buffer).unwrap(), b"read");
        assert_eq!(buffer.poll_message(), Receive::Pending);
        assert_eq!(buffer.finish(4, unread), 0);
        assert_ends(&mut buffer, 4);
    }
}

fn conf_145_part_of_a_message_gives_no_message<S: Store>() {
    for unread in [Unread::Deliver, Unread::Discard] {
        let mut buffer = pushed::<S>(&[]);
        buffer.push(b"xx", Some(Envelope::new(10)), false).unwrap();
        assert_eq!(buffer.poll_message(), Receive::Pending);
        assert_eq!(buffer.finish(4, unread), 2);
        assert_ends(&mut buffer, 4);
    }
}

fn a_message_being_read_that_is_whole_is_read_to_its_end<S: Store>() {
    let mut buffer = pushed::<S>(&[]);
    buffer.push(b"ab", Some(Envelope::new(4)), false).unwrap();
    assert_eq!(cut_through(&mut buffer), b"(ab");
    buffer.push(b"cd", None, true).unwrap();
    buffer.push(b"x", Some(Envelope::new(2)), false).unwrap();
    assert_eq!(buffer.finish(1, Unread::Deliver), 1);
    assert_eq!(cut_through(&mut buffer), b"cd)!");
}

fn a_message_being_read_that_will_never_be_whole_has_no_end<S: Store>() {
    for unread in [Unread::Deliver, Unread::Discard] {
        let mut buffer = pushed::<S>(&[b"whole"]);
        buffer.push(b"ab", Some(Envelope::new(9)), false).unwrap();
        assert_eq!(cut_through(&mut buffer), b"(whole)(ab");
        buffer.push(b"cde", None, false).unwrap();
        assert_eq!(buffer.finish(1, unread), 3);
        assert_ends(&mut buffer, 1);
    }
}

fn discarding_leaves_nothing_but_the_end<S: Store>() {
    let mut buffer = pushed::<S>(&[b"being read", b"", b"whole"]);
    buffer.push(b"part", Some(Envelope::new(9)), false).unwrap();
    assert!(matches!(buffer.poll_message(), Receive::Message { .. }));
    assert_eq!(buffer.consume(6), 6);
    assert_eq!(buffer.finish(1, Unread::Discard), 4 + 5 + 4);
    assert_eq!(buffer.as_slices(), (&b""[..], &b""[..]));
    assert_ends(&mut buffer, 1);
}

fn the_first_end_counts<S: Store>() {
    let mut buffer = pushed::<S>(&[b"kept"]);
    assert_eq!(buffer.finish(1, Unread::Deliver), 0);
    assert_eq!(buffer.finish(2, Unread::Discard), 0);
    assert_eq!(message(&mut buffer).unwrap(), b"kept");
    assert_ends(&mut buffer, 1);
    assert_eq!(buffer.finish(3, Unread::Deliver), 0);
    assert_eq!(buffer.poll_read(), Read::Done);
}

fn the_payload_is_not_in_the_debug_output<S: Store>() {
    let buffer = pushed::<S>(&[&[211; 3]]);
    let shown = format!("{buffer:?}");
    assert!(shown.contains("buffered: 3"), "{shown}");
    assert!(!shown.contains("211"), "{shown}");
}
