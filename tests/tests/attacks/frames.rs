//! Frames that cost their sender nothing.

use grpctunnel_core::wire::{Encoded, ExtensionSet};
use grpctunnel_core::{Config, Envelope, Fixed, Growing, MethodKind, Role, Storage, TunnelReason};
use grpctunnel_tests::harness::frames::{
    Frame, cancel, close, extensions, half, hdr, metadata, more, msg, new, none, set, strings, wu,
};
use grpctunnel_tests::soak::{FIRST, Template};

use crate::flood::{Flood, client, full, server, server_with};

/// Frames that the end would send, if its peer took any.
fn pending<R: Role + Clone, S: Storage + Clone>(t: &Flood<R, S>) -> u64 {
    let mut tunnel = t.tunnel.clone();
    let mut pending = 0;
    while tunnel.poll_transmit(t.now).is_some() {
        pending += 1;
    }
    pending
}

fn never_read<S: Storage + Clone>(streams: u32, refusals: u64) {
    let mut t = server::<S>(streams);
    t.taking = false;
    let most = 3 * u64::from(streams) + refusals;
    let mut open = Template::new(new(FIRST, "svc/m"));
    let mut data = Template::new(msg(FIRST, 40_000, 40_000));
    let mut cancel = Template::new(cancel(FIRST));
    let mut frames = 0;
    for id in 0..full(1_000_000) {
        // Each stream has a window to give back, then an end to tell.
        let mut lives = t.get(open.at(id)) && t.get(data.at(id));
        if let Some(key) = t.last {
            // The stream may have been refused.
            if let Ok(mut stream) = t.tunnel.stream(key) {
                let _ = stream.consumed(40_000);
                let _ = stream.respond(Encoded::kept(10, true));
            }
        }
        lives = lives && (id % 2 == 0 || t.get(cancel.at(id)));
        frames += 3;
        if !lives {
            break;
        }
        if id % 128 == 0 {
            assert!(pending(&t) <= most, "{} after {frames} frames", pending(&t));
        }
    }
    assert_eq!(
        t.cut,
        Some(TunnelReason::TooManyRejections),
        "after {frames} frames"
    );
}

#[test]
fn attack_a04_replies_that_are_never_read() {
    never_read::<Growing>(512, 1_024);
    never_read::<Fixed<64, 64>>(64, 64);
}

#[test]
fn attack_a04_a_server_that_never_reads() {
    let mut t = client::<Growing>(512);
    for _ in 0..512 {
        t.open();
    }
    t.taking = false;
    let mut data = Template::new(msg(FIRST, 1, 1));
    let mut bad = Template::new(none(FIRST));
    for round in 0..full(1_000_000) {
        let id = round % 512;
        if !t.get(data.at(id)) || (round % 700 == 0 && !t.get(bad.at(id))) {
            break;
        }
    }
    assert!(pending(&t) <= 3 * 512, "{}", pending(&t));
}

/// How many of a frame a tunnel takes at once.
fn taken<R: Role, S: Storage>(t: &mut Flood<R, S>, frame: &[u8]) -> u64 {
    let most = full(10_000_000);
    (0..most).find(|_| !t.get(frame)).unwrap_or(most)
}

#[test]
fn attack_a12_window_updates_for_nothing() {
    for frame in [wu(FIRST, 1), wu(FIRST, 0), wu(FIRST - 1, 1), wu(-1, 1)] {
        let mut t = server::<Fixed<64, 64>>(64);
        t.get(&Frame::from(new(FIRST - 1, "svc/m")));
        t.get(&cancel(FIRST - 1));
        t.get(&Frame::from(new(FIRST, "svc/m")));
        assert_eq!(taken(&mut t, &frame), 1_000);
        assert_eq!(t.cut, Some(TunnelReason::TooManyWindowUpdates));

        let mut t = client::<Growing>(64);
        t.open();
        assert_eq!(taken(&mut t, &frame), 1_000);
        assert_eq!(t.cut, Some(TunnelReason::TooManyWindowUpdates));
    }
    // The heartbeat is free once a second, and no more.
    let mut t = server::<Growing>(64);
    assert_eq!(taken(&mut t, &wu(-1, 0)), 1_001);
    assert_eq!(t.cut, Some(TunnelReason::TooManyWindowUpdates));
}

#[test]
fn attack_a12_updates_beyond_what_was_sent() {
    let mut t = server::<Growing>(64);
    t.get(&Frame::from(new(FIRST, "svc/m")));
    let key = t.last.unwrap();
    for _ in 0..300 {
        t.tunnel
            .stream(key)
            .unwrap()
            .send_message(Envelope::new(1), 1)
            .unwrap();
        t.poll();
    }
    // One for each data frame, and the bucket.
    assert_eq!(taken(&mut t, &wu(FIRST, 1)), 1_300);
}

