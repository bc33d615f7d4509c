//! What ended streams leave to readers that do not read.

use grpctunnel_core::{Config, Negotiation, Opening, Time};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{Frame, more, msg, new};
use grpctunnel_tests::harness::{Over, ServerEnd, Store};

const STREAMS: i64 = 32;
const LIMIT: u32 = 20_000;

/// Room for two full streams without flow control.
fn config() -> Config {
    let mut config = Config::default();
    let limits = &mut config.limits;
    limits.max_streams = 32;
    limits.max_frame = 32_768;
    limits.revision_zero.stream = LIMIT;
    limits.revision_zero.tunnel = 2 * u64::from(LIMIT);
    config
}

/// Fills a stream up to its limit, in the messages that take the most boundaries, and then breaks
/// a rule on it.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn fill_and_break<S: Store>(end: &mut ServerEnd<S>, id: i64) {
    let mut feed = |frame: &[u8]| end.feed(Time::ZERO, frame).unwrap();
    feed(&Frame::from(new(id, "svc/m").revision(0)));
    for size in [1, 0].into_iter().cycle().take(2_000) {
        feed(&msg(id, size, size as usize));
    }
    feed(&msg(id, 19_000, 19_000));
    feed(&more(id, 1));
}

fn check_bound<S: Store>(end: &ServerEnd<S>) {
    let bound = end.tunnel.limits().memory_bound();
    if end.tunnel.memory() == 0 {
        return;
    }
    let calls: Vec<_> = end.calls().filter(|call| !end.released(*call)).collect();
    let mut all = end.tunnel.memory() as u64;
    for call in calls {
        let memory = end.buffer_memory(call) as u64;
        assert!(memory <= bound.revision_zero, "{memory}: {bound:?}");
        all += memory;
    }
    assert!(all <= bound.total(), "{all}: {bound:?}");
}

both_stores! {
    /// A slow reader holds up no other stream, and what it holds is bounded by the
    /// number of streams.
    fn attack_a06_streams_without_flow_control_that_are_filled_and_broken<S>() {
        let opening = Opening::Accepted(Negotiation::Off);
        let mut end = ServerEnd::<S>::server(Time::ZERO, config(), opening);
        let honest = Frame::from(new(0, "svc/m").revision(0));
        end.feed(Time::ZERO, &honest).unwrap();
        for id in 1..STREAMS {
            fill_and_break(&mut end, id);
            assert!(matches!(end.over(id), Some(Over::Violation(_))), "{:?}", end.over(id));
            assert_eq!(end.buffered(id), 20_000);
            while end.transmit(Time::ZERO).is_some() {}
            // An ended stream's rest keeps nobody from being heard.
            assert!(end.tunnel.wants_read());
            check_bound(&end);
            end.feed(Time::ZERO, &msg(0, 5, 5)).unwrap();
            while end.read(0, usize::MAX) {}
        }
        // They count as streams until their readers are gone.
        end.feed(Time::ZERO, &Frame::from(new(STREAMS, "svc/m").revision(0))).unwrap();
        assert!(!end.has(STREAMS));
        while end.transmit(Time::ZERO).is_some() {}
        for id in STREAMS + 1..2 * STREAMS {
            // A reader takes what is left to it, and goes.
            let reader = id - STREAMS;
            while end.read(reader, usize::MAX) {}
            assert_eq!(end.buffered(reader), 0);
            end.release(reader);
            fill_and_break(&mut end, id);
            while end.transmit(Time::ZERO).is_some() {}
            assert!(end.tunnel.wants_read());
            check_bound(&end);
        }
        assert_eq!(end.over(0), None);
        assert_eq!(end.tunnel.error(), None);
    }
}
