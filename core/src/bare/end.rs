//! How the tunnels of a pipe end, which they do together.

use core::time::Duration;

use super::{Announced, Pipe, PipeEvent};
use crate::code::Side;
use crate::error::TunnelError;
use crate::reason::TunnelReason;
use crate::storage::Storage;
use crate::time::Time;
use crate::tunnel::{Role, Tunnel};
use crate::types::{Carrier, Cause, Event};

impl<S: Storage> Pipe<S> {
    /// The next event. To be polled until there is none, after every call that is not a getter.
    #[must_use = "each event is reported once"]
    pub fn poll_event(&mut self) -> Option<PipeEvent> {
        self.spread();
        if let Some(event) = self.poll_tunnels() {
            return Some(event);
        }
        if !self.is_ended() {
            return None;
        }
        let due = self.due.take()?;
        let (asked, carrier) = match due {
            Carrier::Abort(error) => {
                let first = self.error.get_or_insert(error).clone();
                (Announced::Abort, Carrier::Abort(first))
            }
            Carrier::Finish => (Announced::Finish, Carrier::Finish),
        };
        if asked <= self.announced {
            return None;
        }
        self.announced = asked;
        Some(PipeEvent::Carrier(carrier))
    }

    fn poll_tunnels(&mut self) -> Option<PipeEvent> {
        while let Some(event) = self.client.as_mut().and_then(Tunnel::poll_event) {
            match event {
                Event::Carrier(carrier) => self.is_due(carrier),
                event => return Some(PipeEvent::Tunnel(Side::Client, event)),
            }
        }
        while let Some(event) = self.server.as_mut().and_then(Tunnel::poll_event) {
            match event {
                Event::Carrier(carrier) => self.is_due(carrier),
                event => return Some(PipeEvent::Tunnel(Side::Server, event)),
            }
        }
        None
    }

    /// One of the tunnels has this to say; an abort is not taken back.
    fn is_due(&mut self, carrier: Carrier) {
        if !matches!(self.due, Some(Carrier::Abort(_))) {
            self.due = Some(carrier);
        }
    }

    /// A tunnel that drains by itself, or because the peer says that it drains, drains the pipe.
    fn drain_if_one_does(&mut self) {
        let client = self.client.as_ref().is_some_and(Tunnel::is_draining);
        let server = self.server.as_ref().is_some_and(Tunnel::is_draining);
        if !self.draining && (client || server) {
            self.drain(self.now, Duration::MAX);
        }
    }

    /// What ended one tunnel ends the other, and the pipe.
    pub(super) fn spread(&mut self) {
        if self.over {
            return;
        }
        self.drain_if_one_does();
        let (now, draining) = (self.now, self.draining);
        let error = match (&mut self.client, &mut self.server) {
            (Some(client), Some(server)) if client.is_ended() => {
                end_both(now, client, server, draining)
            }
            (Some(client), Some(server)) if server.is_ended() => {
                end_both(now, server, client, draining)
            }
            (Some(client), None) if client.is_ended() => client.error().cloned(),
            (None, Some(server)) if server.is_ended() => server.error().cloned(),
            _ => return,
        };
        self.over = self.is_ended();
        // A tunnel client that has not settled is given up when it is drained, as it was told to be.
        let expected = |error: &TunnelError| draining && error.reason() == TunnelReason::Aborted;
        if self.over && self.error.is_none() && !self.clean {
            self.error = error.filter(|error| !expected(error));
        }
    }
}

/// Ends `other` in the way that `ended` did, and returns the error of that.
fn end_both<R: Role, Q: Role, S: Storage>(
    now: Time,
    ended: &Tunnel<R, S>,
    other: &mut Tunnel<Q, S>,
    draining: bool,
) -> Option<TunnelError> {
    let error = ended.error();
    let clean = error.is_none_or(|error| match error.reason() {
        TunnelReason::CarrierFinished => true,
        // A tunnel client that has not settled has nothing to wait for when it is drained.
        TunnelReason::Aborted => draining,
        _ => false,
    });
    let waits = clean && draining;
    if !waits && !other.is_ended() {
        let cause = if clean {
            Cause::Finished
        } else {
            Cause::Failed
        };
        other.handle_end(now, cause);
    }
    error.cloned()
}
