//! What every input does in every state, played against the core and compared with the tables in
//! its documentation.
//!
//! `UPDATE_STATE_TABLES=1 cargo test -p grpctunnel-tests --test core state_tables` writes them anew.

use core::time::Duration;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{
    Cause, Client, Hold, MethodKind, Negotiation, OpenOptions, Opening, Role, Server, Time,
};
use grpctunnel_tests::harness::frames::{
    cancel, close, half, hdr, more, msg, new, none, set, set_with, wu,
};
use grpctunnel_tests::harness::{OnHeap, Script, client, client_with, config, server, server_with};

const SECOND: Duration = Duration::from_secs(1);

/// A state, and how to get there.
struct State<R: Role> {
    name: &'static str,
    what: &'static str,
    enter: fn() -> Script<R, OnHeap>,
}

/// An input.
struct Input<R: Role> {
    name: &'static str,
    apply: fn(&mut Script<R, OnHeap>),
}

/// Events and frames, or `·` where there are none.
fn outcome<R: Role>(state: &State<R>, input: &Input<R>) -> String {
    let mut t = (state.enter)();
    t.seen();
    t.sent();
    (input.apply)(&mut t);
    t.settle();
    let side = t.end.side();
    let seen: Vec<String> = t.seen().iter().map(|seen| seen.notation(side)).collect();
    let sent: Vec<String> = t.sent().iter().map(ToString::to_string).collect();
    let mut cell = seen.join(" ");
    if !sent.is_empty() {
        let _ = write!(
            cell,
            "{}→ {}",
            if cell.is_empty() { "" } else { " " },
            sent.join(" ")
        );
    }
    if cell.is_empty() {
        "·".to_owned()
    } else {
        format!("`{cell}`")
    }
}

/// One table: a row for each input, a column for each state.
fn table<R: Role>(title: &str, states: &[State<R>], inputs: &[Input<R>]) -> String {
    let mut out = format!("## {title}\n\n");
    for state in states {
        let _ = writeln!(out, "- **{}**: {}", state.name, state.what);
    }
    out.push_str("\n| input |");
    for state in states {
        let _ = write!(out, " {} |", state.name);
    }
    out.push_str("\n| --- |");
    out.push_str(&" --- |".repeat(states.len()));
    out.push('\n');
    for input in inputs {
        let _ = write!(out, "| {} |", input.name);
        for state in states {
            let _ = write!(out, " {} |", outcome(state, input));
        }
        out.push('\n');
    }
    out
}

fn ok_held(t: &mut Script<Server, OnHeap>, hold: Hold) {
    let status = StatusHead::default();
    let _ = t.act(|end, now| end.close(now, 1, status, &[], hold));
}

fn blocked_server() -> Script<Server, OnHeap> {
    let mut t = server::<OnHeap>();
    t.get(new(1, "svc/m").window(0).timeout("100S"));
    t.seen();
    t.send(1, 5);
    t
}

fn open_server() -> Script<Server, OnHeap> {
    let mut t = server::<OnHeap>();
    t.get(new(1, "svc/m").timeout("100S"));
    t.seen();
    t
}

const SERVER_STATES: &[State<Server>] = &[
    State {
        name: "never created",
        what: "no id up to this one was used",
        enter: server::<OnHeap>,
    },
    State {
        name: "open",
        what: "`new_stream` came",
        enter: open_server,
    },
    State {
        name: "in a message",
        what: "1 of 10 bytes of a message came",
        enter: || {
            let mut t = open_server();
            t.get(msg(1, 10, 1));
            t
        },
    },
    State {
        name: "half-closed",
        what: "`half_close` came",
        enter: || {
            let mut t = open_server();
            t.get(half(1));
            t
        },
    },
    State {
        name: "blocked",
        what: "a response waits for credit",
        enter: blocked_server,
    },
    State {
        name: "held",
        what: "closed with OK, held until the half-close",
        enter: || {
            let mut t = open_server();
            ok_held(&mut t, Hold::UntilHalfClose { max: 10 * SECOND });
            t
        },
    },
    State {
        name: "closing",
        what: "closed with OK behind a response that waits for credit",
        enter: || {
            let mut t = blocked_server();
            ok_held(&mut t, Hold::Never);
            t
        },
    },
    State {
        name: "finished",
        what: "`close_stream` was sent",
        enter: || {
            let mut t = open_server();
            ok_held(&mut t, Hold::Never);
            t
        },
    },
];

