//! What readers of an inbox see, and what it holds.

use super::*;

/// The bytes that are allocated for payload.
fn memory(inbox: &Inbox) -> usize {
    let full: usize = inbox.full.iter().map(|chunk| chunk.bytes.len()).sum();
    full + inbox.last.bytes.capacity() + inbox.behind.as_ref().map_or(0, |behind| behind.memory())
}

fn push_message(inbox: &mut Inbox, message: &[u8]) {
    let size = u32::try_from(message.len()).unwrap();
    inbox
        .push(message, None, Some(Envelope::new(size)), true)
        .unwrap();
}

/// What one step takes: the framed bytes, and the payload reported.
fn take(inbox: &mut Inbox) -> (Vec<u8>, u32) {
    let mut taken = Taken::default();
    let payload = inbox.take(&mut taken);
    let all: Vec<Bytes> = std::iter::from_fn(|| taken.next()).collect();
    assert!(all.iter().all(|bytes| !bytes.is_empty()));
    (all.concat(), payload)
}

/// Takes everything out: the framed bytes and the payload reported.
fn drain(inbox: &mut Inbox) -> (Vec<u8>, usize) {
    let mut all = Vec::new();
    let mut payload = 0;
    while !inbox.is_empty() {
        let (bytes, taken) = take(inbox);
        assert!((1..=STEP).contains(&bytes.len()), "{}", bytes.len());
        all.extend_from_slice(&bytes);
        payload += usize::try_from(taken).unwrap();
    }
    (all, payload)
}

fn framed(messages: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for message in messages {
        all.extend_from_slice(&length_prefix(0, u32::try_from(message.len()).unwrap()));
        all.extend_from_slice(message);
    }
    all
}

#[test]
fn messages_come_out_framed() {
    let mut inbox = Inbox::default();
    push_message(&mut inbox, b"hello");
    push_message(&mut inbox, b"");
    inbox
        .push(b"ab", None, Some(Envelope::new(4)), false)
        .unwrap();
    assert_eq!(
        drain(&mut inbox),
        (framed(&[b"hello", b"", b"ab??"])[..22].to_vec(), 7)
    );
    inbox.push(b"cd", None, None, true).unwrap();
    assert_eq!(drain(&mut inbox), (b"cd".to_vec(), 2));
}

#[test]
fn conf_077_a_million_empty_messages_take_no_memory_and_all_come_out() {
    let mut inbox = Inbox::default();
    for _ in 0..1_000_000 {
        push_message(&mut inbox, b"");
    }
    assert!(memory(&inbox) <= OVERHEAD);
    let (all, payload) = drain(&mut inbox);
    assert_eq!((all.len(), payload), (5_000_000, 0));
    assert!(all.iter().all(|byte| *byte == 0));
}

/// As many messages as are kept ready.
fn fill(inbox: &mut Inbox) -> usize {
    let mut count = 0;
    while inbox.behind.is_none() {
        push_message(inbox, b"");
        count += 1;
    }
    count
}

#[test]
fn a_reader_that_keeps_up_is_never_behind() {
    let mut inbox = Inbox::default();
    for _ in 0..3 * PREFIXES / PREFIX_LEN {
        push_message(&mut inbox, b"m");
        assert!(inbox.behind.is_none());
        assert_eq!(take(&mut inbox).0.len(), PREFIX_LEN + 1);
    }
    // One that catches up neither.
    fill(&mut inbox);
    push_message(&mut inbox, b"behind");
    drain(&mut inbox);
    push_message(&mut inbox, b"m");
    assert!(inbox.behind.is_none());
}

#[test]
fn a_slow_reader_gets_the_same_bytes() {
    let large = vec![7; 300_000];
    let mut inbox = Inbox::default();
    let empty = fill(&mut inbox);
    push_message(&mut inbox, &large);
    push_message(&mut inbox, b"second");
    inbox
        .push(&large[..10], None, Some(Envelope::new(300_000)), false)
        .unwrap();
    let (mut all, mut payload) = drain(&mut inbox);
    inbox.push(&large[10..], None, None, true).unwrap();
    push_message(&mut inbox, b"last");
    let (rest, taken) = drain(&mut inbox);
    all.extend_from_slice(&rest);
    payload += taken;
    let mut expected = vec![&b""[..]; empty];
    expected.extend([&large, &b"second"[..], &large, b"last"]);
    assert!(all == framed(&expected));
    assert_eq!(payload, 600_010);
    assert!(inbox.behind.is_none());
}

#[test]
fn an_end_cuts_the_message_that_is_not_whole() {
    for spilled in [false, true] {
        let mut inbox = Inbox::default();
        let empty = if spilled { fill(&mut inbox) } else { 0 };
        push_message(&mut inbox, b"whole");
        inbox
            .push(b"par", None, Some(Envelope::new(9)), false)
            .unwrap();
        inbox.finish(Unread::Deliver, &mut Deferred::default());
        let mut expected = vec![&b""[..]; empty];
        expected.push(b"whole");
        assert!(drain(&mut inbox).0 == framed(&expected));
    }
}