#[test]
fn attack_a13_frames_for_streams_that_have_ended() {
    let late = [
        half(FIRST),
        cancel(FIRST),
        none(FIRST),
        more(FIRST, 0),
        msg(FIRST, 0, 0),
    ];
    for frame in late {
        // The peer has ended the stream itself: it knows.
        let mut t = server::<Fixed<64, 64>>(64);
        t.get(&Frame::from(new(FIRST, "svc/m")));
        t.get(&cancel(FIRST));
        assert_eq!(taken(&mut t, &frame), 10_000);
        assert_eq!(t.cut, Some(TunnelReason::TooManyUselessFrames));
    }
}

#[test]
fn attack_a13_frames_for_streams_that_were_refused() {
    const REFUSED: u64 = 100;
    let frames = [
        (half(FIRST), 4 * REFUSED),
        (cancel(FIRST), 4 * REFUSED),
        (none(FIRST), 0),
        (more(FIRST, 0), 65_536 * REFUSED),
        (msg(FIRST, 16_384, 16_384), 4 * REFUSED),
    ];
    for (frame, free) in frames {
        let mut t = server::<Growing>(64);
        let mut refused = Template::new(new(FIRST, "a/b/c"));
        for id in 0..REFUSED {
            assert!(t.get(refused.at(id)));
        }
        let most = full(10_000_000);
        let expected = (free + 10_000).min(most);
        assert_eq!(taken(&mut t, &frame), expected);
    }
}

#[test]
fn attack_a13_frames_for_streams_without_flow_control_that_were_refused() {
    let budget = grpctunnel_core::Limits::default().revision_zero.stream;
    let mut t = server::<Growing>(64);
    assert!(t.get(Template::new(new(FIRST, "a/b/c").revision(0)).at(0)));
    // A byte costs a byte of what may have been in flight.
    let expected = u64::from(budget / 16_384) + 10_000;
    assert_eq!(taken(&mut t, &msg(FIRST, 16_384, 16_384)), expected);
}

/// Refusals do not buy a flood of frames that no honest peer could have in flight.
#[test]
fn attack_a13_refusals_between() {
    let mut t = server::<Growing>(64);
    let mut refused = Template::new(new(FIRST, "a/b/c"));
    let mut late = Template::new(half(FIRST));
    let mut frames = 0;
    'flood: for id in 0..full(1_000_000) {
        if !t.get(refused.at(id)) {
            break;
        }
        for _ in 0..16 {
            frames += 1;
            if !t.get(late.at(id)) {
                break 'flood;
            }
        }
    }
    assert_eq!(t.cut, Some(TunnelReason::TooManyUselessFrames));
    assert!(frames < 14_000, "{frames}");
}

#[test]
fn attack_a13_repeats() {
    // The useful frames on the way have paid for eight each, which a full bucket does not hold.
    let mut t = server::<Growing>(64);
    t.get(&Frame::from(new(FIRST, "svc/m")));
    t.get(&half(FIRST));
    assert_eq!(taken(&mut t, &half(FIRST)), 10_000);

    for frame in [hdr(FIRST, &[]), set(-1, 1, &[0])] {
        let mut t = client::<Growing>(64);
        t.open();
        t.get(&hdr(FIRST, &[]));
        assert_eq!(taken(&mut t, &frame), 10_000);
        assert_eq!(t.cut, Some(TunnelReason::TooManyUselessFrames));
    }
}

/// The stream of a probe holds no record: every frame on it but the answer is charged.
#[test]
fn attack_a13_frames_for_a_probe() {
    let probed = || {
        let mut t = client::<Growing>(64);
        t.wait(30_000);
        assert_eq!(t.sent, 1, "the probe");
        t
    };
    let kinds = [
        hdr(FIRST, &[]),
        hdr(FIRST, &[("k", "v")]),
        set(FIRST, 1, &[0]),
        none(FIRST),
        msg(FIRST, 1, 1),
        more(FIRST, 1),
    ];
    for frame in kinds {
        let mut t = probed();
        assert_eq!(taken(&mut t, &frame), 10_000, "{frame:?}");
        assert_eq!(t.cut, Some(TunnelReason::TooManyUselessFrames));
        // An answer in between is not the worse for them.
        let mut t = probed();
        assert!(t.get(&frame) && t.get(&close(FIRST, 12)));
        assert!(t.tunnel.round_trip().is_some());
        assert_eq!(taken(&mut t, &close(FIRST, 12)), 9_999, "{frame:?}");
    }
}

/// Empty chunks earn nothing while this end closes, when they are not counted.
#[test]
fn attack_a13_empty_chunks_for_a_stream_that_closes() {
    let mut t = server::<Growing>(64);
    t.taking = false;
    t.get(&Frame::from(new(FIRST, "svc/m")));
    t.get(&msg(FIRST, 100, 1));
    let key = t.last.unwrap();
    t.tunnel
        .stream(key)
        .unwrap()
        .close(t.now, Encoded::kept(5, false), None)
        .unwrap();
    assert_eq!(taken(&mut t, &more(FIRST, 0)), 10_000);
    assert_eq!(t.cut, Some(TunnelReason::TooManyUselessFrames));
}

