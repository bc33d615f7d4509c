//! Peers that let time work for them.

use core::time::Duration;

use grpctunnel_core::{
    Carrier, Config, Event, Growing, Negotiation, Opening, Time, TunnelClient, TunnelReason,
};
use grpctunnel_tests::harness::frames::{half, msg, new};
use grpctunnel_tests::soak::{FIRST, Template};

use crate::flood::{full, server};

#[test]
fn attack_a20_tunnels_that_never_settle() {
    let (opened, accepted) = (Opening::Requested, Opening::Accepted(Negotiation::On));
    for (opening, reason) in [
        (opened, TunnelReason::OpenTimeout),
        (accepted, TunnelReason::SettingsTimeout),
    ] {
        let mut tunnels = vec![
            TunnelClient::<Growing>::new(Time::ZERO, Config::default(), opening)
                .unwrap();
            10_000
        ];
        for tunnel in &mut tunnels {
            assert_eq!(tunnel.poll_timeout(), Some(Time::from_millis(10_000)));
            tunnel.handle_timeout(Time::from_millis(9_999));
            assert!(tunnel.poll_event().is_none() && tunnel.error().is_none());
            tunnel.handle_timeout(Time::from_millis(10_000));
            assert_eq!(tunnel.error().map(|error| error.reason()), Some(reason));
            let event = tunnel.poll_event();
            assert!(
                matches!(event, Some(Event::Carrier(Carrier::Abort(_)))),
                "{event:?}"
            );
            assert!(tunnel.poll_event().is_none());
        }
    }
}

#[test]
fn attack_a23_deadlines_of_a_nanosecond() {
    let calls = full(100_000);
    let mut t = server::<Growing>(u32::try_from(calls).unwrap());
    let mut soon = Template::new(new(FIRST, "svc/m").timeout("1n"));
    let mut later = Template::new(new(FIRST, "svc/m").timeout("1H"));
    for id in 0..calls {
        let frame = if id % 2 == 0 { &mut soon } else { &mut later };
        assert!(t.get(frame.at(id)));
    }
    // One timer for the tunnel, whatever the number of deadlines.
    assert_eq!(t.tunnel.poll_timeout(), Some(Time::from_nanos(1)));
    let info = allocation_counter::measure(|| t.wait(1));
    assert_eq!((t.ends, info.count_total), (calls / 2, 0));
    assert_eq!(
        t.tunnel.poll_timeout(),
        Some(Time::ZERO.saturating_add(Duration::from_secs(3_600)))
    );
    t.wait(3_600_000);
    assert_eq!((t.ends, t.tunnel.streams()), (calls, 0));
}

#[test]
fn attack_a24_calls_that_have_expired_when_they_come() {
    let mut t = server::<Growing>(1_024);
    let mut frames = [
        new(FIRST, "svc/m").timeout("0S").into(),
        msg(FIRST, 5, 5),
        half(FIRST),
    ]
    .map(Template::new);
    for id in 0..full(100_000) {
        for frame in &mut frames {
            assert!(t.get(frame.at(id)), "{:?}", t.cut);
        }
    }
    assert_eq!((t.started, t.tunnel.streams()), (0, 0));
    assert_eq!(t.tunnel.counters().refused, full(100_000));
}
