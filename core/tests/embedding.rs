//! What an embedder without an allocator uses: frames put together, written, and messages gathered.

use grpctunnel_core::receive_buffer::{FixedStore, Gathered, Gatherer, ReceiveBuffer};
use grpctunnel_core::wire::{
    Assembler, Buffer, Encoded, FixedAssembler, FrameTooLarge, GrowingAssembler, HeadOptions,
    PREFIX_LEN, SinkFull, StatusHead, encode_close, length_prefix, prefix,
};
use grpctunnel_core::*;

/// The frames of bytes that come in pieces.
#[expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn frames<B: Buffer>(mut assembler: Assembler<B>, pieces: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
    let mut seen = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while let (taken, Some(frame)) = assembler.next(rest).unwrap() {
            rest = &rest[taken..];
            seen.push((frame.flags, frame.bytes.to_vec()));
        }
    }
    assert!(assembler.is_between_frames());
    seen
}

#[test]
fn every_split_gives_the_same_frames_in_both_kinds_of_memory() {
    let expected = [(0, b"hello".to_vec()), (2, Vec::new()), (0, b"x".to_vec())];
    let mut input = Vec::new();
    for (flags, frame) in &expected {
        input.extend(length_prefix(*flags, frame.len() as u32));
        input.extend(frame);
    }
    for first in 0..=input.len() {
        for second in first..=input.len() {
            let pieces = [&input[..first], &input[first..second], &input[second..]];
            assert_eq!(frames(FixedAssembler::<5>::fixed(9), &pieces), expected);
            assert_eq!(frames(GrowingAssembler::growing(5), &pieces), expected);
        }
    }
}

#[test]
fn a_frame_without_room_is_refused_however_it_comes_and_nothing_is_taken_behind_it() {
    for pieces in [
        &[&[0, 0, 0, 0, 6, 1, 2, 3, 4, 5, 6][..]][..],
        &[&[0, 0, 0], &[0, 6, 1]],
    ] {
        let mut assembler = FixedAssembler::<5>::fixed(100);
        let refused = pieces.iter().find_map(|piece| assembler.next(piece).err());
        assert_eq!(refused, Some(FrameTooLarge { len: 6, max: 5 }));
        assert!(assembler.next(&[0, 0, 0, 0, 0]).is_err());
        assert!(!assembler.is_between_frames());
    }
}

#[test]
fn a_message_without_room_is_dropped_and_credited_and_the_next_one_is_gathered() {
    let mut buffer = ReceiveBuffer::<FixedStore<8, 8>, ()>::new();
    let mut gatherer = Gatherer::<heapless::Vec<u8, 8>>::default();
    buffer.push(&[1; 8], Some(Envelope::new(9)), false).unwrap();
    assert_eq!(gatherer.poll(&mut buffer), (8, Gathered::Pending));
    buffer.push(&[1], None, true).unwrap();
    buffer.push(&[2; 7], Some(Envelope::new(7)), true).unwrap();
    assert_eq!(
        gatherer.poll(&mut buffer),
        (1, Gathered::TooLarge(Envelope::new(9)))
    );
    assert_eq!(
        gatherer.poll(&mut buffer),
        (7, Gathered::Message(Envelope::new(7)))
    );
    assert_eq!(gatherer.message(), [2; 7]);
    assert_eq!(gatherer.poll(&mut buffer), (0, Gathered::Pending));
    buffer.finish((), Unread::Deliver);
    assert_eq!(gatherer.poll(&mut buffer), (0, Gathered::Terminal(())));
}

#[test]
fn a_frame_is_written_whole_or_not_at_all() {
    let opening = Opening::Accepted(Negotiation::On);
    let mut client =
        TunnelClient::<Fixed<1, 1>>::new(Time::ZERO, Config::default(), opening).unwrap();
    let settings = prefix::settings(65_536, &[wire::Revision::One], None);
    let _ = client
        .handle_frame(Time::ZERO, &settings[PREFIX_LEN..])
        .unwrap();
    let head = Encoded::kept(5, true);
    let call = client
        .open(Time::ZERO, head, OpenOptions::default())
        .unwrap();
    let transmit = client.poll_transmit(Time::ZERO).unwrap();
    let mut out = heapless::Vec::<u8, 64>::new();
    // A part that is shorter than was said is not cut.
    let short = transmit.write_to(&mut out, |_, _| b"head");
    assert_eq!((short, out.len()), (Err(SinkFull), 0));
    let mut small = heapless::Vec::<u8, 8>::new();
    let full = transmit.write_to(&mut small, |_, _| b"heads");
    assert_eq!((full, small.len()), (Err(SinkFull), 0));
    let written = transmit.write_to(&mut out, |stream, part| {
        assert_eq!((stream, part), (call, Part::Open));
        b"heads, and more"
    });
    assert_eq!(written, Ok(()));
    assert_eq!(out[..], [&transmit.prefix[..], b"heads"].concat());
}

#[test]
fn a_head_knows_its_length_and_whether_it_is_ok() {
    let none = core::iter::empty();
    let options = HeadOptions::default();
    let mut head = heapless::Vec::<u8, 64>::new();
    let ok = encode_close(&mut head, StatusHead::default(), none.clone(), &options).unwrap();
    assert_eq!(ok, Encoded::EMPTY);
    assert!(ok.is_ok() && ok.is_empty());
    let status = StatusHead {
        code: 5,
        ..StatusHead::default()
    };
    let failed = encode_close(&mut head, status, none, &options).unwrap();
    assert!(!failed.is_ok());
    assert_eq!(failed.len() as usize, head.len());
}

#[test]
fn the_hold_of_an_ok_follows_the_kind_unless_the_caller_says_otherwise() {
    let seconds = core::time::Duration::from_secs;
    for (kind, hold, held) in [
        (MethodKind::Unknown, None, Some(1)),
        (MethodKind::Unary, None, Some(10)),
        (MethodKind::Bidi, None, None),
        (MethodKind::Unary, Some(Hold::Never), None),
        (
            MethodKind::Bidi,
            Some(Hold::UntilHalfClose { max: seconds(3) }),
            Some(3),
        ),
    ] {
        let opening = Opening::Accepted(Negotiation::On);
        let mut server =
            TunnelServer::<Fixed<1, 1>>::new(Time::ZERO, Config::default(), opening).unwrap();
        drop(server.poll_transmit(Time::ZERO));
        let idle = server.poll_timeout();
        let mut frame = prefix::new_stream(1, 5, 10, wire::Revision::One, None).to_vec();
        frame.extend(b"\x0a\x03s/M");
        let opened = server.handle_frame(Time::ZERO, &frame[PREFIX_LEN..]);
        let Ok(Input::Opened { stream, .. }) = opened else {
            panic!("{opened:?}");
        };
        server.stream(stream).unwrap().set_method_kind(kind);
        server
            .stream(stream)
            .unwrap()
            .close(Time::ZERO, Encoded::EMPTY, hold)
            .unwrap();
        let until = held.map(|held| Time::ZERO.saturating_add(seconds(held)));
        assert_eq!(server.poll_timeout(), until.or(idle), "{kind:?} {hold:?}");
        assert_eq!(server.poll_transmit(Time::ZERO).is_none(), held.is_some());
    }
}
