//! A hook that sees what a session does.

use super::event::CallKey;
use crate::code::Side;
use crate::reason::{StreamReason, TunnelReason};
use crate::time::Time;
use crate::wire::Revision;

/// What a tunnel of a session has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunnelState {
    /// It knows its revision, and may carry calls.
    Settled(Revision),
    /// The peer takes no more calls.
    PeerDraining,
    /// It is over, and this end has finished the carrier.
    Finished,
    /// It is over because of this.
    Failed(TunnelReason),
}

/// Sees what a session does, for logs and measurements. Each method does nothing unless it is
/// implemented; `()` implements none, and costs nothing.
pub trait Trace {
    /// A frame came, without its prefix, whose first byte is `flags`.
    fn frame_in(&mut self, now: Time, flags: u8, frame: &[u8]) {
        let _ = (now, flags, frame);
    }

    /// A frame goes out, its prefix included.
    fn frame_out(&mut self, now: Time, frame: &[u8]) {
        let _ = (now, frame);
    }

    /// The tunnel on this side has changed.
    fn state(&mut self, now: Time, side: Side, state: TunnelState) {
        let _ = (now, side, state);
    }

    /// A call was ended by this end because of a rule or a limit; the text of the reason names which.
    fn limit(&mut self, now: Time, call: CallKey, reason: StreamReason) {
        let _ = (now, call, reason);
    }
}

impl Trace for () {}
