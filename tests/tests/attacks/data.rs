//! Payload that is not read, costs nothing, or comes in crumbs.

use std::iter::repeat_n;

use grpctunnel_core::receive_buffer::{FixedStore, PushError, ReceiveBuffer};
use grpctunnel_core::wire::PREFIX_LEN;
use grpctunnel_core::{
    Body, Config, Envelope, Growing, Negotiation, OpenOptions, Opening, Role, StreamReason, Time,
    TunnelReason,
};
use grpctunnel_tests::harness::frames::{Frame, cancel, close, half, more, msg, new, set, wu};
use grpctunnel_tests::harness::{
    ClientEnd, Endpoint, InPlace, OnHeap, Over, Seen, ServerEnd, Store,
};
use grpctunnel_tests::soak::{FIRST, Template};

use crate::flood::{body, client, full, server, server_with};

const W: usize = 65_536;

/// A server with one call, and no reader.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn server_end<S: Store>() -> ServerEnd<S> {
    let mut end = ServerEnd::server(
        Time::ZERO,
        Config::default(),
        Opening::Accepted(Negotiation::On),
    );
    end.feed(Time::ZERO, &Frame::from(new(1, "svc/m"))).unwrap();
    end
}

/// A client with one call, and no reader.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn client_end<S: Store>() -> ClientEnd<S> {
    let mut end = ClientEnd::client(
        Time::ZERO,
        Config::default(),
        Opening::Accepted(Negotiation::On),
    );
    end.feed(Time::ZERO, &set(-1, 65_536, &[0, 1])).unwrap();
    end.open(Time::ZERO, "svc/m", &[], OpenOptions::default())
        .unwrap();
    while end.transmit(Time::ZERO).is_some() {}
    end
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn feed_all<R: Role, S: Store>(end: &mut Endpoint<R, S>, frames: impl Iterator<Item = Frame>) {
    for frame in frames {
        end.feed(Time::ZERO, &frame).unwrap();
    }
}

fn unread<R: Role>([mut ones, mut mixed, mut hollow]: [Endpoint<R, OnHeap>; 3]) {
    feed_all(&mut ones, repeat_n(msg(1, 1, 1), W));
    assert!(ones.buffer_memory(1) <= 2 * W, "{}", ones.buffer_memory(1));

    // No two in a row are equal, so that no boundary is saved.
    let sizes = [1, 2].into_iter().cycle().take(43_690);
    feed_all(&mut mixed, sizes.map(|size| msg(1, size, size as usize)));
    assert_eq!(mixed.buffered(1), 65_535);
    assert!(
        mixed.buffer_memory(1) <= 2 * W,
        "{}",
        mixed.buffer_memory(1)
    );

    // Those that cost no credit double the boundaries.
    let sizes = [1, 0].into_iter().cycle().take(2 * W);
    feed_all(&mut hollow, sizes.map(|size| msg(1, size, size as usize)));
    assert_eq!(hollow.buffered(1), W);
    assert!(
        hollow.buffer_memory(1) <= W + (2 * W + 4_096) / 8 * 9,
        "{}",
        hollow.buffer_memory(1)
    );
}

