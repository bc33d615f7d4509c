//! What a buffer costs: no more than it must for what it holds.

use super::*;
use crate::receive_buffer::ring::FixedRing;
use crate::receive_buffer::run::Boundary;

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

/// Runs of empty messages that alternate in compression: what may be queued is passed, and not always
/// reached, whatever a run takes.
#[test]
fn empty_messages_for_which_there_is_no_place_are_refused() {
    for run in [1, 2, 127, 128, 5_000] {
        for single in 0..4 {
            let mut boundaries = Boundaries::<FixedRing<Boundary, 65_536>>::EMPTY;
            let mut envelope = Envelope::new(0);
            let refused = (0..SPARE + 8).any(|index| {
                envelope.compressed = !envelope.compressed;
                let run = if index < single { 1 } else { run };
                (0..run).any(|_| boundaries.push(envelope).is_err())
            });
            assert!(refused, "runs of {run} behind {single} messages");
        }
    }
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
    assert_eq!(BUFFER.memory(), 4 + 1);
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

    /// The bound in the documentation of `memory`.
    fn assert_within_bound(buffer: &ReceiveBuffer<GrowingStore, u8>) {
        let held = buffer.buffered();
        let most = held.next_power_of_two().max(64) + (2 * held + 4_096) / 8 * 9;
        let memory = buffer.memory();
        assert!(memory <= most, "{memory} bytes for {held}");
    }

    #[test]
    fn conf_079_a_boundary_between_small_messages_costs_a_byte() {
        let mut buffer = ReceiveBuffer::new();
        for boundaries in 1..=43_690_usize {
            push_unlike(&mut buffer, 1);
            let bytes = buffer.buffered().next_power_of_two().max(64);
            assert!(buffer.memory() <= bytes + boundaries.max(64) * 9 / 8);
            assert_within_bound(&buffer);
        }
        assert!(buffer.memory() <= 65_536 + 43_690 * 9 / 8);
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
        // The byte, its boundary, and a run whose count takes two bytes more.
        assert!(buffer.memory() <= 1_024 + 1_000 * 4 * 9 / 8);
        assert_within_bound(&buffer);
        let mut seen = cut_through(&mut buffer);
        seen.truncate(8);
        assert_eq!(seen, b"(x)()()(");
    }

    /// Sequences that take the most boundaries for their payload: how many messages of which size
    /// come in turn.
    const WORST: [&[(u32, usize)]; 11] = [
        &[(1, 1), (0, 1)],
        &[(2, 1), (0, 127)],
        &[(1, 1), (2, 1)],
        &[(1, 1), (0, 1), (2, 1), (0, 2)],
        &[(31, 1), (32, 1)],
        &[(4_095, 1), (4_096, 1)],
        &[(32, 1), (0, 128)],
        &[(3, 1), (0, 300)],
        &[((1 << 19) - 1, 1), (1 << 19, 1), (0, 1)],
        &[((1 << 24) - 1, 1), (1 << 24, 1), (0, 1)],
        &[(2, 2), (0, 17)],
    ];

    #[test]
    fn a_window_of_the_worst_sequences_is_taken_within_the_bound() {
        const W: usize = 65_536;
        let zeros = std::vec![0; 1 << 24];
        for sequence in WORST {
            let mut buffer = ReceiveBuffer::<GrowingStore, u8>::new();
            // The larger ones fill one window of their own size.
            let enough = W.max(
                sequence
                    .iter()
                    .map(|(size, _)| 3 * *size as usize)
                    .max()
                    .unwrap(),
            );
            let mut sent = 0_u64;
            while buffer.buffered() < enough {
                for &(size, count) in sequence {
                    for _ in 0..count {
                        push_whole(&mut buffer, zeros.get(..size as usize).unwrap());
                        sent += 1;
                    }
                    assert_within_bound(&buffer);
                }
            }
            let held = buffer.buffered();
            let mut expected = sequence
                .iter()
                .flat_map(|&(size, count)| core::iter::repeat_n(size, count))
                .cycle();
            for _ in 0..sent {
                let Receive::Message { envelope, .. } = buffer.poll_message() else {
                    panic!("a message is missing");
                };
                assert_eq!(Some(envelope.size), expected.next());
                assert_eq!(buffer.consume(usize::MAX), envelope.size);
                assert!(buffer.memory() <= held.next_power_of_two() + (2 * held + 4_096) / 8 * 9);
            }
            assert_eq!(buffer.poll_message(), Receive::Pending);
            assert!(buffer.memory() <= 1_024 + 64);
        }
    }

    #[test]
    fn an_ended_buffer_holds_what_its_reader_has_left_and_no_more() {
        let mut buffer = ReceiveBuffer::<GrowingStore, u8>::new();
        push_whole(&mut buffer, &[7; 1 << 20]);
        push_unlike(&mut buffer, 10_000);
        push_whole(&mut buffer, &[9; 100]);
        assert!(message(&mut buffer).is_some());
        for _ in 0..9_990 {
            assert!(message(&mut buffer).is_some());
        }
        // It was larger, and may be again.
        assert!(buffer.memory() > 1 << 20);
        assert_eq!(buffer.finish(0, Unread::Deliver), 0);
        assert!(buffer.memory() <= 1_024 + 64, "{}", buffer.memory());
        for _ in 0..5 {
            assert_eq!(message(&mut buffer).unwrap(), b"x");
            assert_eq!(message(&mut buffer).unwrap(), b"yy");
        }
        assert_eq!(message(&mut buffer).unwrap(), [9; 100]);
        assert_ends(&mut buffer, 0);
    }

    #[test]
    fn payload_that_was_read_pays_for_no_boundaries() {
        let mut buffer = pushed::<GrowingStore>(&[b"first", &[0; 100_000]]);
        let mut taken = 0;
        while taken < 100_000 {
            let empty = Envelope {
                size: 0,
                compressed: taken % 2 == 0,
            };
            if buffer.push(b"", Some(empty), true).is_err() {
                break;
            }
            taken += 1;
        }
        assert!((4_096..6_000).contains(&taken), "{taken}");
        assert!(message(&mut buffer).is_some());
        assert!(message(&mut buffer).is_some());
        assert_eq!(buffer.finish(0, Unread::Deliver), 0);
        assert_within_bound(&buffer);
        for _ in 0..taken {
            assert_eq!(message(&mut buffer).unwrap(), b"");
        }
        assert_ends(&mut buffer, 0);
    }

    #[test]
    fn a_reader_that_is_a_little_behind_is_never_refused() {
        // Each group takes more than twice its payload, and there is always another one unread.
        let mut buffer = ReceiveBuffer::<GrowingStore, u8>::new();
        let group = |buffer: &mut _| {
            push_whole(buffer, b"x");
            (0..300).for_each(|_| push_whole(buffer, b""));
        };
        group(&mut buffer);
        for _ in 0..5_000 {
            group(&mut buffer);
            for _ in 0..301 {
                assert!(message(&mut buffer).is_some());
            }
        }
        assert!(buffer.memory() <= 64 + 64);
    }

    #[test]
    fn what_costs_no_credit_is_refused_before_it_costs_memory() {
        // No two in a row are alike, and none has a byte that a window counts.
        let mut buffer = pushed::<GrowingStore>(&[&[0; 100]]);
        let push = |buffer: &mut ReceiveBuffer<GrowingStore, u8>, compressed| {
            let empty = Envelope {
                size: 0,
                compressed,
            };
            buffer.push(b"", Some(empty), true)
        };
        let mut taken = 0;
        while push(&mut buffer, taken % 2 == 0) == Ok(()) {
            taken += 1;
            assert_within_bound(&buffer);
        }
        assert!((4_096..6_000).contains(&taken), "{taken}");
        let before = buffer.memory();
        assert_eq!(push(&mut buffer, taken % 2 == 0), Err(PushError::Full));
        assert_eq!(buffer.memory(), before);

        // The reader gets all that was taken, and makes room.
        assert_eq!(message(&mut buffer).unwrap(), [0; 100]);
        for _ in 0..taken {
            assert_eq!(message(&mut buffer).unwrap(), b"");
        }
        assert_eq!(buffer.poll_message(), Receive::Pending);
        assert_eq!(push(&mut buffer, taken % 2 == 0), Ok(()));
        assert_eq!(message(&mut buffer).unwrap(), b"");
    }

    #[test]
    fn an_emptied_buffer_gives_its_memory_back() {
        let floor = 1_024 + 64;
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
