//! What is held costs what it must, what was taken is given back, and what is full says so.

use super::*;

both_stores!(
    conf_076_nothing_is_reserved_for_an_announced_size,
    conf_077_a_million_empty_messages_cost_nothing,
    conf_078_chunks_of_one_message_cost_their_bytes,
    conf_079_one_byte_messages_cost_their_bytes_and_one_boundary,
    messages_wrap_around_in_order,
);

fn conf_076_nothing_is_reserved_for_an_announced_size<S: Store>() {
    let mut buffer = pushed::<S>(&[b"x"]);
    assert!(message(&mut buffer).is_some());
    let before = buffer.memory();
    let announced = Envelope::new(u32::MAX);
    assert_eq!(buffer.push(b"", Some(announced), false), Ok(()));
    for _ in 0..64 {
        assert_eq!(buffer.push(b"x", None, false), Ok(()));
    }
    assert_eq!(buffer.memory(), before);
}

fn conf_077_a_million_empty_messages_cost_nothing<S: Store>() {
    let mut buffer = ReceiveBuffer::<S, u8>::new();
    let before = buffer.memory();
    for _ in 0..1_000_000 {
        assert_eq!(buffer.push(b"", Some(Envelope::new(0)), true), Ok(()));
    }
    assert_eq!(buffer.memory(), before);
    buffer.finish(0, Unread::Deliver);
    for _ in 0..1_000_000 {
        assert!(matches!(buffer.poll_message(), Receive::Message { .. }));
    }
    assert_ends(&mut buffer, 0);
}

fn conf_078_chunks_of_one_message_cost_their_bytes<S: Store>() {
    let mut buffer = ReceiveBuffer::<S, u8>::new();
    let before = buffer.whole.memory();
    let whole = Envelope::new(65_536);
    assert_eq!(buffer.push(b"", Some(whole), false), Ok(()));
    for byte in 0..65_536_u32 {
        let last = byte == 65_535;
        assert_eq!(buffer.push(b"x", None, last), Ok(()));
    }
    assert_eq!(buffer.memory(), 65_536 + before);
    assert_eq!(message(&mut buffer).unwrap(), [b'x'; 65_536]);
}

fn conf_079_one_byte_messages_cost_their_bytes_and_one_boundary<S: Store>() {
    let mut buffer = ReceiveBuffer::<S, u8>::new();
    let before = buffer.whole.memory();
    for byte in (0..=u8::MAX).cycle().take(65_536) {
        push_whole(&mut buffer, &[byte]);
    }
    assert_eq!(buffer.memory(), 65_536 + before);
    for byte in (0..=u8::MAX).cycle().take(65_536) {
        assert_eq!(message(&mut buffer), Some([byte].into()));
    }
    assert_eq!(buffer.poll_message(), Receive::Pending);
}

fn messages_wrap_around_in_order<S: Store>() {
    let mut buffer = ReceiveBuffer::<S, u8>::new();
    let mut next = 0_u8;
    let mut make = || -> Vec<u8> {
        core::iter::repeat_with(|| {
            next = next.wrapping_add(1);
            next
        })
        .take(25_000)
        .collect()
    };
    let mut held = [make(), make()];
    for whole in &held {
        push_whole(&mut buffer, whole);
    }
    let mut wrapped = false;
    for _ in 0..40 {
        let [first, _] = &held;
        let Receive::Message { head, tail, .. } = buffer.poll_message() else {
            panic!("a message is missing");
        };
        wrapped |= !tail.is_empty();
        assert_eq!(&[head, tail].concat(), first);
        // Copied in two steps, so that a step too may wrap.
        let mut into = Vec::from([0; 25_000]);
        assert_eq!(buffer.read(into.get_mut(..12_000).unwrap()), 12_000);
        assert_eq!(buffer.read(into.get_mut(12_000..).unwrap()), 13_000);
        assert_eq!(&into, first);

        let [_, second] = held;
        held = [second, make()];
        let [_, second] = &held;
        push_whole(&mut buffer, second);
    }
    assert!(wrapped);
}

#[test]
fn a_full_ring_of_bytes_takes_the_same_push_later() {
    let mut buffer = pushed::<FixedStore<8, 4>>(&[b"12345"]);
    let four = Some(Envelope::new(4));
    assert_eq!(buffer.push(b"abcd", four, true), Err(PushError::Full));
    assert_eq!(buffer.push(b"ab", four, false), Ok(()));
    assert_eq!(buffer.push(b"cd", None, true), Err(PushError::Full));
    assert_eq!(buffer.buffered(), 7);
    assert_eq!(message(&mut buffer).unwrap(), b"12345");
    assert_eq!(buffer.push(b"cd", None, true), Ok(()));
    assert_eq!(message(&mut buffer).unwrap(), b"abcd");
}