#[test]
fn an_end_cuts_a_message_of_many_chunks() {
    let part = vec![7; 100_000];
    for reads in 0..2 {
        let mut inbox = Inbox::default();
        push_message(&mut inbox, b"whole");
        let begins = Some(Envelope::new(u32::MAX));
        inbox.push(&part, None, begins, false).unwrap();
        inbox.push(&part, None, None, false).unwrap();
        let mut all = Vec::new();
        for _ in 0..reads {
            all.extend_from_slice(&take(&mut inbox).0);
        }
        inbox.finish(Unread::Deliver, &mut Deferred::default());
        all.extend(drain(&mut inbox).0);
        // What was begun is not cut: its reader gets what came, and the error behind it.
        let expected = match all.len() {
            10 => 10,
            _ => 10 + 5 + 2 * part.len(),
        };
        assert_eq!(all.len(), expected, "after {reads} reads");
        assert!(all.starts_with(&framed(&[b"whole"])));
    }
}

/// Behind the end, a message that was moved and not read is cut as any other.
#[test]
fn an_end_cuts_a_message_that_was_behind() {
    let mut inbox = Inbox::default();
    let empty = fill(&mut inbox);
    inbox
        .push(b"par", None, Some(Envelope::new(9)), false)
        .unwrap();
    let mut all = Vec::new();
    while inbox.unread > 0 {
        all.extend_from_slice(&take(&mut inbox).0);
    }
    assert!(!inbox.is_empty());
    inbox.finish(Unread::Deliver, &mut Deferred::default());
    all.extend(drain(&mut inbox).0);
    assert_eq!(all.len(), empty * PREFIX_LEN);
}

#[test]
fn memory_follows_what_is_unread() {
    let part = vec![7; 16_384];
    let window = 4 << 20;
    let mut inbox = Inbox::default();
    let begins = Some(Envelope::new(u32::MAX));
    inbox.push(&[], None, begins, false).unwrap();
    for pushed in 1..=window / part.len() {
        inbox.push(&part, None, None, false).unwrap();
        let unread = pushed * part.len();
        assert!(memory(&inbox) <= unread + STEP + SMALL, "{unread}");
    }
    drain(&mut inbox);
    assert!(memory(&inbox) <= SMALL);
    inbox.push(&part, None, None, false).unwrap();
    assert!(memory(&inbox) <= part.len() + SMALL);
    drain(&mut inbox);
    assert!(memory(&inbox) <= SMALL);
}

#[test]
fn an_end_that_discards_leaves_nothing() {
    let mut inbox = Inbox::default();
    fill(&mut inbox);
    push_message(&mut inbox, b"behind");
    inbox.finish(Unread::Discard, &mut Deferred::default());
    assert!(inbox.is_empty());
}

/// Pushes messages that are one after the other in one buffer.
fn push_from(inbox: &mut Inbox, chunk: &Bytes, sizes: &[usize]) {
    let source = Source::new(chunk, chunk.len());
    let mut rest = &chunk[..];
    for size in sizes {
        let (message, behind) = rest.split_at(*size);
        let begins = Some(Envelope::new(u32::try_from(*size).unwrap()));
        inbox.push(message, Some(&source), begins, true).unwrap();
        rest = behind;
    }
}

#[test]
fn large_payload_is_a_slice_and_small_payload_a_copy() {
    let mut inbox = Inbox::default();
    let chunk = Bytes::from((0..60_000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let sizes = [SEGMENT, 10, SEGMENT - 1, SEGMENT, 30_000];
    push_from(&mut inbox, &chunk, &sizes);
    let mut taken = Taken::default();
    inbox.take(&mut taken);
    let within = chunk.as_ptr_range();
    let pieces: Vec<Bytes> = std::iter::from_fn(|| taken.next()).collect();
    let slices: Vec<usize> = pieces
        .iter()
        .filter(|piece| within.contains(&piece.as_ptr()))
        .map(Bytes::len)
        .collect();
    assert_eq!(slices, [SEGMENT, SEGMENT, 30_000]);
    let mut messages = Vec::new();
    let mut rest = &chunk[..];
    for size in sizes {
        let (message, behind) = rest.split_at(size);
        messages.push(message);
        rest = behind;
    }
    assert!(pieces.concat() == framed(&messages));
}

#[test]
fn slow_readers_hold_a_bounded_part_of_the_carriers_buffers() {
    let pins = Pins::default();
    let mut inboxes: Vec<_> = (0..100).map(|_| Inbox::new(pins.clone())).collect();
    let mut buffers = Vec::new();
    for round in 0..4 {
        for inbox in &mut inboxes {
            let chunk = Bytes::from(vec![round; 256 << 10]);
            push_from(inbox, &chunk, &[SEGMENT]);
            buffers.push(chunk);
            let held = buffers.iter().filter(|buffer| !buffer.is_unique()).count();
            assert!(held * (256 << 10) <= Pins::MOST, "{held} buffers");
        }
    }
    assert!(buffers.iter().any(|buffer| !buffer.is_unique()));
    for inbox in &mut inboxes {
        assert_eq!(drain(inbox).1, 4 * SEGMENT);
    }
    assert!(buffers.iter().all(Bytes::is_unique));
    assert_eq!(pins.held(), 0, "the next readers have all of it");
}

#[test]
fn an_end_cuts_slices_and_gives_them_back() {
    let pins = Pins::default();
    let mut inbox = Inbox::new(pins.clone());
    push_message(&mut inbox, b"whole");
    let chunk = Bytes::from(vec![7; 100_000]);
    let source = Source::new(&chunk, chunk.len());
    let begins = Some(Envelope::new(u32::MAX));
    inbox.push(&chunk, Some(&source), begins, false).unwrap();
    assert!(pins.held() >= chunk.len());
    inbox.finish(Unread::Deliver, &mut Deferred::default());
    assert_eq!(drain(&mut inbox).0, framed(&[b"whole"]));
    assert!(chunk.is_unique());
    assert_eq!(pins.held(), 0);
}