const SERVER_INPUTS: &[Input<Server>] = &[
    Input {
        name: "`new_stream` with its id",
        apply: |t| {
            t.get(new(1, "svc/m"));
        },
    },
    Input {
        name: "a whole message",
        apply: |t| {
            t.get(msg(1, 5, 5));
        },
    },
    Input {
        name: "a message's beginning",
        apply: |t| {
            t.get(msg(1, 5, 2));
        },
    },
    Input {
        name: "9 bytes more",
        apply: |t| {
            t.get(more(1, 9));
        },
    },
    Input {
        name: "10 bytes more",
        apply: |t| {
            t.get(more(1, 10));
        },
    },
    Input {
        name: "bytes beyond the window",
        apply: |t| {
            t.get(msg(1, 70_000, 65_537));
        },
    },
    Input {
        name: "`half_close`",
        apply: |t| {
            t.get(half(1));
        },
    },
    Input {
        name: "`cancel`",
        apply: |t| {
            t.get(cancel(1));
        },
    },
    Input {
        name: "`window_update` of 0",
        apply: |t| {
            t.get(wu(1, 0));
        },
    },
    Input {
        name: "`window_update` of 5",
        apply: |t| {
            t.get(wu(1, 5));
        },
    },
    Input {
        name: "`window_update` of 2^32-1",
        apply: |t| {
            t.get(wu(1, u32::MAX));
        },
    },
    Input {
        name: "no member",
        apply: |t| {
            t.get(none(1));
        },
    },
    Input {
        name: "10 s pass",
        apply: |t| {
            t.wait(10 * SECOND);
        },
    },
    Input {
        name: "the deadline passes",
        apply: |t| {
            t.wait(100 * SECOND);
        },
    },
    Input {
        name: "the carrier finishes",
        apply: |t| {
            t.ends(Cause::Finished);
        },
    },
    Input {
        name: "the carrier fails",
        apply: |t| {
            t.ends(Cause::Failed);
        },
    },
    Input {
        name: "drain, and its limit",
        apply: |t| {
            t.act(|end, now| end.drain(now, SECOND));
            t.seen();
            t.sent();
            t.wait(SECOND);
        },
    },
];

fn open_client(kind: MethodKind, window: u32) -> Script<Client, OnHeap> {
    let mut t = client_with::<OnHeap>(config::<OnHeap>(), Opening::Accepted(Negotiation::On));
    t.get(set(-1, window, &[0, 1]));
    t.seen();
    t.open_with(OpenOptions {
        deadline: Some(Time::from_millis(25_000)),
        kind,
    });
    t
}

const CLIENT_STATES: &[State<Client>] = &[
    State {
        name: "never created",
        what: "no id up to this one was used",
        enter: client::<OnHeap>,
    },
    State {
        name: "open",
        what: "`new_stream` was sent; the kind of its method is not known",
        enter: || open_client(MethodKind::Unknown, 65_536),
    },
    State {
        name: "unary",
        what: "the same, of a unary method",
        enter: || open_client(MethodKind::Unary, 65_536),
    },
    State {
        name: "answered",
        what: "headers and 1 of 10 bytes of a response came",
        enter: || {
            let mut t = open_client(MethodKind::Unknown, 65_536);
            t.get(hdr(1, &[]));
            t.seen();
            t.get(msg(1, 10, 1));
            t
        },
    },
    State {
        name: "blocked",
        what: "a request waits for credit",
        enter: || {
            let mut t = open_client(MethodKind::Unknown, 0);
            t.send(1, 5);
            t
        },
    },
    State {
        name: "cancelled",
        what: "`cancel` was sent",
        enter: || {
            let mut t = open_client(MethodKind::Unknown, 65_536);
            let _ = t.act(|end, _| end.cancel(1));
            t
        },
    },
    State {
        name: "finished",
        what: "`close_stream` came",
        enter: || {
            let mut t = open_client(MethodKind::Unknown, 65_536);
            t.get(close(1, 0));
            t
        },
    },
];

const CLIENT_INPUTS: &[Input<Client>] = &[
    Input {
        name: "`response_headers`",
        apply: |t| {
            t.get(hdr(1, &[]));
        },
    },
    Input {
        name: "a whole message",
        apply: |t| {
            t.get(msg(1, 5, 5));
        },
    },
    Input {
        name: "two messages",
        apply: |t| {
            t.get(msg(1, 5, 5));
            let (seen, sent) = (t.seen(), t.sent());
            drop((seen, sent));
            t.get(msg(1, 5, 5));
        },
    },
    Input {
        name: "9 bytes more",
        apply: |t| {
            t.get(more(1, 9));
        },
    },
    Input {
        name: "10 bytes more",
        apply: |t| {
            t.get(more(1, 10));
        },
    },
    Input {
        name: "bytes beyond the window",
        apply: |t| {
            t.get(msg(1, 70_000, 65_537));
        },
    },
    Input {
        name: "`close_stream` with OK",
        apply: |t| {
            t.get(close(1, 0));
        },
    },
    Input {
        name: "`close_stream` with NOT_FOUND",
        apply: |t| {
            t.get(close(1, 5));
        },
    },
    Input {
        name: "`window_update` of 0",
        apply: |t| {
            t.get(wu(1, 0));
        },
    },
    Input {
        name: "`window_update` of 5",
        apply: |t| {
            t.get(wu(1, 5));
        },
    },
    Input {
        name: "`window_update` of 2^32-1",
        apply: |t| {
            t.get(wu(1, u32::MAX));
        },
    },
    Input {
        name: "`settings` on it",
        apply: |t| {
            t.get(set(1, 5, &[0, 1]));
        },
    },
    Input {
        name: "no member",
        apply: |t| {
            t.get(none(1));
        },
    },
    Input {
        name: "the deadline passes",
        apply: |t| {
            t.wait(25 * SECOND);
        },
    },
    Input {
        name: "the carrier finishes",
        apply: |t| {
            t.ends(Cause::Finished);
        },
    },
    Input {
        name: "the carrier fails",
        apply: |t| {
            t.ends(Cause::Failed);
        },
    },
];

