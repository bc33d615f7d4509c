//! Receive windows grow with what the link carries, and for no other reason.
//!
//! Everything happens in virtual time, on simulated links. That credit is conserved, that no
//! window shrinks, and that growth keeps within its bounds is checked after every step of each.

use core::time::Duration;

use grpctunnel_core::{
    Client, Config, Growing, Input, Negotiation, Opening, ReceiveWindowPolicy, Side, Time,
    TunnelServer,
};
use grpctunnel_tests::harness::frames::{more, msg, new, set};
use grpctunnel_tests::harness::link::{Grid, Link, LinkSetup, Opens, Reader, Source, Start};
use grpctunnel_tests::harness::{OnHeap, Script, SentFrame, client_with, server_with};

const INITIAL: u32 = 65_536;
const MB: u64 = 1_000_000;

/// A tunnel whose windows grow.
fn growing() -> Config {
    let mut config = Config::default();
    config.limits.receive_window = ReceiveWindowPolicy::GROWING;
    config
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn holds_at_every_point(receiver: Side) {
    // Messages that fill their chunks, and such that do not.
    for (both_ways, message) in [(false, 1 << 20), (true, 10_007)] {
        let grid = Grid::measure(receiver, both_ways, message);
        assert_eq!(grid.points.len(), 16);
        for point in &grid.points {
            assert!(point.share() >= 0.95, "{point:?}\n{grid}");
            // No more than it takes, since others share the budget. A chunk of the other
            // direction may hold a grant up.
            let in_a_round_trip = point.possible * point.measured.as_secs_f64() + 16_384.0;
            let enough = f64::from(2 * INITIAL).max(4.0 * in_a_round_trip);
            assert!(f64::from(point.window) <= enough, "{point:?}\n{grid}");
        }
    }
}

#[test]
fn a_server_gets_what_the_link_carries() {
    holds_at_every_point(Side::Server);
}

#[test]
fn a_client_gets_what_the_link_carries() {
    holds_at_every_point(Side::Client);
}

/// Carries so many bytes within such a time.
fn carries(link: &mut dyn AnyLink, time: Duration, bytes: u64) {
    let before = link.bytes();
    link.run(time);
    let carried = link.bytes() - before;
    assert!(carried >= bytes, "{carried} bytes in {time:?}");
}

/// Runs with both ends of ours.
fn with_both(setup: LinkSetup, test: impl Fn(&mut dyn AnyLink)) {
    test(&mut Link::to_server(setup));
    test(&mut Link::to_client(setup));
}

/// A link with either end of ours on it.
trait AnyLink {
    fn run(&mut self, time: Duration);
    fn largest(&self) -> u32;
    fn bytes(&self) -> u64;
    fn read_at_once(&mut self);
    fn set_round_trip(&mut self, round_trip: Duration);
    fn growth(&self) -> u64;
    fn end_a_call(&mut self);
}

impl<R: Opens> AnyLink for Link<R> {
    fn run(&mut self, time: Duration) {
        self.run_for(time);
    }
    fn largest(&self) -> u32 {
        self.windows().0
    }
    fn bytes(&self) -> u64 {
        self.read()
    }
    fn read_at_once(&mut self) {
        Self::read_at_once(self);
    }
    fn set_round_trip(&mut self, round_trip: Duration) {
        Self::set_round_trip(self, round_trip);
    }
    fn growth(&self) -> u64 {
        Self::growth(self)
    }
    fn end_a_call(&mut self) {
        Self::end_a_call(self);
    }
}

#[test]
fn a_slow_reader_gets_no_larger_window() {
    let mut setup = LinkSetup::new(millis(50), 1_000 * MB);
    setup.reader = Reader::Every(millis(10), 1_000);
    with_both(setup, |link| {
        link.run(Duration::from_secs(20));
        assert_eq!(link.largest(), INITIAL);
        assert!(link.bytes() >= 1_900_000, "{} bytes", link.bytes());
        // Once it keeps up, it does.
        link.read_at_once();
        link.run(millis(50) * 20);
        assert_eq!(link.largest(), 16 << 20);
    });
}

#[test]
fn a_reader_that_stops_gets_no_larger_window() {
    let mut setup = LinkSetup::new(millis(50), 100 * MB);
    setup.reader = Reader::Never;
    with_both(setup, |link| {
        link.run(Duration::from_secs(20));
        assert_eq!((link.largest(), link.bytes()), (INITIAL, 0));
    });
}

#[test]
fn a_trickle_gets_no_larger_window() {
    let trickles = [
        (1, 100),
        (10, 1_000),
        (100, 4_096),
        (1_000, 1_000),
        (1_000, 16_384),
        (1_000, 30_000),
        (1_000, 32_000),
    ];
    for (pause, bytes) in trickles {
        let mut setup = LinkSetup::new(millis(50), 100 * MB);
        setup.source = Source::Every(millis(pause), bytes);
        with_both(setup, |link| {
            link.run(Duration::from_secs(300));
            assert_eq!(link.largest(), INITIAL, "{bytes} bytes in {pause} ms");
            assert!(link.bytes() > 100_000);
        });
    }
}

/// A queue makes round trips longer on a link that is full. More credit would make the queue
/// longer, and so on.
#[test]
fn a_full_link_gets_no_larger_window_with_time() {
    with_both(LinkSetup::new(millis(10), MB), |link| {
        link.run(Duration::from_secs(5));
        let window = link.largest();
        assert!(window <= 2 * INITIAL, "{window}");
        link.run(Duration::from_secs(600));
        assert_eq!(link.largest(), window);
    });
}

/// Calls that share a full link are slower than one that has it for itself, though the way is no
/// longer. What their windows hold together is a queue.
#[test]
fn calls_that_come_and_go_on_a_full_link_get_no_larger_windows_with_time() {
    let mut link = Link::to_server(LinkSetup::new(millis(50), 2 * MB));
    link.run_for(Duration::from_secs(100));
    // The first call ends with the others.
    let in_a_round_trip = 100_000 + 16_384;
    for _ in 0..4 {
        for _ in 0..15 {
            link.open_a_call();
        }
        link.run_for(Duration::from_secs(100));
        for _ in 0..15 {
            link.end_a_call();
        }
        link.run_for(Duration::from_secs(100));
        let (largest, _) = link.windows();
        assert!(largest <= 4 * in_a_round_trip, "{largest}");
        link.release();
    }
}

#[test]
fn a_longer_route_is_learned() {
    with_both(LinkSetup::new(millis(10), 10 * MB), |link| {
        link.run(Duration::from_secs(40));
        let before = link.largest();
        assert!(before <= 8 * INITIAL, "{before}");
        link.set_round_trip(millis(200));
        link.run(Duration::from_secs(100));
        carries(link, Duration::from_secs(10), 95 * MB);
    });
}

#[test]
fn frames_that_come_late_by_chance_keep_no_window_small() {
    for rate in [10 * MB, 100 * MB] {
        let mut setup = LinkSetup::new(millis(50), rate);
        setup.jitter = millis(20);
        with_both(setup, |link| {
            link.run(millis(50) * 20);
            carries(link, Duration::from_secs(1), rate * 95 / 100);
        });
    }
}

#[test]
fn a_reader_that_comes_now_and_then_gets_what_the_link_carries() {
    let mut setup = LinkSetup::new(millis(50), 100 * MB);
    setup.reader = Reader::Every(millis(7), u32::MAX);
    with_both(setup, |link| {
        link.run(millis(50) * 30);
        carries(link, Duration::from_secs(1), 95 * MB);
    });
}

#[test]
fn growth_keeps_within_its_budget_and_is_given_back() {
    let mut setup = LinkSetup::new(millis(50), 1_000 * MB);
    setup.calls = 10;
    setup.windows.growth_budget = 3 << 20;
    with_both(setup, |link| {
        link.run(millis(50) * 100);
        // Who gets none goes on with what it has.
        assert_eq!(link.growth(), 3 << 20);
        let windows = 10 * u64::from(INITIAL) + (3 << 20);
        carries(link, Duration::from_secs(1), windows * 20 * 9 / 10);
        // What a call gives back, another one takes.
        for _ in 0..5 {
            link.end_a_call();
            link.run(Duration::from_secs(1));
            assert_eq!(link.growth(), 3 << 20);
        }
        for _ in 0..5 {
            link.end_a_call();
        }
        link.run(Duration::from_secs(1));
        assert_eq!(link.growth(), 0);
    });
}

#[test]
fn calls_share_what_the_link_carries() {
    let mut setup = LinkSetup::new(millis(50), 100 * MB);
    setup.calls = 10;
    with_both(setup, |link| {
        link.run(millis(50) * 60);
        carries(link, Duration::from_secs(1), 95 * MB);
    });
}

/// What is unread when a call ends takes memory until it is let go, and growth with it.
#[test]
fn growth_that_is_still_unread_is_given_back_with_the_release() {
    let setup = LinkSetup::new(millis(50), 1_000 * MB);
    let mut link = Link::to_client(setup);
    link.run_for(millis(50) * 20);
    link.stop_reading();
    link.run_for(Duration::from_secs(1));
    link.end_a_call();
    link.run_for(Duration::from_secs(1));
    assert_eq!(link.windows(), (0, 0), "no call is left");
    // The buffer is full, but for what was read and not granted yet.
    let full = (16 << 20) - u64::from(INITIAL);
    assert!(link.growth() <= full);
    assert!(link.growth() >= full - (16 << 20) / 32);
    link.release();
    assert_eq!(link.growth(), 0);
    // A cancelled call is not read.
    let mut link = Link::to_server(setup);
    link.run_for(millis(50) * 20);
    link.stop_reading();
    link.run_for(Duration::from_secs(1));
    assert!(link.growth() > 0);
    link.end_a_call();
    link.run_for(Duration::from_secs(1));
    assert_eq!(link.growth(), 0);
}

#[test]
fn a_window_grows_no_further_than_its_limit() {
    let mut setup = LinkSetup::new(millis(50), 100 * MB);
    for max in [0, INITIAL, INITIAL + 1, 100_000, 1_000_000] {
        setup.windows.max = max;
        with_both(setup, |link| {
            link.run(Duration::from_secs(3));
            assert_eq!(link.largest(), max.max(INITIAL));
        });
    }
    for windows in [
        ReceiveWindowPolicy::default(),
        ReceiveWindowPolicy {
            growth_budget: 0,
            ..ReceiveWindowPolicy::GROWING
        },
    ] {
        setup.windows = windows;
        with_both(setup, |link| {
            link.run(Duration::from_secs(3));
            assert_eq!(link.largest(), INITIAL);
        });
    }
}

/// Frame by frame, at a server: the growth comes with the next grant.
#[test]
fn a_peer_that_waited_for_credit_is_granted_more_than_was_read() {
    let t = server_that_learned(growing());
    assert_eq!(t.end.tunnel.receive_growth(), 65_536);
    assert_eq!(t.end.tunnel.shortest_round_trip(), Some(millis(50)));
}

/// A server whose first call got a window of 131,072 bytes.
fn server_that_learned(config: Config) -> Script<grpctunnel_core::Server, OnHeap> {
    let mut t = server_with::<OnHeap>(config, Opening::Accepted(Negotiation::On));
    t.sends(&["set(-1,65536,[0, 1])"]);
    t = t.with_call();
    t.get(msg(1, 1 << 20, 16_384));
    t.get(more(1, 16_384)).sends(&["wu(1,32768)"]);
    t.get(more(1, 16_384));
    t.get(more(1, 16_384)).sends(&["wu(1,32768)"]);
    t.advance(millis(50));
    t.get(more(1, 16_384)).sends(&["wu(1,81920)"]);
    let call = t.end.key(1);
    assert_eq!(
        t.end
            .tunnel
            .inspect(call)
            .and_then(|stream| stream.receive_window()),
        Some(131_072)
    );
    t
}

/// What one call has shown is granted to the next one as soon as anything is.
#[test]
fn a_new_call_begins_with_what_the_tunnel_has_learned() {
    let mut t = server_that_learned(growing());
    t.get(new(2, "svc/m")).sees(&["opened(2,svc/m)"]);
    t.get(msg(2, 1 << 20, 16_384));
    t.get(more(2, 16_384)).sends(&["wu(2,98304)"]);
    // A call that is small gets no frame for it.
    t.get(new(3, "svc/m")).sees(&["opened(3,svc/m)"]);
    t.get(msg(3, 100, 100)).sends(&[]);
    t.seen();
    t.lives();
}

/// A new call may have as much as every open call and one more could have of what is free.
#[test]
fn a_new_call_takes_no_more_than_its_share_of_the_budget() {
    let mut config = growing();
    config.limits.receive_window.growth_budget = 65_536 + 3_000;
    let mut t = server_that_learned(config);
    for (id, share) in [(2, 3_000 / 3), (3, 2_000 / 4), (4, 1_500 / 5)] {
        t.get(new(id, "svc/m"))
            .sees(&[&format!("opened({id},svc/m)")]);
        t.get(msg(id, 1 << 20, 16_384));
        let grant = format!("wu({id},{})", 32_768 + share);
        t.get(more(id, 16_384)).sends(&[&grant]);
    }
    assert_eq!(t.end.tunnel.receive_growth(), 65_536 + 1_800);
}

/// What several tunnels share may leave nothing for this one, for a while.
#[test]
fn growth_can_be_withheld_and_goes_on_later() {
    let mut t = server_that_learned(growing());
    t.end.tunnel.limit_growth(65_536);
    t.get(new(2, "svc/m")).sees(&["opened(2,svc/m)"]);
    t.get(msg(2, 1 << 20, 16_384));
    t.get(more(2, 16_384)).sends(&["wu(2,32768)"]);
    t.end.tunnel.limit_growth(65_536 + 1_000);
    t.get(more(2, 16_384));
    t.get(more(2, 16_384)).sends(&["wu(2,33101)"]);
    t.end.tunnel.limit_growth(u64::MAX);
    t.get(more(2, 16_384));
    t.get(more(2, 16_384)).sends(&["wu(2,97971)"]);
    assert_eq!(t.end.tunnel.receive_growth(), 2 * 65_536);
}

/// A Go server that shuts down refuses a stream without recording its id, and a frame behind it
/// ends the tunnel: so none goes there for the grant alone.
#[test]
fn a_client_grants_what_it_has_learned_behind_the_first_message() {
    let opening = Opening::Accepted(Negotiation::On);
    let mut t: Script<Client, OnHeap> = client_with(growing(), opening);
    t.get(set(-1, INITIAL, &[0, 1]));
    t.seen();
    assert_eq!(t.open(), 1);
    t.advance(millis(50));
    t.get(msg(1, 1 << 20, 16_384));
    t.get(more(1, 16_384)).sends(&["wu(1,32768)"]);
    t.get(more(1, 16_384));
    t.get(more(1, 16_384)).sends(&["wu(1,32768)"]);
    t.advance(millis(50));
    t.get(more(1, 16_384)).sends(&["wu(1,81920)"]);
    // `open` has seen that `new_stream` is all that it sends.
    assert_eq!(t.open(), 2);
    t.is_quiet();
    t.send(2, 20_000);
    let sent: Vec<String> = t.sent().iter().map(ToString::to_string).collect();
    assert_eq!(sent[1], "wu(2,65536)", "{sent:?}");
    assert!(sent[0].starts_with("msg(2,"), "{sent:?}");
    t.seen();
    // Once is enough.
    t.send(2, 100);
    assert_eq!(t.sent().len(), 1);
}

/// Where more than half of the window was unread as the grant left, it was the reader that the peer
/// waited for.
#[test]
fn a_reader_that_was_behind_gets_no_larger_window() {
    const WINDOW: u32 = 262_144;
    for (read_first, grows) in [(WINDOW / 8, false), (WINDOW / 2, true)] {
        let mut config = growing();
        config.limits.receive_window.initial = WINDOW;
        let opening = Opening::Accepted(Negotiation::On);
        let mut server = TunnelServer::<Growing>::new(Time::ZERO, config, opening).unwrap();
        let open = Vec::from(new(1, "svc/m"));
        let Ok(Input::Opened { stream, .. }) = server.handle_frame(Time::ZERO, &open) else {
            panic!("no call");
        };
        let chunk = msg(1, 16_384, 16_384);
        for _ in 0..WINDOW / 16_384 {
            assert!(server.handle_frame(Time::ZERO, &chunk).is_ok());
        }
        for bytes in [read_first, WINDOW - read_first] {
            assert_eq!(server.stream(stream).unwrap().consumed(bytes), Ok(()));
            while server.poll_transmit(Time::ZERO).is_some() {}
        }
        let later = Time::ZERO.saturating_add(millis(50));
        assert!(server.handle_frame(later, &chunk).is_ok());
        let window = server
            .inspect(stream)
            .and_then(|stream| stream.receive_window());
        assert_eq!(window, Some(if grows { 2 * WINDOW } else { WINDOW }));
    }
}

/// Four streams are sampled at once. Those that fall silent lose their places in time.
#[test]
fn silent_streams_make_place_for_another() {
    for (silent, silence, grows) in [(3, 0, true), (4, 999, false), (4, 1_001, true)] {
        let opening = Opening::Accepted(Negotiation::On);
        let mut t = server_with::<OnHeap>(growing(), opening);
        t.sends(&["set(-1,65536,[0, 1])"]);
        let last = silent + 1;
        for id in 1..=last {
            t.get(new(id, "svc/m"))
                .sees(&[&format!("opened({id},svc/m)")]);
            t.get(msg(id, 1 << 20, 16_384));
            let grant = format!("wu({id},32768)");
            t.get(more(id, 16_384)).sends(&[&grant]);
            t.advance(millis(if id == silent { silence } else { 0 }));
        }
        for wait in [0, 0, 50] {
            t.advance(millis(wait));
            t.get(more(last, 16_384));
            t.sent();
        }
        let window = t
            .end
            .tunnel
            .inspect(t.end.key(last))
            .and_then(|stream| stream.receive_window());
        assert_eq!(window > Some(INITIAL), grows, "{silent}, {silence} ms");
    }
}

#[test]
fn a_clock_that_stands_still_measures_nothing() {
    let opening = Opening::Accepted(Negotiation::On);
    let mut t = server_with::<OnHeap>(growing(), opening);
    t.sends(&["set(-1,65536,[0, 1])"]);
    t = t.with_call();
    t.get(msg(1, 1 << 20, 16_384));
    for _ in 0..31 {
        t.get(more(1, 16_384)).sends(&["wu(1,32768)"]);
        t.get(more(1, 16_384));
    }
    let call = t.end.key(1);
    assert_eq!(
        t.end
            .tunnel
            .inspect(call)
            .and_then(|stream| stream.receive_window()),
        Some(INITIAL)
    );
    assert_eq!(t.end.tunnel.shortest_round_trip(), None);
}

/// From cold, over 50 ms.
#[test]
fn calls_get_what_the_link_carries_within_twelve_round_trips() {
    for receiver in [Side::Server, Side::Client] {
        for (rate, calls) in [(200 * MB, 1), (1_000 * MB, 1), (200 * MB, 64)] {
            let start = Start::measure(receiver, rate, calls);
            assert!(start.reached_in() <= Some(12), "{start}");
            assert!(start.reached_in().is_some(), "{start}");
            assert!(start.share() >= 0.95, "{start}");
        }
    }
}

/// Known peers add up credit in 32 bits, signed, without a check: neither one grant nor many exceed
/// that, however fast a window grows.
#[test]
fn no_credit_passes_31_bits() {
    const CHUNK: u32 = 4 << 20;
    let mut config = growing();
    config.limits.receive_window.initial = 1 << 29;
    config.limits.receive_window.max = 0x7fff_ffff;
    config.limits.receive_window.growth_budget = u64::MAX;
    config.limits.max_frame = 2 * CHUNK;
    config.limits.max_message = CHUNK;
    let opening = Opening::Accepted(Negotiation::On);
    let mut server = TunnelServer::<Growing>::new(Time::ZERO, config, opening).unwrap();
    let open = Vec::from(new(1, "svc/m"));
    let Ok(Input::Opened { stream, .. }) = server.handle_frame(Time::ZERO, &open) else {
        panic!("no call");
    };
    let chunk = msg(1, CHUNK, CHUNK as usize);
    let mut now = Time::ZERO;
    // The peer's credit, as it counts it.
    let mut credit = 1_u64 << 29;
    for _ in 0..4 {
        for _ in 0..credit / u64::from(CHUNK) {
            assert!(server.handle_frame(now, &chunk).is_ok());
            credit -= u64::from(CHUNK);
            assert_eq!(server.stream(stream).unwrap().consumed(CHUNK), Ok(()));
            while let Some(sent) = server.poll_transmit(now) {
                let frame = SentFrame::read(Side::Server, &sent.prefix[5..]);
                if let SentFrame::WindowUpdate { bytes, .. } = frame {
                    credit += u64::from(bytes);
                }
                assert!(credit <= 0x7fff_ffff, "{credit} bytes of credit");
            }
            let window = server
                .inspect(stream)
                .and_then(|stream| stream.receive_window());
            assert!(window <= Some(0x7fff_ffff), "{window:?}");
        }
        now = now.saturating_add(millis(50));
    }
    assert_eq!(
        server
            .inspect(stream)
            .and_then(|stream| stream.receive_window()),
        Some(0x7fff_ffff)
    );
}

/// Messages of one byte and empty ones in turn take the most memory for their bytes.
#[test]
fn a_grown_window_of_crumbs_stays_within_the_memory_bound() {
    let mut config = growing();
    config.limits.max_streams = 1;
    let mut t = server_with::<OnHeap>(config, Opening::Accepted(Negotiation::On));
    t.sends(&["set(-1,65536,[0, 1])"]);
    t = t.with_call();
    t.get(msg(1, 6 * 16_384, 16_384));
    t.get(more(1, 16_384)).sends(&["wu(1,32768)"]);
    t.get(more(1, 16_384));
    t.get(more(1, 16_384)).sends(&["wu(1,32768)"]);
    t.advance(millis(50));
    t.get(more(1, 16_384)).sends(&["wu(1,81920)"]);
    t.get(more(1, 16_384)).sees(&["got(1,98304)"]);

    let end = &mut t.end;
    let bound = end.tunnel.limits().memory_bound();
    let check = |memory: usize, growth: u64| {
        let most = bound.flow_controlled + growth * 17 / 4;
        assert!(memory as u64 <= most, "{memory} bytes, {growth}: {bound:?}");
    };
    let stream = end.tunnel.inspect(end.key(1)).unwrap();
    let credit = stream.receive_credit().unwrap();
    assert_eq!(credit, 114_688);
    for size in [1, 0].into_iter().cycle().take(2 * credit as usize) {
        end.feed(Time::ZERO, &msg(1, size, size as usize)).unwrap();
        check(end.buffer_memory(1), end.tunnel.receive_growth());
    }
    assert_eq!(end.buffered(1), 114_688);
    assert_eq!(end.tunnel.receive_growth(), 65_536);
    // More than any window that has not grown could take.
    assert!(end.buffer_memory(1) as u64 > bound.flow_controlled);

    // A stray chunk ends the stream, and what came before is left to the reader.
    end.feed(Time::ZERO, &more(1, 1)).unwrap();
    assert!(end.over(1).is_some());
    assert_eq!(end.tunnel.receive_growth(), 114_688 - 65_536);
    check(end.buffer_memory(1), end.tunnel.receive_growth());
    while end.read(1, usize::MAX) {}
    end.release(1);
    while end.transmit(Time::ZERO).is_some() {}
    assert_eq!(end.tunnel.receive_growth(), 0);
}
