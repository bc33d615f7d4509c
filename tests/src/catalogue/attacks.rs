//! The attack table: what a peer could try, and what must hold then.

use super::Layer;

/// One numbered attack.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its number, from 1.
    pub number: u16,
    /// The layer that holds the bound.
    pub layer: Layer,
    /// What the peer does.
    pub attack: &'static str,
    /// What holds.
    pub bound: &'static str,
}

const fn core(number: u16, attack: &'static str, bound: &'static str) -> Attack {
    Attack {
        number,
        layer: Layer::Core,
        attack,
        bound,
    }
}

const fn adapter(number: u16, attack: &'static str, bound: &'static str) -> Attack {
    Attack {
        number,
        layer: Layer::Adapter,
        attack,
        bound,
    }
}

/// Every attack, in order. The tests of those on the adapters are beside the adapters.
pub const ATTACKS: &[Attack] = &[
    core(
        1,
        "streams without end",
        "at most limits.max_streams that are not retired; the excess is refused",
    ),
    core(
        2,
        "new_stream and cancel, over and over",
        "a stream counts until its handler has ended; cancels never end the tunnel",
    ),
    core(
        3,
        "data that makes this end close its stream",
        "as for cancels; limits.protocol_errors",
    ),
    core(
        4,
        "replies that are never read",
        "three control frames a stream, and limits.pending_rejections",
    ),
    adapter(
        5,
        "a task for each refused stream",
        "tasks only after admission",
    ),
    core(
        6,
        "a stream that is never read",
        "the window, and two and a quarter times as much for message boundaries",
    ),
    core(
        7,
        "empty messages and empty chunks",
        "no memory for them; limits.empty_chunks",
    ),
    core(
        8,
        "a message in tiny chunks",
        "nothing for a chunk but its bytes",
    ),
    core(
        9,
        "huge messages that drip",
        "limits.max_message; memory for what has come alone",
    ),
    core(
        10,
        "windows driven over their edges",
        "checked before anything is taken",
    ),
    core(
        11,
        "credit byte by byte",
        "one data frame for each update, and one for each KiB",
    ),
    core(
        12,
        "window updates for nothing",
        "limits.window_updates and limits.unanswered_frames",
    ),
    core(
        13,
        "frames that mean nothing",
        "limits.useless_frames and limits.late_streams",
    ),
    core(
        14,
        "frames among very many streams",
        "no scan of streams and no allocation for what comes most",
    ),
    adapter(
        15,
        "input without end",
        "64 frames or pieces of one, or 256 KiB, at a time, then the others",
    ),
    core(
        16,
        "huge metadata",
        "limits.decode, while it is read; nothing collected",
    ),
    core(
        17,
        "one key again and again",
        "no map; every entry is walked once",
    ),
    core(
        18,
        "nesting and padding",
        "no recursion on input; 32 unknown groups deep",
    ),
    core(19, "the largest frames", "limits.max_frame"),
    core(
        20,
        "tunnels that never settle",
        "limits.open_timeout, limits.settings_timeout",
    ),
    core(
        21,
        "a reader of a byte a second",
        "nothing is queued but one message of each stream's caller",
    ),
    core(
        22,
        "one huge message",
        "a quantum of 16 KiB a stream, in turns; control frames first",
    ),
    core(
        23,
        "very many deadlines",
        "one timer a tunnel, no allocation when they expire",
    ),
    core(
        24,
        "calls that have expired when they come",
        "no handler is started",
    ),
    adapter(
        25,
        "handlers that panic or never end",
        "no other stream is touched",
    ),
    core(
        26,
        "small input, large output",
        "a reply of at most twice the input and 64 bytes",
    ),
    adapter(
        27,
        "headers that mean something to HTTP",
        "stripped, or the call is refused",
    ),
    adapter(
        28,
        "metadata that forges the tunnel's peer",
        "its identity is never metadata",
    ),
    core(29, "strange ids", "any value, any gap"),
    core(
        30,
        "a long life",
        "nothing is left of calls that have ended in any way",
    ),
    adapter(
        31,
        "floods of the carrier's own frames",
        "limits of HTTP/2 set explicitly",
    ),
    adapter(
        32,
        "an error in the log for each frame",
        "two lines a tunnel; counters for the rest",
    ),
];
