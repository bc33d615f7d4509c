//! What a tunnel counted in its life.

/// What a tunnel counted in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Calls opened (tunnel client) or accepted (tunnel server).
    pub opened: u64,
    /// Calls that the tunnel server refused before a handler saw them.
    pub refused: u64,
    /// Frames of the peer that meant nothing.
    pub ignored: u64,
    /// Calls that were ended because the peer broke a rule or reached a limit.
    pub violations: u64,
    /// Deadlines that passed.
    pub deadlines: u64,
    /// Metadata values and status details that were left out because they cannot be carried.
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
