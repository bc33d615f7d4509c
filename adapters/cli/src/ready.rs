//! Whether a command takes calls, for whoever has to know: load balancers, orchestrators, systemd.

use std::{fmt, sync::Arc};

use grpctunnel_driver::SupervisorEventKind;
use tokio::sync::watch;

/// Whether a command takes calls. Clones tell of the same command.
///
/// A gateway is ready while it listens. An agent is ready while each name that it serves has a
/// tunnel, a dialled port while its tunnel is open. None of them is ready once it has been told to
/// end, although it still takes calls for the drain delay: see [`Stop`](crate::stop::Stop).
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    known: Arc<watch::Sender<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    leaving: bool,
    parts: Vec<(String, usize)>,
}

/// What can be said of the readiness of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ready {
    /// It takes calls.
    Yes,
    /// It lacks this, and may have it later.
    Lacks(String),
    /// It has been told to end.
    Leaving,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("ready"),
            Self::Lacks(what) => write!(f, "no {what}"),
            Self::Leaving => f.write_str("shutting down"),
        }
    }
}

impl Readiness {
    /// How it is now.
    #[must_use]
    pub fn now(&self) -> Ready {
        self.known.borrow().ready()
    }

    /// Whether it takes calls now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.now() == Ready::Yes
    }

    /// Waits until it is another one than `last`, and returns that.
    pub async fn other(&self, last: &Ready) -> Ready {
        let mut known = self.known.subscribe();
        let changed = known.wait_for(|known| known.ready() != *last).await;
        // It fails only without a sender, which is in `self`.
        changed.map_or(Ready::Leaving, |known| known.ready())
    }

    /// Waits until the command has been told to end.
    pub(crate) async fn leaving(&self) {
        let mut known = self.known.subscribe();
        // It fails only without a sender, which is in `self`.
        let _ = known.wait_for(|known| known.leaving).await;
    }

    /// The command has been told to end.
    pub(crate) fn leave(&self) {
        self.known.send_if_modified(|known| {
            let before = std::mem::replace(&mut known.leaving, true);
            !before
        });
    }

    /// The command needs `what`, some tunnel, and has none yet.
    pub(crate) fn needs(&self, what: impl fmt::Display) -> Need {
        let mut place = 0;
        self.known.send_modify(|known| {
            place = known.parts.len();
            known.parts.push((what.to_string(), 0));
        });
        Need {
            readiness: self.clone(),
            place,
        }
    }
}

impl Known {
    fn ready(&self) -> Ready {
        if self.leaving {
            return Ready::Leaving;
        }
        let missing = self.parts.iter().find(|(_, tunnels)| *tunnels == 0);
        missing.map_or(Ready::Yes, |(what, _)| Ready::Lacks(what.clone()))
    }
}

/// Something that a command needs tunnels for; one is enough.
#[derive(Debug)]
pub(crate) struct Need {
    readiness: Readiness,
    place: usize,
}

impl Need {
    /// Something has happened to one of the tunnels.
    pub(crate) fn follow(&self, event: &SupervisorEventKind<'_>) {
        match event {
            SupervisorEventKind::Opened => self.change(|tunnels| tunnels.saturating_add(1)),
            SupervisorEventKind::Ended(_) => self.change(|tunnels| tunnels.saturating_sub(1)),
            _ => {}
        }
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        self.readiness.known.send_modify(|known| {
            if let Some((_, tunnels)) = known.parts.get_mut(self.place) {
                *tunnels = change(*tunnels);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tunnel_for_each_name_is_enough() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (home, shop) = (
            readiness.needs("tunnel for home"),
            readiness.needs("tunnel for shop"),
        );
        assert_eq!(readiness.now().to_string(), "no tunnel for home");
        home.change(|tunnels| tunnels + 2);
        assert_eq!(readiness.now().to_string(), "no tunnel for shop");
        shop.follow(&SupervisorEventKind::Opened);
        assert!(readiness.is_ready());
        home.change(|tunnels| tunnels - 1);
        assert!(readiness.is_ready());
        home.change(|tunnels| tunnels - 1);
        assert!(!readiness.is_ready());
    }

    #[test]
    fn nothing_makes_ready_again_what_has_been_told_to_end() {
        let readiness = Readiness::default();
        let home = readiness.needs("tunnel for home");
        readiness.leave();
        home.follow(&SupervisorEventKind::Opened);
        assert_eq!(readiness.now(), Ready::Leaving);
    }
}
