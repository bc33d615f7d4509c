//! A peer that says nothing since a call was sent to it.

use grpctunnel_core::Time;

use crate::deferred::Deferred;
use crate::options::Options;
use crate::tunnel::state::{State, TunnelRole};

/// What is known of a peer's silence. The core's liveness finds out, minutes later, whether a tunnel
/// is to end; this is about where the next call goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Silence {
    /// The peer was heard since the last call was sent.
    #[default]
    None,
    /// A call was sent at this time, and nothing was heard since.
    Called(Time),
    /// The peer was asked at this time, once.
    Asked(Time),
    /// It did not answer in time.
    Doubted,
}

impl Silence {
    /// A call has left.
    pub(crate) const fn sent_call(&mut self, now: Time) {
        if let Self::None = self {
            *self = Self::Called(now);
        }
    }

    /// Something has come, whatever it is.
    pub(crate) const fn heard(&mut self) {
        *self = Self::None;
    }

    pub(crate) const fn is_doubted(self) -> bool {
        matches!(self, Self::Doubted)
    }

    fn due(self, options: &Options) -> Time {
        match self {
            Self::None | Self::Doubted => Time::MAX,
            Self::Called(at) => at.saturating_add(options.ask_after),
            Self::Asked(at) => at.saturating_add(options.doubt_after),
        }
    }
}

impl<R: TunnelRole> State<R> {
    /// When the silence needs attention. While nothing is read it is this end's own.
    pub(crate) fn silence_due(&self) -> Time {
        if self.paused || self.tunnel.is_ended() {
            Time::MAX
        } else {
            self.silence.due(&self.options)
        }
    }

    /// Asks the peer, or doubts it, if that is due.
    pub(crate) fn handle_silence(&mut self, deferred: &mut Deferred) {
        let now = self.now;
        if self.silence_due() > now {
            return;
        }
        self.silence = match self.silence {
            Silence::Called(_) => {
                self.tunnel.ask(now);
                Silence::Asked(now)
            }
            Silence::Asked(_) => Silence::Doubted,
            other => other,
        };
        self.handle_events(deferred);
    }
}
