//! The tunnels that an agent or a port keeps open.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use grpctunnel_driver::{SupervisedPhase, SupervisedTunnel, Supervisor};

use super::{Tunnel, Tunnels, Way};
use crate::{name::Name, words};

/// The tunnels that an agent or a port keeps open. Clones are the same.
#[derive(Clone, Default)]
pub struct Supervised(Arc<Mutex<Vec<Kept>>>);

struct Kept {
    name: Option<Name>,
    way: Way,
    supervisor: Supervisor,
}

impl Supervised {
    pub(crate) fn add(&self, name: Option<Name>, way: Way, supervisor: Supervisor) {
        let kept = Kept {
            name,
            way,
            supervisor,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(kept);
    }

    /// What they are doing now.
    #[must_use]
    pub fn tunnels(&self) -> Tunnels {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tunnels = all.iter().flat_map(|kept| {
            let state = kept.supervisor.state();
            let tunnels = state.tunnels.into_iter();
            tunnels.map(|tunnel| Tunnel {
                name: kept.name.clone(),
                ..shown(kept.way, &tunnel)
            })
        });
        Tunnels {
            tunnels: tunnels.collect(),
            drained: Vec::new(),
        }
    }

    /// Whether there are tunnels that it keeps open, or tries to.
    pub(crate) fn has_begun(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !all.is_empty()
    }
}

fn shown(way: Way, tunnel: &SupervisedTunnel) -> Tunnel {
    let state = match tunnel.phase {
        SupervisedPhase::Connecting => "connecting",
        SupervisedPhase::Open => "open",
        SupervisedPhase::Waiting(_) => "waiting",
        _ => "ended",
    };
    let why = tunnel.interruption.as_ref().filter(|_| state != "open");
    Tunnel {
        why: why.map(words::interruption),
        ..Tunnel::new(way, tunnel.gateway.to_string(), state)
    }
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tunnels().tunnels).finish()
    }
}
