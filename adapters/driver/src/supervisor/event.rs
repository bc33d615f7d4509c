//! What happens at a supervisor.

use std::time::Duration;

use crate::supervisor::interruption::Interruption;

/// Something that happened at a [`Supervisor`](crate::Supervisor).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SupervisorEvent<'e> {
    /// The name of the gateway.
    pub gateway: &'e str,
    /// Which tunnel: its place in [`SupervisorState::tunnels`](crate::SupervisorState::tunnels).
    pub tunnel: usize,
    /// What happened.
    pub kind: SupervisorEventKind<'e>,
}

/// What happened to a supervised tunnel.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SupervisorEventKind<'e> {
    /// It is open.
    Opened,
    /// It was not opened.
    Failed(&'e Interruption),
    /// It drains: another one is opened now, or after a pause if it did not live.
    Draining,
    /// It is over.
    Ended(&'e Interruption),
    /// The next attempt is made after this pause.
    Waiting(Duration),
    /// No other attempt is made.
    GaveUp(&'e Interruption),
}
