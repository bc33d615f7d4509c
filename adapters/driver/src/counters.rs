//! What a tunnel counts.

/// What a tunnel has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Calls opened (tunnel client) or accepted (tunnel server).
    pub opened: u64,
    /// Calls that the tunnel server refused before a handler saw them.
    pub refused: u64,
    /// Frames of the peer that were ignored, as the protocol demands.
    pub ignored: u64,
    /// Calls that were ended because the peer broke a rule or reached a limit.
    pub violations: u64,
    /// Deadlines that passed.
    pub deadlines: u64,
    /// Metadata values and status details that were dropped because they cannot be sent.
    pub dropped: u64,
}

impl Counters {
    pub(crate) fn new(core: grpctunnel_core::Counters, dropped: u64) -> Self {
        Self {
            opened: core.opened,
            refused: core.refused,
            ignored: core.ignored,
            violations: core.violations,
            deadlines: core.deadlines,
            dropped,
        }
    }
}
