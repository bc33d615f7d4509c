//! Frames that are hard to read.

use std::thread;

use grpctunnel_core::wire::{ClientKind, ContentFault, DecodeLimits, decode_client};
use grpctunnel_core::{Config, Fixed, Growing, TunnelReason};
use grpctunnel_tests::harness::frames::{
    Fields, Frame, close_with, hdr, metadata, new, on, set, strings,
};
use grpctunnel_tests::soak::FIRST;

use crate::flood::{client, server, server_with};

#[test]
fn attack_a16_huge_metadata() {
    let one = strings(&[("k", &"v".repeat((4 << 20) - 200))]);
    let many = strings(&vec![("key", "value"); 250_000]);
    for headers in [one, many] {
        let frame = Frame::from(new(FIRST, "svc/m").headers(headers.clone()));
        assert!(frame.len() > 3 << 20);
        let mut t = server::<Fixed<8, 8>>(8);
        let info = allocation_counter::measure(|| assert!(t.get(&frame), "{:?}", t.cut));
        assert_eq!((info.count_total, t.started), (0, 0));
        assert_eq!(t.tunnel.counters().refused, 1);

        let head = on(FIRST, &Fields::new().message(2, &headers));
        let end = close_with(FIRST, &Fields::new().message(1, &headers));
        for frame in [head, end] {
            let mut t = client::<Fixed<8, 8>>(8);
            t.open();
            let info = allocation_counter::measure(|| assert!(t.get(&frame), "{:?}", t.cut));
            assert_eq!((info.count_total, t.tunnel.streams()), (0, 0));
        }
    }
}

/// There is no map to collide in: entries are walked in their order, each once, and of a key that
/// the core itself reads the last entry counts.
#[test]
fn attack_a17_one_key_again_and_again() {
    const ENTRIES: usize = 100_000;
    let mut entries = vec![("grpc-timeout", "1S"); ENTRIES - 1];
    entries.push(("grpc-timeout", "7S"));
    let frame = Frame::from(new(FIRST, "svc/m").headers(strings(&entries)));
    let limits = DecodeLimits {
        metadata_bytes: u32::MAX,
        metadata_entries: u32::MAX,
        ..DecodeLimits::default()
    };
    let info = allocation_counter::measure(|| {
        let decoded = decode_client(&frame, &limits).unwrap();
        let ClientKind::NewStream(new) = decoded.kind else {
            panic!("not a new_stream");
        };
        assert_eq!(
            (new.fault, new.metadata.all_entries().count()),
            (None, ENTRIES)
        );
        assert_eq!(new.metadata.iter().count(), 1);
    });
    assert_eq!(info.count_total, 0);
    let mut config = Config::default();
    config.limits.decode = limits;
    let mut t = server_with::<Growing>(config);
    assert!(t.get(&frame));
    let deadline = t.tunnel.poll_timeout().unwrap();
    assert_eq!(deadline.as_nanos(), 7_000_000_000);

    // By default it is refused for their number.
    let decoded = decode_client(&frame, &DecodeLimits::default()).unwrap();
    let ClientKind::NewStream(new) = decoded.kind else {
        panic!("not a new_stream");
    };
    assert_eq!(new.fault, Some(ContentFault::MetadataTooLarge));
}

/// Unknown groups, each in the one before, 1 MiB of them.
fn groups(start: u8, end: u8) -> Vec<Frame> {
    let open = [start].repeat(512 << 10);
    let shut = [end].repeat(512 << 10);
    let whole = [&open[..], &shut[..]].concat();
    let broken = [start].repeat(1 << 20);
    // As a frame, in a member of its own, and in the metadata.
    [whole, broken]
        .into_iter()
        .flat_map(|bytes| {
            let inner = Fields::new().raw(&bytes);
            [
                bytes.clone(),
                on(FIRST, &Fields::new().message(2, &inner)),
                Frame::from(new(FIRST, "svc/m").headers(inner)),
            ]
        })
        .collect()
}

#[test]
fn attack_a18_deep_groups() {
    let deep = || {
        // Group of field 15, and of field 12.
        for frame in groups(0x7b, 0x7c).into_iter().chain(groups(0x63, 0x64)) {
            let mut t = server::<Fixed<4, 4>>(4);
            assert!(!t.get(&frame));
            assert_eq!(t.cut, Some(TunnelReason::Undecodable));
            let mut t = client::<Fixed<4, 4>>(4);
            t.open();
            assert!(!t.get(&frame));
            assert_eq!(t.cut, Some(TunnelReason::Undecodable));
        }
    };
    let thread = thread::Builder::new().stack_size(64 << 10).spawn(deep);
    thread.unwrap().join().unwrap();
}

#[test]
fn attack_a18_padded_varints() {
    // A tag of ten bytes is one, of eleven is none.
    for (bytes, good) in [(9, true), (10, false)] {
        let tag = [&[0x80 | 0x78][..], &[0x80].repeat(bytes - 1), &[0x00, 0x00]].concat();
        let mut t = server::<Fixed<4, 4>>(4);
        t.get(&Frame::from(new(FIRST, "svc/m")));
        let frame = on(FIRST, &Fields::new().bytes(5, &[]).raw(&tag));
        assert_eq!(t.get(&frame), good, "{bytes}");
    }
    // A megabyte of them is read once through.
    let many = [
        0xf8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x00,
    ]
    .repeat(95_325);
    let mut t = server::<Fixed<4, 4>>(4);
    t.get(&Frame::from(new(FIRST, "svc/m")));
    assert!(
        t.get(&on(FIRST, &Fields::new().bytes(5, &[]).raw(&many))),
        "{:?}",
        t.cut
    );
}

#[test]
fn attack_a19_the_largest_frame() {
    const LIMIT: usize = 4 << 20;
    let padded = |len: usize| {
        let own = on(FIRST, &Fields::new().bytes(15, &[])).len() + 3;
        on(FIRST, &Fields::new().bytes(15, &vec![0; len - own]))
    };
    for (len, lives) in [(LIMIT, true), (LIMIT + 1, false)] {
        let frame = padded(len);
        assert_eq!(frame.len(), len);
        let mut t = server::<Fixed<4, 4>>(4);
        t.get(&Frame::from(new(FIRST, "svc/m")));
        assert_eq!(t.get(&frame), lives);
        assert_eq!(t.cut.is_some(), !lives);
        let mut t = client::<Fixed<4, 4>>(4);
        t.open();
        assert_eq!(t.get(&frame), lives);
        assert!(lives || t.cut == Some(TunnelReason::FrameTooLarge));
    }
}

#[test]
fn frames_of_the_right_kind_are_read() {
    // The floods above are refused for what they are, not for how this file writes them.
    let mut t = client::<Fixed<4, 4>>(4);
    t.open();
    let entries: [(&[u8], &[&[u8]]); 1] = [(b"k", &[b"v"])];
    assert!(t.get(&on(FIRST, &Fields::new().message(2, &metadata(&entries)))));
    assert!(t.get(&hdr(FIRST, &[("k", "v")])) && t.get(&set(-1, 1, &[0])));
    assert_eq!(t.tunnel.streams(), 1);
}
