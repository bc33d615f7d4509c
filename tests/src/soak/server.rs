//! Scenarios with our end as the tunnel server.

use std::time::Duration;

use grpctunnel_core::wire::Encoded;
use grpctunnel_core::{Config, Envelope, Key, MethodKind, Negotiation, Opening, Server, Time};

use super::end::{End, Run, Step, Timeline, own, peer};
use super::{FIRST, ROUND_TRIP, SLOW, Scenario, TICK};
use crate::harness::frames::{Frame, NewStream, cancel, half, more, msg, new, none, strings, wu};
use crate::harness::tunnel;

fn end() -> End<Server> {
    let opening = Opening::Accepted(Negotiation::On);
    End::new(tunnel(Time::ZERO, Config::default(), opening))
}

fn call() -> NewStream {
    new(FIRST, "svc/m")
}

/// A unary call, all of it sent at once, and an old client's `cancel` when it is over.
fn unary(new: NewStream) -> Timeline<Server> {
    vec![
        peer(0, new),
        peer(0, msg(FIRST, 5, 5)),
        peer(0, half(FIRST)),
        peer(ROUND_TRIP, cancel(FIRST)),
    ]
}

fn close(end: &mut End<Server>, key: &mut Option<Key>) {
    let Some(key) = *key else { return };
    // The call may be over.
    if let Ok(mut stream) = end.tunnel.stream(key) {
        let _ = stream.close(end.now, Encoded::kept(10, false), None);
    }
}

fn send(end: &mut End<Server>, key: &mut Option<Key>, bytes: u32) {
    let Some(key) = *key else { return };
    // The call may be over.
    if let Ok(mut stream) = end.tunnel.stream(key) {
        let _ = stream.send_message(Envelope::new(bytes), bytes);
    }
    end.poll();
}

fn is_unary(end: &mut End<Server>, key: &mut Option<Key>) {
    let Some(key) = *key else { return };
    // The call may be over.
    if let Ok(mut stream) = end.tunnel.stream(key) {
        stream.set_method_kind(MethodKind::Unary);
    }
}

fn release(end: &mut End<Server>, key: &mut Option<Key>) {
    if let Some(key) = *key {
        // It may be gone already.
        let _ = end.tunnel.release(key);
    }
}

/// Calls that the core refuses.
fn refused() -> Vec<Timeline<Server>> {
    let long = "m".repeat(2_000);
    let value = "v".repeat(70_000);
    let many = vec![("k", "v"); 300];
    [
        call().method(b"a/b/c"),
        call().method(b""),
        call().method(b"foo"),
        call().method(b"svc/\xff"),
        call().method(format!("svc/{long}").as_bytes()),
        call().revision(9),
        call().headers(strings(&[("k", &value)])),
        call().headers(strings(&many)),
        call().timeout("0S"),
    ]
    .map(unary)
    .into()
}

/// Calls that end with an error of the handler's, or because of what the application behind an
/// honest peer did.
fn failing() -> Vec<Timeline<Server>> {
    // The handler fails at once, and the rest of the call comes late.
    let mut at_once = unary(call());
    at_once.insert(1, own(0, close));
    // The handler fails when it has the request.
    let mut later = unary(call());
    later.insert(3, own(1, close));
    let no_request = vec![
        peer(0, call()),
        own(0, is_unary),
        peer(0, half(FIRST)),
        peer(ROUND_TRIP, cancel(FIRST)),
    ];
    let two_requests = vec![
        peer(0, call()),
        own(0, is_unary),
        peer(0, msg(FIRST, 5, 5)),
        peer(0, msg(FIRST, 5, 5)),
        peer(0, half(FIRST)),
        peer(ROUND_TRIP, cancel(FIRST)),
    ];
    let oversized = vec![
        peer(0, call()),
        peer(0, msg(FIRST, 5 << 20, 16_384)),
        peer(0, more(FIRST, 16_384)),
        peer(0, half(FIRST)),
        peer(ROUND_TRIP, cancel(FIRST)),
    ];
    let truncated = vec![
        peer(0, call()),
        peer(0, msg(FIRST, 10, 1)),
        peer(0, half(FIRST)),
        peer(ROUND_TRIP, cancel(FIRST)),
    ];
    vec![
        at_once,
        later,
        no_request,
        two_requests,
        oversized,
        truncated,
    ]
}

