//! Scenarios with our end as the tunnel client.

use std::time::Duration;

use grpctunnel_core::wire::Encoded;
use grpctunnel_core::{
    Client, Config, Envelope, Key, MethodKind, Negotiation, OpenOptions, Opening, StreamMut, Time,
};

use super::end::{End, Run, Timeline, own, peer};
use super::{FIRST, ROUND_TRIP, SLOW, Scenario, TICK};
use crate::harness::frames::{
    Fields, Frame, close, close_with, hdr, more, msg, none, set, status, strings, wu,
};
use crate::harness::tunnel;

fn end() -> End<Client> {
    let mut end = opened(Negotiation::On);
    end.get(&set(-1, 65_536, &[0, 1]));
    end
}

fn opened(negotiation: Negotiation) -> End<Client> {
    let mut config = Config::default();
    config.first_stream_id = FIRST;
    let opening = Opening::Accepted(negotiation);
    End::new(tunnel(Time::ZERO, config, opening))
}

fn open(end: &mut End<Client>, key: &mut Option<Key>, options: OpenOptions, request: u32) {
    // The tunnel may have ended.
    if let Ok(opened) = end.tunnel.open(end.now, Encoded::kept(10, true), options) {
        *key = Some(opened);
        if let Ok(mut stream) = end.tunnel.stream(opened) {
            let _ = stream.send_message(Envelope::new(request), request);
            let _ = stream.half_close();
        }
    }
}

fn unary(end: &mut End<Client>, key: &mut Option<Key>) {
    let options = OpenOptions {
        kind: MethodKind::Unary,
        ..OpenOptions::default()
    };
    open(end, key, options, 5);
}

fn streaming(end: &mut End<Client>, key: &mut Option<Key>) {
    open(end, key, OpenOptions::default(), 5);
}

fn upload(end: &mut End<Client>, key: &mut Option<Key>) {
    open(end, key, OpenOptions::default(), 65_536);
}

fn cancel(end: &mut End<Client>, key: &mut Option<Key>) {
    if let Some(key) = *key {
        // The call may be over.
        let _ = end.tunnel.stream(key).map(StreamMut::cancel);
    }
}

fn head() -> super::end::Step<Client> {
    peer(0, hdr(FIRST, &[("k", "v")])).1
}

/// A call whose answer comes when its deadline has passed. A Go server whose message crosses the
/// cancel sends it before the headers.
fn expired() -> Timeline<Client> {
    vec![
        own(0, |end, key| {
            let deadline = Some(end.now.saturating_add(Duration::from_secs(1)));
            let options = OpenOptions {
                deadline,
                kind: MethodKind::Unary,
            };
            open(end, key, options, 5);
        }),
        peer(100 + ROUND_TRIP, msg(FIRST, 5, 5)),
        (100 + ROUND_TRIP, head()),
        peer(100 + ROUND_TRIP, close(FIRST, 2)),
    ]
}

/// A download that is cancelled with the rest of a window in flight, in chunks of `chunk`.
fn cancelled_download(chunk: usize) -> Timeline<Client> {
    let mut steps = vec![
        own(0, streaming),
        (ROUND_TRIP, head()),
        peer(ROUND_TRIP, msg(FIRST, chunk as u32, chunk)),
        own(ROUND_TRIP, cancel),
    ];
    let rest = if chunk == 1 { 64 } else { 65_536 / chunk - 1 };
    steps.extend((0..rest).map(|_| peer(2 * ROUND_TRIP, msg(FIRST, chunk as u32, chunk))));
    steps.push(peer(2 * ROUND_TRIP, close(FIRST, 1)));
    steps
}

/// An upload of a window with a `window_update` for each chunk.
fn uploaded() -> Timeline<Client> {
    let mut steps = vec![own(0, upload)];
    steps.extend((0..4).map(|_| peer(ROUND_TRIP, wu(FIRST, 16_384))));
    steps.push((ROUND_TRIP, head()));
    steps.push(peer(ROUND_TRIP, msg(FIRST, 5, 5)));
    steps.push(peer(ROUND_TRIP, close(FIRST, 0)));
    steps
}

/// An upload that is cancelled, with the updates and the end in flight.
fn cancelled_upload() -> Timeline<Client> {
    let mut steps = vec![own(0, upload), own(ROUND_TRIP / 2, cancel)];
    steps.extend((0..4).map(|_| peer(ROUND_TRIP, wu(FIRST, 16_384))));
    steps.push((ROUND_TRIP, head()));
    steps.push(peer(ROUND_TRIP + 1, close(FIRST, 1)));
    steps
}