/// Everything that a tunnel server is made to say by one frame.
#[test]
fn attack_a26_small_input_large_output() {
    let call = || new(2, "a/b");
    let frames: Vec<Frame> = vec![
        call().method(b"").into(),
        call().method(b"a").into(),
        call().method(b"a/b/c").into(),
        call().method(b"\xff").into(),
        call().method(&[b'm'; 1_100]).into(),
        call().revision(9).into(),
        call().timeout("0S").into(),
        call()
            .headers(strings(&[("k", &"v".repeat(70_000))]))
            .into(),
        call().headers(strings(&[("", ""); 257])).into(),
        call().window(0).into(),
        none(1),
        cancel(1),
        half(1),
        wu(1, u32::MAX),
        wu(1, 0),
        wu(-1, 0),
        msg(1, 0, 1),
        msg(1, 5 << 20, 0),
        more(1, 1),
        msg(1, 65_536, 65_536),
        msg(1, 65_537, 65_537),
    ];
    let mut full = Config::default();
    full.limits.max_streams = 1;
    for config in [Config::default(), full] {
        for frame in &frames {
            let mut t = server_with::<Growing>(config.clone());
            assert!(t.get(&Frame::from(new(1, "a/b"))));
            let key = t.last.unwrap();
            t.tunnel
                .stream(key)
                .unwrap()
                .set_method_kind(MethodKind::Unary);
            let before = t.sent_bytes;
            assert!(t.get(frame), "{:?}", t.cut);
            if let Ok(mut stream) = t.tunnel.stream(key) {
                let _ = stream.consumed(65_536);
            }
            t.poll();
            let (input, reply) = (frame.len() as u64 + 5, t.sent_bytes - before);
            assert!(reply <= 2 * input + 64, "{reply} for {input}: {frame:?}");
        }
    }
}

/// The smallest `new_stream` that each refusal answers, where there is room and where there is none,
/// where the tunnel drains, where limits are as low as they can be, and with every extension.
#[test]
fn attack_a26_refusals_of_the_smallest_calls() {
    let smallest = |method: &[u8]| new(2, "").method(method).window(0).revision(0);
    let frames: Vec<Frame> = vec![
        smallest(b"").into(),
        smallest(b"a").into(),
        smallest(b"a/b").into(),
        smallest(b"a/b/c").into(),
        smallest(b"\xff").into(),
        smallest(b"").revision(9).into(),
        smallest(b"a/b").timeout("0S").into(),
        smallest(b"a/b").headers(strings(&[("", "")])).into(),
        smallest(b"a/b").headers(metadata(&[(b"", &[])])).into(),
    ];
    let mut narrow = Config::default();
    narrow.limits.decode.method_name = 0;
    let mut bare = Config::default();
    bare.limits.decode.metadata_entries = 0;
    let mut poor = Config::default();
    poor.limits.decode.metadata_bytes = 0;
    for config in [Config::default(), narrow, bare, poor] {
        for (full, drains, extends) in [0, 1, 2, 3, 4, 5, 6, 7].map(bits) {
            for frame in &frames {
                let mut config = config.clone();
                config.extensions = ExtensionSet::ALL;
                config.limits.max_streams = if full { 1 } else { 8 };
                let mut t = server_with::<Growing>(config);
                if extends {
                    t.get(&extensions(-1, &[1, 2, 3, 4, 5]));
                }
                if full {
                    t.get(&Frame::from(new(1, "a/b")));
                }
                if drains {
                    t.tunnel.drain(t.now, core::time::Duration::MAX);
                    t.poll();
                }
                let before = t.sent_bytes;
                assert!(t.get(frame));
                let (input, reply) = (frame.len() as u64 + 5, t.sent_bytes - before);
                assert!(reply <= 2 * input + 64, "{reply} for {input}: {frame:?}");
            }
        }
    }
}

const fn bits(number: u8) -> (bool, bool, bool) {
    (number & 1 != 0, number & 2 != 0, number & 4 != 0)
}

#[test]
fn attack_a26_a_client_answers_with_no_more_than_a_cancel() {
    let frames = [
        none(FIRST),
        close(FIRST, 5),
        hdr(FIRST, &[]),
        wu(FIRST, u32::MAX),
        msg(FIRST, 0, 1),
        more(FIRST, 1),
        msg(FIRST, 5 << 20, 0),
    ];
    for frame in frames {
        let mut t = client::<Growing>(8);
        t.open();
        let before = t.sent_bytes;
        assert!(t.get(&frame));
        assert!(t.sent_bytes - before <= 2 * (frame.len() as u64 + 5) + 64);
    }
}