/// An upload that our end gives up while a whole window of it is in flight, in chunks of `chunk`.
fn given_up(new: NewStream, chunk: usize) -> Timeline<Server> {
    let mut steps = vec![peer(0, new), own(0, close)];
    let chunks = if chunk == 1 { 64 } else { 65_536 / chunk };
    steps.extend((0..chunks).map(|_| peer(ROUND_TRIP / 2, msg(FIRST, chunk as u32, chunk))));
    steps.push(peer(ROUND_TRIP, half(FIRST)));
    steps.push(peer(ROUND_TRIP, cancel(FIRST)));
    steps
}

/// An upload without flow control, wholly in flight when it is refused.
fn refused_upload() -> Timeline<Server> {
    let mut steps = vec![peer(0, call().method(b"a/b/c").revision(0))];
    steps.push(peer(0, msg(FIRST, 1 << 20, 16_384)));
    steps.extend((1..64).map(|_| peer(0, more(FIRST, 16_384))));
    steps.push(peer(0, half(FIRST)));
    steps.push(peer(ROUND_TRIP, cancel(FIRST)));
    steps
}

/// An upload that its client cancels: a chunk and the half-close may follow the `cancel`.
fn cancelled_upload() -> Timeline<Server> {
    vec![
        peer(0, call()),
        peer(0, msg(FIRST, 1 << 20, 16_384)),
        peer(1, cancel(FIRST)),
        peer(1, more(FIRST, 16_384)),
        peer(1, half(FIRST)),
    ]
}

/// A response of one window, with a `window_update` for each chunk, as the Go module sends them,
/// before or behind the end of the call.
fn download(closes_at: u64) -> Timeline<Server> {
    let mut steps = unary(call());
    steps.pop();
    steps.push(own(1, |end, key| send(end, key, 65_536)));
    steps.push(own(closes_at, close));
    steps.extend((0..4).map(|_| peer(ROUND_TRIP + 1, wu(FIRST, 16_384))));
    steps.push(peer(2 * ROUND_TRIP, cancel(FIRST)));
    steps
}

/// Responses of one byte, each with its `window_update`.
fn trickle() -> Timeline<Server> {
    let mut steps = unary(call());
    steps.pop();
    steps.extend((0..64).map(|_| own(1, |end, key| send(end, key, 1))));
    steps.extend((0..64).map(|_| peer(ROUND_TRIP + 1, wu(FIRST, 1))));
    steps.push(own(ROUND_TRIP + 2, close));
    steps.push(peer(2 * ROUND_TRIP, cancel(FIRST)));
    steps
}

/// A download that its client cancels with all of it in flight.
fn cancelled_download() -> Timeline<Server> {
    let mut steps = vec![
        peer(0, call()),
        peer(0, half(FIRST)),
        own(0, |end, key| send(end, key, 65_536)),
        peer(ROUND_TRIP, cancel(FIRST)),
    ];
    steps.extend((0..4).map(|_| peer(ROUND_TRIP, wu(FIRST, 16_384))));
    steps
}

/// Streams that our end closes because its peer breaks the protocol.
fn broken() -> Vec<Timeline<Server>> {
    let broken = |frames: Vec<Frame>| {
        let mut steps = vec![peer(0, call())];
        steps.extend(frames.into_iter().map(|frame| peer(0, frame)));
        steps
    };
    vec![
        broken(vec![msg(FIRST, 0, 2)]),
        broken(vec![more(FIRST, 1)]),
        broken(vec![msg(FIRST, 10, 1), msg(FIRST, 10, 1)]),
        broken(vec![msg(FIRST, 3, 1), more(FIRST, 3)]),
        broken(vec![wu(FIRST, u32::MAX)]),
        broken(vec![msg(FIRST, 70_000, 65_536), more(FIRST, 1)]),
        broken(vec![none(FIRST)]),
    ]
}

/// Every way in which a call of a tunnel server ends.
fn outcomes() -> Run<Server> {
    let mut timelines = refused();
    timelines.extend(failing());
    timelines.extend([
        given_up(call(), 16_384),
        given_up(call().revision(0), 16_384),
        refused_upload(),
        cancelled_upload(),
        download(2),
        download(2 * ROUND_TRIP),
        trickle(),
        cancelled_download(),
    ]);
    timelines.extend(broken());
    Run::new(end(), timelines)
}