/// A handler that goes on sending behind the end of its call, as Go lets it.
fn behind_the_end(chunk: usize) -> Timeline<Client> {
    let mut steps = vec![
        own(0, streaming),
        peer(ROUND_TRIP, msg(FIRST, 1, 1)),
        peer(ROUND_TRIP, close(FIRST, 0)),
    ];
    let chunks = if chunk == 1 { 64 } else { 65_536 / chunk - 1 };
    steps.extend((0..chunks).map(|_| peer(ROUND_TRIP, msg(FIRST, chunk as u32, chunk))));
    steps
}

/// Answers that fail because of what the handler behind an honest peer did.
fn failing() -> Vec<Timeline<Client>> {
    let long = "v".repeat(70_000);
    let too_large = close_with(FIRST, &Fields::new().message(1, &strings(&[("k", &long)])));
    let too_long = close_with(
        FIRST,
        &Fields::new().message(2, &status(5, long.as_bytes())),
    );
    let not_utf8 = close_with(FIRST, &Fields::new().message(2, &status(5, b"\xff")));
    vec![
        vec![own(0, unary), peer(ROUND_TRIP, close(FIRST, 0))],
        vec![own(0, unary), peer(ROUND_TRIP, close(FIRST, 12))],
        vec![
            own(0, unary),
            peer(ROUND_TRIP, msg(FIRST, 5, 5)),
            peer(ROUND_TRIP, msg(FIRST, 5, 5)),
            peer(ROUND_TRIP, close(FIRST, 0)),
        ],
        vec![
            own(0, unary),
            peer(ROUND_TRIP, msg(FIRST, 5 << 20, 16_384)),
            peer(ROUND_TRIP, more(FIRST, 16_384)),
            peer(2 * ROUND_TRIP, close(FIRST, 1)),
        ],
        vec![
            own(0, unary),
            peer(ROUND_TRIP, msg(FIRST, 10, 1)),
            peer(ROUND_TRIP, close(FIRST, 0)),
        ],
        vec![own(0, unary), peer(ROUND_TRIP, too_large)],
        vec![own(0, unary), peer(ROUND_TRIP, too_long)],
        vec![own(0, unary), peer(ROUND_TRIP, not_utf8)],
    ]
}

/// Streams that our end closes because its peer breaks the protocol.
fn broken() -> Vec<Timeline<Client>> {
    let broken = |frame: Frame| vec![own(0, streaming), peer(1, frame), peer(2, close(FIRST, 1))];
    vec![
        broken(msg(FIRST, 0, 2)),
        broken(more(FIRST, 1)),
        broken(wu(FIRST, u32::MAX)),
        broken(msg(FIRST, 65_537, 65_537)),
        broken(none(FIRST)),
        broken(set(FIRST, 65_536, &[0, 1])),
    ]
}

/// Every way in which a call of a tunnel client ends.
fn outcomes() -> Run<Client> {
    let mut timelines = failing();
    timelines.extend([
        expired(),
        cancelled_download(16_384),
        uploaded(),
        cancelled_upload(),
        behind_the_end(16_384),
    ]);
    timelines.extend(broken());
    Run::new(end(), timelines)
}

pub(super) const OUTCOMES: Scenario = Scenario {
    name: "client: every outcome",
    tick: Duration::from_secs(1),
    play: |scenario, calls| outcomes().play(scenario, calls),
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "client: probes answered, idle",
        tick: Duration::from_secs(30),
        // The probe takes the id of the call that is not made.
        play: |scenario, calls| {
            let steps = vec![peer(0, close(FIRST, 12))];
            Run::new(end(), vec![steps]).play(scenario, calls)
        },
    },
    Scenario {
        name: "client: hung backend, deadlines of 1 s",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), vec![expired()]).play(scenario, calls),
    },
    Scenario {
        name: "client: the same without flow control",
        tick: TICK,
        play: |scenario, calls| {
            let end = opened(Negotiation::Off);
            Run::new(end, vec![expired()]).play(scenario, calls)
        },
    },
    Scenario {
        name: "client: downloads cancelled with a window in flight",
        tick: TICK,
        play: |scenario, calls| {
            Run::new(end(), vec![cancelled_download(16_384)]).play(scenario, calls)
        },
    },
    Scenario {
        name: "client: the same byte by byte",
        tick: SLOW,
        play: |scenario, calls| Run::new(end(), vec![cancelled_download(1)]).play(scenario, calls),
    },
    Scenario {
        name: "client: uploads, an update for each chunk",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), vec![uploaded()]).play(scenario, calls),
    },
    Scenario {
        name: "client: uploads cancelled, updates in flight",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), vec![cancelled_upload()]).play(scenario, calls),
    },
    Scenario {
        name: "client: messages behind the end",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), vec![behind_the_end(16_384)]).play(scenario, calls),
    },
    Scenario {
        name: "client: the same byte by byte",
        tick: SLOW,
        play: |scenario, calls| Run::new(end(), vec![behind_the_end(1)]).play(scenario, calls),
    },
    Scenario {
        name: "client: answers that fail, of each kind",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), failing()).play(scenario, calls),
    },
];
