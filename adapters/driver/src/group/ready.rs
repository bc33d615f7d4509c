//! Waiting for a change of a group.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use grpctunnel_core::Client;

use crate::group::members::Tunnels;
use crate::tunnel::shared::Watch;

/// Waits until something may be found in a group that was not found before: tunnels have come or
/// gone, or one takes calls at once that did not.
pub(crate) struct Change {
    tunnels: Arc<Tunnels>,
    version: u64,
    ticket: Option<u64>,
    /// Those that may take calls later.
    waits: Vec<Watch<Client, ()>>,
}

impl Change {
    /// Changes of members only, from now on.
    pub(crate) fn of_members(tunnels: &Arc<Tunnels>) -> Self {
        Self {
            tunnels: tunnels.clone(),
            version: tunnels.members_and_version().1,
            ticket: None,
            waits: Vec::new(),
        }
    }

    /// Changes from now on.
    fn new(tunnels: &Arc<Tunnels>) -> Self {
        let (members, version) = tunnels.members_and_version();
        let waits = members.iter().filter(|member| {
            let state = member.channel.state();
            state.is_usable() && !state.takes_calls()
        });
        Self {
            tunnels: tunnels.clone(),
            version,
            ticket: None,
            waits: waits
                .map(|member| member.channel.shared().takes_calls())
                .collect(),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waits = self.waits.iter_mut();
        if waits.any(|wait| Pin::new(wait).poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        self.tunnels
            .poll_changed(self.version, &mut self.ticket, cx)
    }

    /// Looks now, and again after each change. `change` is kept between polls.
    pub(crate) fn poll_until<T>(
        change: &mut Option<Self>,
        tunnels: &Arc<Tunnels>,
        cx: &mut Context<'_>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Poll<T> {
        loop {
            let waiting = match change {
                Some(waiting) => waiting,
                // Made before the look, so that no change is missed in between.
                None => {
                    let waiting = change.insert(Self::new(tunnels));
                    if let Some(found) = look() {
                        *change = None;
                        return Poll::Ready(found);
                    }
                    waiting
                }
            };
            if waiting.poll(cx).is_pending() {
                return Poll::Pending;
            }
            *change = None;
        }
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        self.tunnels.forget(self.ticket);
    }
}
