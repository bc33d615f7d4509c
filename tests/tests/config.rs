//! Settings: what no tunnel can have is refused by name, and what holds by default.

use core::time::Duration;

use grpctunnel_core::bare::{Directions, Pipe, PipeEnd};
use grpctunnel_core::wire::{Extension, ExtensionSet};
use grpctunnel_core::{
    Config, Fixed, Limits, Negotiation, Opening, ReceiveWindowPolicy, Time, TunnelClient,
    TunnelServer,
};
use grpctunnel_tests::harness::InPlace;

type Store = Fixed<4, 4>;
type Change = fn(&mut Config);

const NEGOTIATED: Opening = Opening::Accepted(Negotiation::On);

/// Each field that has a range, and a value out of it.
const OUT_OF_RANGE: &[(&str, Change)] = &[
    ("first_stream_id", |c| c.first_stream_id = -1),
    ("limits.receive_window.initial", |c| {
        c.limits.receive_window.initial = 0;
    }),
    // Known peers add up credit in 32 bits, signed, without a check.
    ("limits.receive_window.initial", |c| {
        c.limits.receive_window.initial = 1 << 31;
    }),
    ("limits.receive_window.max", |c| {
        c.limits.receive_window.max = 1 << 31;
    }),
    ("limits.max_streams", |c| c.limits.max_streams = 0),
    ("limits.max_frame", |c| c.limits.max_frame = 0),
    ("limits.pending_rejections", |c| {
        c.limits.pending_rejections = 0;
    }),
    ("limits.open_timeout", |c| {
        c.limits.open_timeout = Duration::ZERO;
    }),
    ("limits.settings_timeout", |c| {
        c.limits.settings_timeout = Duration::ZERO;
    }),
    ("limits.liveness.heartbeat", |c| {
        c.limits.liveness.heartbeat = Duration::ZERO;
    }),
    ("limits.liveness.probe", |c| {
        c.limits.liveness.probe = Duration::ZERO;
    }),
    ("limits.liveness.ping", |c| {
        c.limits.liveness.ping = Duration::ZERO;
    }),
    ("limits.liveness.answer", |c| {
        c.limits.liveness.answer = Duration::ZERO;
    }),
];

#[test]
fn a_setting_out_of_range_is_refused_by_its_name() {
    for (field, change) in OUT_OF_RANGE {
        let mut config = Config::default();
        change(&mut config);
        let client = TunnelClient::<Store>::new(Time::ZERO, config.clone(), NEGOTIATED);
        let server = TunnelServer::<Store>::new(Time::ZERO, config.clone(), NEGOTIATED);
        let pipe = Pipe::<Store>::new(Time::ZERO, config, PipeEnd::Opener, Directions::Both);
        for error in [client.err(), server.err(), pipe.err()] {
            let error = error.unwrap();
            assert_eq!(error.field(), *field);
            let text = format!("config.{field} is out of range; expected ");
            assert!(error.to_string().starts_with(&text), "{error}");
        }
    }
}

#[test]
fn the_edges_of_every_range_are_taken() {
    let mut config = Config::default();
    config.first_stream_id = i64::MAX;
    let limits = &mut config.limits;
    limits.receive_window = ReceiveWindowPolicy::fixed(1);
    limits.max_streams = 1;
    limits.max_frame = 1;
    limits.pending_rejections = 1;
    limits.open_timeout = Duration::from_nanos(1);
    assert_eq!(config.validate(), Ok(()));
    config.limits.receive_window = ReceiveWindowPolicy::fixed(ReceiveWindowPolicy::MAX);
    config.limits.open_timeout = Duration::MAX;
    assert_eq!(config.validate(), Ok(()));
    let client = TunnelClient::<Store>::new(Time::ZERO, config, NEGOTIATED);
    let policy = client.unwrap().limits().receive_window;
    assert_eq!((policy.initial, policy.max), (0x7fff_ffff, 0x7fff_ffff));
}

#[test]
fn windows_stay_as_they_begin_unless_they_are_told_to_grow() {
    let config = Config::default();
    assert!(!config.limits.receive_window.grows());
    assert_eq!(config.limits.memory_bound().growth, 0);
    assert_eq!(Limits::default(), config.limits);
    assert!(ReceiveWindowPolicy::GROWING.grows());
}

/// What may be unread on a stream fits a receive buffer that cannot grow.
#[test]
fn the_largest_window_fits_a_buffer_of_fixed_size() {
    let bytes = InPlace::WINDOW;
    let mut config = Config::default();
    assert_eq!(config.validate_for_buffers_of(bytes), Ok(()));
    let refused = |config: &Config, bytes| {
        let error = config.validate_for_buffers_of(bytes);
        error.map_err(|error| error.field())
    };
    assert_eq!(
        refused(&config, bytes - 1),
        Err("limits.receive_window.initial")
    );
    config.limits.receive_window = ReceiveWindowPolicy::GROWING;
    assert_eq!(refused(&config, bytes), Err("limits.receive_window.max"));
    config.limits.receive_window.growth_budget = 0;
    assert_eq!(refused(&config, bytes), Ok(()));
    config.limits.max_frame = 0;
    assert_eq!(refused(&config, bytes), Err("limits.max_frame"));
}

/// They need nothing of the caller, and the other end is one of ours.
#[test]
fn a_bare_stream_offers_drain_and_ping() {
    let mut config = Config::default();
    config.extensions = ExtensionSet::EMPTY.with(Extension::RawMetadata);
    let ends = [PipeEnd::Opener, PipeEnd::Acceptor].map(|end| {
        Pipe::<Store>::new(Time::ZERO, config.clone(), end, Directions::Forward).unwrap()
    });
    let [mut opener, mut acceptor] = ends;
    for _ in 0..4 {
        while let Some((_, transmit)) = acceptor.poll_transmit(Time::ZERO) {
            let _ = opener
                .handle_frame(Time::ZERO, transmit.prefix[0], &transmit.prefix[5..])
                .unwrap();
        }
        while let Some((_, transmit)) = opener.poll_transmit(Time::ZERO) {
            let _ = acceptor
                .handle_frame(Time::ZERO, transmit.prefix[0], &transmit.prefix[5..])
                .unwrap();
        }
    }
    let both = config
        .extensions
        .with(Extension::Drain)
        .with(Extension::Ping);
    assert_eq!(opener.client().unwrap().extensions(), both);
    assert_eq!(acceptor.server().unwrap().extensions(), both);
}
