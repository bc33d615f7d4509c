//! What a tunnel reports by itself.

use core::time::Duration;

use super::call::Key;
use super::input::{End, Unread};
use crate::error::TunnelError;
use crate::wire::Revision;

/// What a tunnel waits for; see [`Tunnel::next_timer`](crate::Tunnel::next_timer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timer {
    /// The opening fails: [`Limits::open_timeout`](crate::Limits::open_timeout).
    Opening,
    /// The opening fails: [`Limits::settings_timeout`](crate::Limits::settings_timeout).
    Settings,
    /// The carrier is aborted, because the peer did not finish it: [`Limits::finish_grace`](crate::Limits::finish_grace).
    Grace,
    /// The deadline of a call.
    Deadline(Key),
    /// A [`Hold`](crate::Hold) is over: the OK of a call leaves.
    Hold(Key),
    /// The limit given to [`drain`](crate::Tunnel::drain).
    Drain,
    /// The slowest reader without flow control loses its stream:
    /// [`RevisionZeroLimits::stall`](crate::RevisionZeroLimits::stall).
    Stall,
    /// A heartbeat is sent: [`Liveness::heartbeat`](crate::Liveness::heartbeat).
    Heartbeat,
    /// A probe, its half-close or a ping is sent.
    Question,
    /// The answer to it was due: [`Liveness::answer`](crate::Liveness::answer).
    Answer,
}

/// What happened at a tunnel, besides what each frame meant.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "each event is reported once"]
pub enum Event {
    /// The tunnel client knows which revision it uses, and may open streams.
    Settled(Revision),
    /// `open` may be called again after `NotSettled` or `Full`.
    MayOpen,
    /// The last message of the stream has left: its memory is free, `send_message` may be called.
    Writable(Key),
    /// The stream ended.
    Ended {
        /// The stream.
        stream: Key,
        /// How.
        why: End<'static>,
        /// What becomes of whole messages that were not read.
        unread: Unread,
    },
    /// The tunnel server has said that it drains: no call can be opened any more. Those that it
    /// did not handle end with [`TunnelReason::PeerDraining`](crate::TunnelReason::PeerDraining). At the tunnel client only.
    Draining,
    /// A probe or ping was answered after this time. See [`Limits::liveness`](crate::Limits::liveness).
    RoundTrip(Duration),
    /// Whether the peer answers: false when a probe or ping was answered by nothing, then true
    /// when something is received again. A tunnel that does not answer is not to be picked for
    /// new calls.
    Responsive(bool),
    /// What the carrier must do now. Nothing more will be transmitted.
    Carrier(Carrier),
}

/// What the carrier must do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the carrier stays open until it is done"]
pub enum Carrier {
    /// Finish cleanly: half-close at a network client, OK trailers at a network server.
    Finish,
    /// Give up: reset at a network client, this error's status at a network server.
    Abort(TunnelError),
}

/// How the carrier ended, as the caller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Cleanly: half-close of a network client, OK trailers of a network server.
    Finished,
    /// In any other way.
    Failed,
}

/// What a tunnel counted in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Streams opened (client) or accepted (server).
    pub opened: u64,
    /// Streams refused by the tunnel server's core.
    pub refused: u64,
    /// Frames that meant nothing.
    pub ignored: u64,
    /// Streams ended by a violation.
    pub violations: u64,
    /// Deadlines that passed.
    pub deadlines: u64,
}
