//! What may be done to a pair: the whole interface of both ends, and the carrier between them.

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The tunnel client.
    Client,
    /// The tunnel server.
    Server,
}

/// The kind of a call's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither end knows it.
    Unknown,
    /// One request, one response.
    Unary,
    /// Requests, one response.
    ClientStreaming,
    /// One request, responses.
    ServerStreaming,
    /// Requests and responses.
    Bidi,
}

/// One step. Calls are chosen among those that the end has, by number modulo their count; what
/// makes no sense then is refused by the tunnel, and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The client opens a call.
    Open {
        /// The kind of its method.
        kind: Kind,
        /// Its deadline from now, in tenths of a second.
        deadline: Option<u8>,
        /// How many entries of metadata it has, modulo 4.
        headers: u8,
    },
    /// An end sends a message.
    Send {
        /// Which end.
        at: At,
        /// On which call.
        call: u8,
        /// Its size; held to some 40 windows.
        size: u16,
        /// How many of its bytes are at hand, modulo the size and one.
        ready: u16,
    },
    /// An end provides more of a message.
    Provide {
        /// Which end.
        at: At,
        /// On which call.
        call: u8,
        /// How many bytes at most.
        bytes: u16,
    },
    /// The client half-closes.
    HalfClose {
        /// Which call.
        call: u8,
    },
    /// The client cancels.
    Cancel {
        /// Which call.
        call: u8,
    },
    /// The server sends response headers.
    Respond {
        /// On which call.
        call: u8,
        /// How many entries they have, modulo 4.
        headers: u8,
    },
    /// The server closes.
    Close {
        /// Which call.
        call: u8,
        /// With which code, modulo 17.
        code: u8,
        /// How long an OK waits for the half-close, in tenths of a second.
        hold: Option<u8>,
    },
    /// The reader of an end takes bytes.
    Read {
        /// Which end.
        at: At,
        /// On which call.
        call: u8,
        /// How many at most.
        bytes: u16,
    },
    /// The reader of an end goes away.
    StopReading {
        /// Which end.
        at: At,
        /// On which call.
        call: u8,
    },
    /// An end lets go of a call, finished or not.
    Release {
        /// Which end.
        at: At,
        /// Which call.
        call: u8,
    },
    /// An end sends frames.
    Transmit {
        /// Which end.
        at: At,
        /// How many at most, and one.
        frames: u8,
    },
    /// An end receives frames.
    Deliver {
        /// Which end.
        at: At,
        /// How many at most, and one.
        frames: u8,
    },
    /// Time passes.
    Advance {
        /// How much, in tenths of a second.
        tenths: u8,
    },
    /// An end drains.
    Drain {
        /// Which end.
        at: At,
        /// The limit, in tenths of a second.
        tenths: u8,
    },
    /// The carrier breaks.
    Cut,
}