const TUNNEL_STATES: &[State<Client>] = &[
    State {
        name: "opening",
        what: "response headers are outstanding",
        enter: || client_with::<OnHeap>(config::<OnHeap>(), Opening::Requested),
    },
    State {
        name: "settling",
        what: "settings are outstanding",
        enter: || client_with::<OnHeap>(config::<OnHeap>(), Opening::Accepted(Negotiation::On)),
    },
    State {
        name: "open",
        what: "settled; one call is open",
        enter: || client::<OnHeap>().with_call(),
    },
    State {
        name: "draining",
        what: "the same, and this end drains",
        enter: || {
            let mut t = client::<OnHeap>().with_call();
            t.act(|end, now| end.drain(now, 30 * SECOND));
            t
        },
    },
    State {
        name: "finished",
        what: "this end has finished its side",
        enter: || {
            let mut t = client::<OnHeap>();
            t.act(|end, now| end.drain(now, 30 * SECOND));
            t
        },
    },
    State {
        name: "ended",
        what: "the carrier is gone",
        enter: || {
            let mut t = client::<OnHeap>();
            t.ends(Cause::Failed);
            t
        },
    },
];

const TUNNEL_INPUTS: &[Input<Client>] = &[
    Input {
        name: "headers with `on`",
        apply: |t| t.act(|end, now| end.opened(now, Negotiation::On)),
    },
    Input {
        name: "headers without",
        apply: |t| t.act(|end, now| end.opened(now, Negotiation::Off)),
    },
    Input {
        name: "settings",
        apply: |t| {
            t.get(set(-1, 65_536, &[0, 1]));
        },
    },
    Input {
        name: "settings of revision zero",
        apply: |t| {
            t.get(set(-1, 65_536, &[0]));
        },
    },
    Input {
        name: "settings of unknown revisions",
        apply: |t| {
            t.get(set(-1, 65_536, &[7]));
        },
    },
    Input {
        name: "settings with an offer",
        apply: |t| {
            t.get(set_with(65_536, &[3, 4]));
        },
    },
    Input {
        name: "a frame for a stream that never was",
        apply: |t| {
            t.get(hdr(9, &[]));
        },
    },
    Input {
        name: "bytes that are no frame",
        apply: |t| {
            t.get(vec![0xff]);
        },
    },
    Input {
        name: "5 s pass",
        apply: |t| {
            t.wait(5 * SECOND);
        },
    },
    Input {
        name: "30 s pass",
        apply: |t| {
            t.wait(30 * SECOND);
        },
    },
    Input {
        name: "drain",
        apply: |t| t.act(|end, now| end.drain(now, 30 * SECOND)),
    },
    Input {
        name: "the carrier finishes",
        apply: |t| {
            t.ends(Cause::Finished);
        },
    },
    Input {
        name: "the carrier fails",
        apply: |t| {
            t.ends(Cause::Failed);
        },
    },
];

fn is_committed(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../core/docs")
        .join(name);
    if env::var_os("UPDATE_STATE_TABLES").is_some() {
        assert!(
            fs::write(&path, table).is_ok(),
            "{} can be written",
            path.display()
        );
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed, table,
        "left: core/docs/{name}, right: what the core does; if it is right, run this test with \
         UPDATE_STATE_TABLES=1 and read the difference"
    );
}

#[test]
fn the_tables_say_what_the_core_does() {
    let server = table(
        "A stream at the tunnel server",
        SERVER_STATES,
        SERVER_INPUTS,
    );
    is_committed("server.md", &server);
    let client = table(
        "A stream at the tunnel client",
        CLIENT_STATES,
        CLIENT_INPUTS,
    );
    is_committed("client.md", &client);
    let tunnel = table("The tunnel, at its client", TUNNEL_STATES, TUNNEL_INPUTS);
    is_committed("tunnel.md", &tunnel);
    let accepted = Opening::Accepted(Negotiation::On);
    assert!(
        server_with::<OnHeap>(config::<OnHeap>(), accepted)
            .end
            .tunnel
            .is_open()
    );
}