#[test]
fn attack_a06_a_stream_that_is_never_read() {
    unread([server_end(), server_end(), server_end()]);
    unread([client_end(), client_end(), client_end()]);

    // Without an allocator the room for boundaries is what it is: past it the caller ends the
    // stream.
    let mut buffer = ReceiveBuffer::<FixedStore<65_536, 4_096>, ()>::new();
    let before = buffer.memory();
    let sizes = [1, 2].into_iter().cycle().take(43_690);
    let full =
        sizes.map(|size| buffer.push(&[0; 2][..size], Some(Envelope::new(size as u32)), true));
    assert_eq!(
        full.filter(Result::is_err).last(),
        Some(Err(PushError::Full))
    );
    assert_eq!(buffer.memory(), before);
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn nothing<R: Role, S: Store>(mut end: Endpoint<R, S>) {
    let empty = msg(1, 0, 0);
    end.feed(Time::ZERO, &empty).unwrap();
    let before = end.buffer_memory(1);
    let info = allocation_counter::measure(|| {
        for _ in 0..full(10_000_000) {
            end.feed(Time::ZERO, &empty).unwrap();
        }
    });
    assert!(info.bytes_max < 1_024, "{}", info.bytes_max);
    assert!(end.buffer_memory(1) - before < 1_024);
    assert_eq!(end.over(1), None);
    // They are there, one by one.
    for _ in 0..1_000 {
        assert!(end.read(1, usize::MAX));
    }
    assert_eq!(
        end.take_seen()
            .iter()
            .filter(|seen| is_empty_message(seen))
            .count(),
        1_000
    );
}

fn is_empty_message(seen: &Seen) -> bool {
    matches!(seen, Seen::Got { message, .. } if message.is_empty())
}

#[test]
fn attack_a07_empty_messages() {
    nothing(server_end::<OnHeap>());
    nothing(server_end::<InPlace>());
    nothing(client_end::<OnHeap>());
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn empty_chunks<R: Role, S: Store>(mut end: Endpoint<R, S>) {
    end.feed(Time::ZERO, &msg(1, 10, 0)).unwrap();
    let empty = more(1, 0);
    let mut taken = 0;
    while end.over(1).is_none() {
        end.feed(Time::ZERO, &empty).unwrap();
        taken += 1;
    }
    assert_eq!(taken, 101);
    // The rest of the flood is late, and what is late of it is paid for; then it is cut off.
    let most = full(10_000_000);
    let late = (0..most).find(|_| end.feed(Time::ZERO, &empty).is_err());
    assert!(late.unwrap_or(most) <= W as u64 + 10_000);
    let error = end.tunnel.error().unwrap();
    assert_eq!(error.reason(), TunnelReason::TooManyUselessFrames);
}

#[test]
fn attack_a07_empty_chunks() {
    empty_chunks(server_end::<OnHeap>());
    empty_chunks(client_end::<InPlace>());
}

#[test]
fn attack_a08_a_message_in_chunks_of_one_byte() {
    let first = || std::iter::once(msg(1, 65_536, 0));
    let mut end = server_end::<OnHeap>();
    feed_all(&mut end, first().chain(repeat_n(more(1, 1), W)));
    assert!(end.buffer_memory(1) <= W + 256, "{}", end.buffer_memory(1));
    let mut end = client_end::<OnHeap>();
    feed_all(&mut end, first().chain(repeat_n(more(1, 1), W)));
    assert!(end.buffer_memory(1) <= W + 256, "{}", end.buffer_memory(1));
}

#[test]
fn attack_a09_large_messages_that_drip() {
    const STREAMS: i64 = 1_024;
    let opening = Opening::Accepted(Negotiation::On);
    let mut end = ServerEnd::<OnHeap>::server(Time::ZERO, Config::default(), opening);
    for id in 0..STREAMS {
        end.feed(Time::ZERO, &Frame::from(new(id, "svc/m")))
            .unwrap();
        end.feed(Time::ZERO, &msg(id, 4 << 20, 1)).unwrap();
    }
    let held: usize = (0..STREAMS).map(|id| end.buffer_memory(id)).sum();
    assert!(held <= 1_024 * 256, "{held}");

    // Each of them goes on as its reader does, far beyond its window.
    for id in 0..STREAMS {
        let mut sent = 1;
        while sent < 2 * W {
            while end.read(id, usize::MAX) {}
            end.feed(Time::ZERO, &more(id, 16_384)).unwrap();
            while end.transmit(Time::ZERO).is_some() {}
            sent += 16_384;
        }
        assert_eq!(end.over(id), None);
    }
    assert_eq!(end.tunnel.error(), None);
    // Beyond the limit it is the envelope that is refused.
    let mut end = server_end::<OnHeap>();
    end.feed(Time::ZERO, &msg(1, u32::MAX, 0)).unwrap();
    assert_eq!(
        end.over(1),
        Some(&Over::Violation(StreamReason::MessageTooLarge))
    );
    assert_eq!(
        end.buffer_memory(1),
        server_end::<OnHeap>().buffer_memory(1)
    );
}

/// The search over all states of eight bits is in the core, beside the windows.
#[test]
fn attack_a10_the_edges_of_32_bits() {
    for window in [0, 1, 100, 1 << 31, u32::MAX - 1, u32::MAX] {
        for grant in [
            0,
            1,
            u32::MAX - window,
            (u32::MAX - window).wrapping_add(1),
            u32::MAX,
        ] {
            let fits = window.checked_add(grant).is_some();
            let mut t = server::<Growing>(8);
            t.get(&Frame::from(new(1, "svc/m").window(window)));
            assert!(t.get(&wu(1, grant)), "{window} + {grant}: {:?}", t.cut);
            let lives = t.tunnel.streams() == 1;
            assert_eq!(lives, fits, "{window} + {grant}");
            if lives && window == 0 && grant > 0 {
                // What was granted can be sent, and no byte more.
                let key = t.last.unwrap();
                t.taking = false;
                t.tunnel
                    .stream(key)
                    .unwrap()
                    .send_message(Envelope::new(u32::MAX), u32::MAX)
                    .unwrap();
                let mut sent = 0;
                while sent < 1 << 20
                    && let Some(transmit) = t.tunnel.poll_transmit(t.now)
                {
                    sent += body(&transmit.body);
                }
                assert!(sent <= u64::from(grant), "{sent} of {grant}");
            }
        }
    }
    for (window, len) in [(1, 2), (100, 101), (65_536, 65_537)] {
        for over in [false, true] {
            let len = if over { len } else { window as usize };
            let mut config = Config::default();
            config.limits.receive_window.initial = window;
            let mut t = server_with::<Growing>(config);
            t.get(&Frame::from(new(1, "svc/m")));
            assert!(t.get(&msg(1, 70_000, len)));
            assert_eq!(t.tunnel.streams(), usize::from(!over), "{len} of {window}");
        }
    }
}

#[test]
fn attack_a11_a_response_drawn_out_byte_by_byte() {
    let size = u32::try_from(full(1 << 20)).unwrap();
    for grant in [1, 7, 1_000, 5_000, 40_000] {
        let mut t = server::<Growing>(8);
        t.get(&Frame::from(new(FIRST, "svc/m").window(1)));
        let key = t.last.unwrap();
        t.sent = 0;
        t.tunnel
            .stream(key)
            .unwrap()
            .send_message(Envelope::new(size), size)
            .unwrap();
        t.poll();
        let update = wu(FIRST, grant);
        let (mut updates, mut granted) = (0, 1_u64);
        while granted < u64::from(size) {
            assert!(t.get(&update), "{grant}, after {updates}: {:?}", t.cut);
            updates += 1;
            granted += u64::from(grant);
        }
        // A message that is wholly gone makes room for the next one.
        assert!(
            t.tunnel
                .stream(key)
                .unwrap()
                .send_message(Envelope::new(1), 1)
                .is_ok()
        );
        let most = updates + u64::from(size.div_ceil(1_024)) + 1;
        assert!(
            t.sent <= most,
            "{grant}: {} frames for {updates} updates",
            t.sent
        );
    }
}

/// What an end holds to be sent is one message a stream, of the caller's, and nothing of its own.
#[test]
fn attack_a21_a_reader_of_a_byte_a_second() {
    let mut t = server::<Growing>(1_024);
    t.obedient = false;
    t.taking = false;
    let mut open = Template::new(new(FIRST, "svc/m").window(1 << 30));
    let mut keys = Vec::new();
    for id in 0..1_024 {
        t.get(open.at(id));
        keys.extend(t.last);
    }
    for key in &keys {
        t.tunnel
            .stream(*key)
            .unwrap()
            .send_message(Envelope::new(65_536), 65_536)
            .unwrap();
    }
    let info = allocation_counter::measure(|| {
        let mut credit = 0;
        // A day, at a byte a second.
        for _ in 0..86_400 {
            t.wait(1_000);
            credit += 1;
            if credit > 16_400 {
                let transmit = t.tunnel.poll_transmit(t.now).unwrap();
                let frame = transmit.prefix.len() as u64 + body(&transmit.body);
                assert!(frame <= 16_384 + PREFIX_LEN as u64 + 32);
                credit = 0;
            }
            for key in keys.iter().take(3) {
                assert!(
                    t.tunnel
                        .stream(*key)
                        .unwrap()
                        .send_message(Envelope::new(1), 1)
                        .is_err()
                );
            }
        }
    });
    assert_eq!(info.count_total, 0);
    // Whoever watches the carrier gives the tunnel up, and every call hears of it.
    t.tunnel.abort(t.now, TunnelReason::Stalled);
    t.poll();
    assert_eq!(t.ends, 1_024);
    assert_eq!(t.tunnel.poll_transmit(t.now).map(|_| ()), None);
}

#[test]
fn attack_a22_one_large_message_and_small_calls() {
    const LARGE: u64 = 64;
    let mut t = server::<Growing>(1_024);
    t.obedient = false;
    t.taking = false;
    let mut open = Template::new(new(FIRST, "svc/m").window(1 << 31));
    for id in 0..LARGE {
        t.get(open.at(id));
        let key = t.last.unwrap();
        t.tunnel
            .stream(key)
            .unwrap()
            .send_message(Envelope::new(1 << 30), 1 << 30)
            .unwrap();
    }
    for _ in 0..1_000 {
        drop(t.tunnel.poll_transmit(t.now).unwrap());
    }
    t.get(open.at(LARGE));
    let small = t.last.unwrap();
    t.tunnel
        .stream(small)
        .unwrap()
        .send_message(Envelope::new(100), 100)
        .unwrap();
    let mut before = 0;
    loop {
        let transmit = t.tunnel.poll_transmit(t.now).unwrap();
        if let Body::Caller { stream, .. } = transmit.body
            && stream == small
        {
            break;
        }
        before += body(&transmit.body);
    }
    assert!(before <= LARGE * 16_384, "{before} bytes before it");
    // A refusal goes before all of them.
    t.get(&Frame::from(new(FIRST + 1_000, "a/b/c")));
    let transmit = t.tunnel.poll_transmit(t.now).unwrap();
    assert!(matches!(transmit.body, Body::Static(_)));
}

/// At many streams: nothing is allocated for what comes most. The instructions are counted by the
/// benchmark of the core.
#[test]
fn attack_a14_frames_among_many_streams() {
    for streams in [10, 1_000, full(100_000)] {
        let mut t = server::<Growing>(u32::try_from(streams).unwrap());
        let mut open = Template::new(new(FIRST, "svc/m"));
        for id in 0..streams {
            assert!(t.get(open.at(id)));
        }
        let mut frames = [
            wu(FIRST, 0),
            msg(FIRST, 10, 3),
            more(FIRST, 7),
            wu(FIRST, 5),
            half(FIRST),
            cancel(FIRST),
        ]
        .map(Template::new);
        let info = allocation_counter::measure(|| {
            for n in 0..streams.min(300) {
                // Spread over all of them.
                let id = n * 7_919 % streams;
                for frame in &mut frames {
                    assert!(t.get(frame.at(id)), "{:?}", t.cut);
                }
            }
        });
        assert_eq!(info.count_total, 0, "{streams} streams");
    }
}

/// A tunnel client's end of the same: no allocation for what comes most.
#[test]
fn attack_a14_responses_among_many_calls() {
    let mut t = client::<Growing>(1_000);
    for _ in 0..1_000 {
        t.open();
    }
    let mut frames = [
        wu(FIRST, 5),
        msg(FIRST, 10, 3),
        more(FIRST, 7),
        close(FIRST, 0),
    ]
    .map(Template::new);
    let info = allocation_counter::measure(|| {
        for n in 0..300 {
            for frame in &mut frames {
                assert!(t.get(frame.at(n * 7 % 1_000)), "{:?}", t.cut);
            }
        }
    });
    assert_eq!(info.count_total, 0);
}