#[test]
fn full_boundaries_take_the_same_push_later() {
    let mut buffer = pushed::<FixedStore<64, 1>>(&[b"1", b"22", b"333"]);
    let four = Some(Envelope::new(4));
    assert_eq!(buffer.push(b"4444", four, true), Err(PushError::Full));
    assert_eq!(buffer.buffered(), 6);
    push_whole(&mut buffer, b"333");
    // What is not whole needs no boundary; its end does.
    assert_eq!(buffer.push(b"44", four, false), Ok(()));
    assert_eq!(buffer.push(b"44", None, true), Err(PushError::Full));
    assert_eq!(buffer.buffered(), 11);
    assert_eq!(message(&mut buffer).unwrap(), b"1");
    assert_eq!(message(&mut buffer).unwrap(), b"22");
    assert_eq!(buffer.push(b"44", None, true), Ok(()));
    assert_eq!(cut_through(&mut buffer), b"(333)(333)(4444)");
}

#[test]
fn a_full_buffer_can_be_ended_with_its_messages_intact() {
    let mut buffer = pushed::<FixedStore<8, 1>>(&[b"whole"]);
    buffer.push(b"par", Some(Envelope::new(9)), false).unwrap();
    assert_eq!(buffer.push(b"t", None, false), Err(PushError::Full));
    assert_eq!(buffer.finish(8, Unread::Deliver), 3);
    assert_eq!(message(&mut buffer).unwrap(), b"whole");
    assert_ends(&mut buffer, 8);
}

#[test]
fn a_reader_that_cuts_through_needs_no_boundaries() {
    let mut buffer = pushed::<FixedStore<4, 0>>(&[]);
    for size in 1..100_u32 {
        let mut begins = Some(Envelope::new(size));
        for byte in 1..=size {
            let pushed = buffer.push(b"x", begins.take(), byte == size);
            assert_eq!(pushed, Ok(()));
            assert!(cut_through(&mut buffer).contains(&b'x'));
        }
    }
}

#[test]
fn an_emptied_buffer_shows_the_next_message_in_one_piece() {
    let mut buffer = pushed::<FixedStore<8, 1>>(&[b"12", b"345"]);
    assert!(message(&mut buffer).is_some());
    assert!(message(&mut buffer).is_some());
    push_whole(&mut buffer, b"12345678");
    let Receive::Message { head, tail, .. } = buffer.poll_message() else {
        panic!("a message is missing");
    };
    assert_eq!((head, tail), (&b"12345678"[..], &b""[..]));
}

#[test]
fn a_fixed_buffer_is_made_where_it_lies() {
    const BUFFER: ReceiveBuffer<FixedStore<4, 1>, u8> = ReceiveBuffer::new();
    assert_eq!(BUFFER.memory(), 4 + 7);
}

#[cfg(feature = "alloc")]
mod growing_only {
    use super::*;

    /// Messages of one and two bytes in turn: no two boundaries are alike.
    fn push_unlike(buffer: &mut ReceiveBuffer<GrowingStore, u8>, count: usize) {
        for whole in [&b"x"[..], b"yy"].into_iter().cycle().take(count) {
            push_whole(buffer, whole);
        }
    }

    #[test]
    fn conf_079_a_boundary_costs_eight_bytes_at_most() {
        let mut buffer = ReceiveBuffer::new();
        for boundaries in 1..=43_690 {
            push_unlike(&mut buffer, 1);
            let bytes = buffer.buffered().next_power_of_two().max(64);
            assert!(buffer.memory() <= bytes + 8 * boundaries.max(16));
        }
        assert!(buffer.memory() <= 65_536 + 8 * 43_690);
    }

    #[test]
    fn empty_messages_between_others_cost_one_boundary_a_run() {
        let mut buffer = ReceiveBuffer::<GrowingStore, u8>::new();
        for _ in 0..1_000 {
            push_whole(&mut buffer, b"x");
            for _ in 0..1_000 {
                push_whole(&mut buffer, b"");
            }
        }
        assert!(buffer.memory() <= 1_024 + 8 * 2_000);
        let mut seen = cut_through(&mut buffer);
        seen.truncate(8);
        assert_eq!(seen, b"(x)()()(");
    }

    #[test]
    fn an_emptied_buffer_gives_its_memory_back() {
        let floor = 1_024 + 16 * 7;
        let mut buffer = ReceiveBuffer::<GrowingStore, u8>::new();
        assert_eq!(buffer.memory(), 0);
        for unread in [Unread::Deliver, Unread::Discard] {
            push_unlike(&mut buffer, 10_000);
            assert!(buffer.memory() > 15_000);
            assert!(!cut_through(&mut buffer).is_empty());
            assert!(buffer.memory() <= floor);

            push_whole(&mut buffer, &[0; 100_000]);
            assert!(message(&mut buffer).is_some());
            assert!(buffer.memory() <= floor);

            let part = Some(Envelope::new(200_000));
            buffer.push(&[0; 100_000], part, false).unwrap();
            assert_eq!(buffer.finish(0, unread), 100_000);
            assert!(buffer.memory() <= floor);
            buffer = ReceiveBuffer::new();
        }
    }
}