fn hung(new: NewStream, with_cancel: bool) -> Timeline<Server> {
    let mut steps = unary(new);
    if !with_cancel {
        steps.pop();
    }
    steps
}

pub(super) const OUTCOMES: Scenario = Scenario {
    name: "server: every outcome",
    tick: Duration::from_secs(1),
    play: |scenario, calls| outcomes().play(scenario, calls),
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "server: heartbeats and probes, idle",
        tick: Duration::from_secs(20),
        play: |scenario, calls| {
            let probe = new(FIRST, "grpctunnel.v1.Liveness/Probe");
            let steps = vec![
                (0, Step::Same(wu(-1, 0))),
                peer(0, probe),
                peer(0, half(FIRST)),
            ];
            Run::new(end(), vec![steps]).play(scenario, calls)
        },
    },
    Scenario {
        name: "server: hung backend, deadlines of 1 s",
        tick: TICK,
        play: |scenario, calls| {
            let mut end = end();
            end.releases = false;
            let mut steps = hung(call().timeout("1S"), false);
            steps.push(peer(101, cancel(FIRST)));
            steps.push(own(500, release));
            Run::new(end, vec![steps]).play(scenario, calls)
        },
    },
    Scenario {
        name: "server: hung backend, every slot taken",
        tick: TICK,
        play: |scenario, calls| {
            let mut end = end();
            end.releases = false;
            Run::new(end, vec![hung(call().timeout("1S"), false)]).play(scenario, calls)
        },
    },
    Scenario {
        name: "server: the same, a cancel after every call",
        tick: TICK,
        play: |scenario, calls| {
            let mut end = end();
            end.releases = false;
            Run::new(end, vec![hung(call().timeout("1S"), true)]).play(scenario, calls)
        },
    },
    Scenario {
        name: "server: calls that the core refuses, of each kind",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), refused()).play(scenario, calls),
    },
    Scenario {
        name: "server: calls that fail, of each kind",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), failing()).play(scenario, calls),
    },
    Scenario {
        name: "server: calls while it drains",
        tick: TICK,
        play: |scenario, calls| {
            let mut end = end();
            end.get(&Frame::from(new(FIRST - 1, "svc/m")));
            end.tunnel.drain(Time::ZERO, Duration::MAX);
            Run::new(end, vec![unary(call())]).play(scenario, calls)
        },
    },
    Scenario {
        name: "server: uploads given up with a window in flight",
        tick: TICK,
        play: |scenario, calls| {
            let steps = given_up(call(), 16_384);
            Run::new(end(), vec![steps]).play(scenario, calls)
        },
    },
    Scenario {
        name: "server: the same without flow control",
        tick: TICK,
        play: |scenario, calls| {
            let steps = given_up(call().revision(0), 16_384);
            Run::new(end(), vec![steps]).play(scenario, calls)
        },
    },
    Scenario {
        name: "server: the same byte by byte",
        tick: SLOW,
        play: |scenario, calls| Run::new(end(), vec![given_up(call(), 1)]).play(scenario, calls),
    },
    Scenario {
        name: "server: uploads without flow control, refused",
        tick: SLOW,
        play: |scenario, calls| Run::new(end(), vec![refused_upload()]).play(scenario, calls),
    },
    Scenario {
        name: "server: uploads that their client cancels",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), vec![cancelled_upload()]).play(scenario, calls),
    },
    Scenario {
        name: "server: downloads, an update for each chunk",
        tick: TICK,
        play: |scenario, calls| {
            let steps = download(2 * ROUND_TRIP);
            Run::new(end(), vec![steps]).play(scenario, calls)
        },
    },
    Scenario {
        name: "server: the same, the updates behind the end",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), vec![download(2)]).play(scenario, calls),
    },
    Scenario {
        name: "server: responses of one byte, an update for each",
        tick: SLOW,
        play: |scenario, calls| Run::new(end(), vec![trickle()]).play(scenario, calls),
    },
    Scenario {
        name: "server: downloads that their client cancels",
        tick: TICK,
        play: |scenario, calls| Run::new(end(), vec![cancelled_download()]).play(scenario, calls),
    },
];
