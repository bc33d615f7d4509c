//! The properties that the whole must have, and what holds each.

/// What holds a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A fuzz target of this name, which is replayed and run.
    Target(&'static str),
    /// A test function of this name.
    Test(&'static str),
    /// A count of instructions of this name, which `.ci/instructions` holds to a limit.
    Counted(&'static str),
}

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its number.
    pub number: u8,
    /// The property in words.
    pub says: &'static str,
    /// What holds it.
    pub held_by: &'static [Holder],
}

const fn property(number: u8, says: &'static str, held_by: &'static [Holder]) -> Property {
    Property {
        number,
        says,
        held_by,
    }
}

use Holder::{Counted, Target, Test};

/// All properties of the core and the receive buffer, by number. Number 14 is about futures: the
/// adapters', see `adapters/driver/tests/dropped.rs`.
pub const PROPERTIES: &[Property] = &[
    property(
        1,
        "no panic, overflow or endless recursion: any bytes, any order, any clock",
        &[
            Target("client_input"),
            Target("server_input"),
            Target("wire_decode"),
            Target("framer"),
        ],
    ),
    property(
        2,
        "credit is conserved in each direction, at each step",
        &[
            Target("pair"),
            Test("receive_window_conserves_credit_in_eight_bits"),
        ],
    ),
    property(
        3,
        "every opened stream has exactly one terminal event, and nothing behind it",
        &[
            Target("client_input"),
            Target("server_input"),
            Target("pair"),
        ],
    ),
    property(
        4,
        "what is delivered is a prefix of what was sent, byte for byte",
        &[Target("pair")],
    ),
    property(
        5,
        "headers, then messages, then the end",
        &[
            Target("client_input"),
            Target("server_input"),
            Target("pair"),
        ],
    ),
    property(
        6,
        "what is done to one stream shows on no other",
        &[Target("isolation")],
    ),
    property(
        7,
        "memory is within the published bound after every step",
        &[
            Target("limits"),
            Test("a_peer_that_keeps_windows_full_makes_them_grow_within_their_bounds"),
        ],
    ),
    property(
        8,
        "control frames and answers are bounded by what came",
        &[Target("client_input"), Target("server_input")],
    ),
    property(
        9,
        "what we say passes a strict validator",
        &[
            Target("pair"),
            Target("client_input"),
            Target("server_input"),
        ],
    ),
    property(
        10,
        "the same inputs give the same frames, whatever the memory",
        &[
            Target("pair"),
            Target("client_input"),
            Target("server_input"),
        ],
    ),
    property(
        11,
        "from every state some schedule finishes every call; a fair one with reading applications does",
        &[
            Target("pair"),
            Test("a_call_that_ends_at_any_moment_leaves_nothing_behind"),
            Test("a_tunnel_that_ends_at_any_moment_ends_its_calls"),
        ],
    ),
    property(
        12,
        "two ends refine a reference model",
        &[Target("pair"), Test("our_ends_never_accuse_each_other")],
    ),
    property(
        13,
        "every way to negotiate gives the documented revision",
        &[Test("every_negotiation_gives_the_documented_revision")],
    ),
    property(
        15,
        "behind the last stream nothing is left",
        &[
            Target("pair"),
            Target("client_input"),
            Target("server_input"),
        ],
    ),
    property(
        16,
        "with flow control a reader that stalls delays no other stream",
        &[
            Test("readers_that_both_wait_hold_up_nobody_else"),
            Target("isolation"),
        ],
    ),
    property(
        17,
        "the codec reads what it writes, and agrees with prost on any bytes",
        &[Target("wire_roundtrip"), Target("wire_decode")],
    ),
    property(
        18,
        "the cost of a frame does not grow with the streams",
        &[
            Counted("receive/100000/in-order"),
            Counted("receive/100000/random"),
            Counted("receive/100000/retired"),
            Counted("send/100000/in-order"),
            Counted("send/100000/random"),
        ],
    ),
];
