//! Streams without end, and what they make an end do.

use grpctunnel_core::{Config, Fixed, Growing, MethodKind, Server, Storage, TunnelReason};
use grpctunnel_tests::harness::frames::{Frame, cancel, half, more, msg, new, none, set, wu};
use grpctunnel_tests::soak::{FIRST, Template};

use crate::flood::{Flood, client, full, server, server_with};

fn open() -> Template {
    Template::new(new(FIRST, "svc/m"))
}

fn endless<S: Storage>(streams: u32) {
    let mut t = server::<S>(streams);
    t.obedient = false;
    let mut open = open();
    for id in 0..1_000 {
        assert!(t.get(open.at(id)));
    }
    let info = allocation_counter::measure(|| {
        for id in 1_000..full(1_000_000) {
            assert!(t.get(open.at(id)));
        }
    });
    assert_eq!((t.started, t.tasks), (streams.into(), streams.into()));
    assert_eq!(t.tunnel.streams(), streams as usize);
    assert_eq!(
        t.tunnel.counters().refused,
        full(1_000_000) - u64::from(streams)
    );
    assert_eq!(info.count_total, 0, "no refusal allocates");
}

#[test]
fn attack_a01_streams_without_end() {
    endless::<Growing>(512);
    endless::<Fixed<64, 64>>(64);
}

fn pairs<S: Storage>(streams: u32) {
    let mut t = server::<S>(streams);
    t.obedient = false;
    let (mut open, mut cancel) = (open(), Template::new(cancel(FIRST)));
    for id in 0..full(1_000_000) {
        assert!(
            t.get(open.at(id)) && t.get(cancel.at(id)),
            "{id}: {:?}",
            t.cut
        );
    }
    assert_eq!((t.started, t.most_tasks), (streams.into(), streams.into()));

    // Handlers that obey make room: nothing is refused, and nothing is left.
    let mut t = server::<S>(streams);
    for id in 0..full(1_000_000) {
        assert!(
            t.get(open.at(id)) && t.get(cancel.at(id)),
            "{id}: {:?}",
            t.cut
        );
    }
    assert_eq!((t.started, t.most_tasks), (full(1_000_000), 1));
    assert_eq!(t.tunnel.streams(), 0);
}

#[test]
fn attack_a02_opened_and_cancelled() {
    pairs::<Growing>(1_024);
    pairs::<Fixed<64, 64>>(64);
}

/// Frames that make a tunnel server close their stream.
fn violations() -> Vec<Vec<Frame>> {
    vec![
        vec![msg(FIRST, 0, 2)],
        vec![more(FIRST, 1)],
        vec![msg(FIRST, 7, 7), more(FIRST, 0)],
        vec![msg(FIRST, 10, 1), msg(FIRST, 10, 1)],
        vec![msg(FIRST, 3, 1), more(FIRST, 3)],
        vec![wu(FIRST, u32::MAX)],
        vec![msg(FIRST, 70_000, 65_536), more(FIRST, 1)],
        vec![none(FIRST)],
    ]
}

/// Breaks the protocol on one new stream after another, as often as it may and `streams` times at
/// most.
fn break_streams<S: Storage>(t: &mut Flood<Server, S>, frames: &[Frame], streams: u64) -> u64 {
    let mut open = open();
    let mut frames: Vec<Template> = frames.iter().cloned().map(Template::new).collect();
    for id in 0..streams {
        if !t.get(open.at(id)) || !frames.iter_mut().all(|frame| t.get(frame.at(id))) {
            return id;
        }
        t.wait(1);
    }
    streams
}

fn made_to_close<S: Storage>(streams: u32) {
    for frames in violations() {
        let mut t = server::<S>(streams);
        let broken = break_streams(&mut t, &frames, full(100_000));
        // One a second came back.
        assert!((1_024..=1_026).contains(&broken), "{broken}");
        assert_eq!(t.cut, Some(TunnelReason::TooManyProtocolErrors));
        assert_eq!(t.tunnel.streams(), 0);

        // Handlers that do not end count, and the excess is refused.
        let mut t = server::<S>(streams);
        t.obedient = false;
        break_streams(&mut t, &frames, full(100_000));
        assert!(t.most_tasks <= u64::from(streams), "{}", t.most_tasks);
    }
}

#[test]
fn attack_a03_made_to_close_streams() {
    made_to_close::<Growing>(1_024);
    made_to_close::<Fixed<64, 64>>(64);
}

#[test]
fn attack_a03_a_server_that_breaks_the_protocol() {
    let frames = [
        msg(FIRST, 0, 2),
        more(FIRST, 1),
        wu(FIRST, u32::MAX),
        none(FIRST),
        set(FIRST, 65_536, &[0, 1]),
    ];
    for frame in frames {
        let mut frame = Template::new(frame);
        let mut t = client::<Growing>(1_024);
        for id in 0.. {
            t.open();
            if !t.get(frame.at(id)) {
                assert_eq!(id, 1_024);
                break;
            }
        }
        assert_eq!(t.cut, Some(TunnelReason::TooManyProtocolErrors));
        assert_eq!(t.tunnel.streams(), 0);
    }
}

/// What an application behind an honest peer does costs its peer nothing, and makes no work either.
#[test]
fn attack_a03_calls_that_an_application_spoils() {
    let mut t = server::<Growing>(1_024);
    let mut open = open();
    let mut half = Template::new(half(FIRST));
    for id in 0..full(100_000) {
        assert!(t.get(open.at(id)));
        let key = t.last.unwrap();
        t.tunnel
            .stream(key)
            .unwrap()
            .set_method_kind(MethodKind::Unary);
        assert!(t.get(half.at(id)), "{id}: {:?}", t.cut);
    }
    assert_eq!((t.most_tasks, t.tunnel.streams()), (1, 0));
}

/// The table's rows for ids: any value, any gap.
#[test]
fn attack_a29_ids_are_data() {
    let mut t = server::<Growing>(1_024);
    for id in [-1, -7, i64::MIN] {
        for frame in [
            half(id),
            cancel(id),
            msg(id, 1, 1),
            more(id, 1),
            wu(id, 1),
            none(id),
        ] {
            assert!(t.get(&frame), "{id}");
        }
    }
    let mut id = 0_i64;
    let mut opened = 0;
    while let Some(next) = id.checked_mul(3).and_then(|id| id.checked_add(1)) {
        id = next;
        assert!(t.get(&Frame::from(new(id, "svc/m"))), "{id}");
        opened += 1;
    }
    assert!(t.get(&Frame::from(new(i64::MAX, "svc/m"))));
    assert_eq!(t.tunnel.streams(), opened + 1);
    assert!(!t.get(&Frame::from(new(5, "svc/m"))));
    assert_eq!(t.cut, Some(TunnelReason::StreamIdNotIncreasing));

    let mut t = server_with::<Growing>(Config::default());
    assert!(!t.get(&Frame::from(new(-1, "svc/m"))));
    assert_eq!(t.cut, Some(TunnelReason::StreamIdNegative));
}
