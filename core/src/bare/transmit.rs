//! Which tunnel of a pipe sends next.

use super::Pipe;
use crate::code::Side;
use crate::storage::Storage;
use crate::time::Time;
use crate::tunnel::{Role, Tunnel};
use crate::types::{Body, Transmit};

impl<S: Storage> Pipe<S> {
    /// The next frame, its flag byte included, and whose memory its body names. As
    /// [`Tunnel::poll_transmit`].
    #[must_use = "a frame that is not sent is lost, and the tunnel with it"]
    pub fn poll_transmit(&mut self, now: Time) -> Option<(Side, Transmit)> {
        self.advance(now);
        self.spread();
        let found = match self.next(now) {
            // The first one may have waited for the second, which has just finished.
            None if self.draining => self.next(now),
            found => found,
        };
        self.spread();
        let (side, mut transmit) = found?;
        transmit.prefix.set_flags(self.end.flags(side));
        let len = len_of(&transmit);
        self.ahead = match side {
            Side::Client => self.ahead.saturating_add(len),
            Side::Server => self.ahead.saturating_sub(len),
        };
        Some((side, transmit))
    }

    /// Whether `poll_transmit` may have something to do. False is certain until the time of
    /// `poll_timeout`.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        let rest = self.rests(Side::Client) && self.rests(Side::Server);
        self.client.as_ref().is_some_and(Tunnel::has_frames)
            || self.server.as_ref().is_some_and(Tunnel::has_frames)
            || (self.draining && rest && !self.is_ended())
    }

    fn next(&mut self, now: Time) -> Option<(Side, Transmit)> {
        let first = match self.ahead {
            1.. => Side::Server,
            _ => Side::Client,
        };
        if let Some(transmit) = self.transmit_of(first, now) {
            return Some((first, transmit));
        }
        let second = other(first);
        let transmit = self.transmit_of(second, now)?;
        // An idle tunnel accrues no deficit.
        self.ahead = 0;
        Some((second, transmit))
    }

    fn transmit_of(&mut self, side: Side, now: Time) -> Option<Transmit> {
        self.hold();
        match side {
            Side::Client => self.client.as_mut()?.poll_transmit(now),
            Side::Server => self.server.as_mut()?.poll_transmit(now),
        }
    }

    /// The first of two that are drained waits for the other, since both end together.
    fn hold(&mut self) {
        let (client, server) = (self.rests(Side::Client), self.rests(Side::Server));
        if let Some(tunnel) = &mut self.client {
            tunnel.hold_finish(!server);
        }
        if let Some(tunnel) = &mut self.server {
            tunnel.hold_finish(!client);
        }
    }

    /// Whether a tunnel has nothing left to do, or is not there.
    fn rests(&self, side: Side) -> bool {
        fn rests<R: Role, S: Storage>(tunnel: Option<&Tunnel<R, S>>) -> bool {
            tunnel.is_none_or(|tunnel| {
                tunnel.is_ended() || (tunnel.active_streams() == 0 && !tunnel.has_frames())
            })
        }
        match side {
            Side::Client => rests(self.client.as_ref()),
            Side::Server => rests(self.server.as_ref()),
        }
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

fn len_of(transmit: &Transmit) -> i64 {
    let body = match &transmit.body {
        Body::None => 0,
        Body::Static(text) => text.len(),
        Body::Caller { range, .. } => range.len(),
    };
    let len = transmit.prefix.len().saturating_add(body);
    i64::try_from(len).unwrap_or(i64::MAX)
}
