//! The questions by which an end finds out whether its peer is alive.

use crate::limits::Liveness;
use crate::time::Time;

/// How this end asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Asks {
    Never,
    WithProbe,
    WithPing,
}

/// What decides when something is sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::tunnel) struct Rules {
    pub(in crate::tunnel) limits: Liveness,
    pub(in crate::tunnel) asks: Asks,
    pub(in crate::tunnel) heartbeats: bool,
}

/// The half-close of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HalfClose {
    NotDue,
    Pending,
    Sent,
}

/// A question that was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// A stream of the core's own, which holds no record.
    Probe {
        id: i64,
        half_close: HalfClose,
    },
    Ping(u64),
}

/// A question that is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) at: Time,
    /// Something was received since.
    pub(super) heard: bool,
    /// The carrier has taken it. Its answer is due from then on.
    pub(super) taken: bool,
    /// The caller asked, ahead of time: a missing answer ends nothing.
    pub(super) early: bool,
}

/// A frame that goes ahead of the streams'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Urgent {
    Pong(u64),
    Ping(u64),
    /// A probe is to be opened; [`LivenessState::probed`](super::LivenessState::probed) is to be told.
    Probe,
    /// The half-close of the probe with this id.
    HalfClose(i64),
}

/// What the timers have found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tunnel) enum Verdict {
    /// Nothing new.
    Unchanged,
    /// A question was answered by nothing, and is asked again.
    Silent,
    /// Two were.
    Dead,
}
