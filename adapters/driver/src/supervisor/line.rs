//! The tasks of a supervisor: one for each tunnel that is kept open, one for each that was opened.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::error::TunnelEnd;
use crate::group::{Expected, TunnelGroup};
use crate::panics::contain;
use crate::peer::TunnelPeer;
use crate::supervisor::attempt::{BoxFuture, Failed, Open, OpenedTunnel, Opening, Supervised};
use crate::supervisor::backoff::Pauses;
use crate::supervisor::dial::DialError;
use crate::supervisor::event::{SupervisorEvent, SupervisorEventKind as Kind};
use crate::supervisor::interruption::Interruption;
use crate::supervisor::state::{Board, Stop, SupervisedPhase, TaskOfBoard};

/// Tunnels that drain beside the one that takes their place. With more of them no other is opened,
/// so that a peer which drains every tunnel at once is held up.
const MAX_DRAINING: usize = 8;

pub(crate) type Check = dyn Fn(Option<&TunnelPeer>) -> Result<(), DialError> + Send + Sync;
pub(crate) type Tell = dyn Fn(&SupervisorEvent<'_>) + Send + Sync;
pub(crate) type GiveUp = dyn Fn(&Interruption) -> bool + Send + Sync;

/// What the tasks of a supervisor have in common.
pub(crate) struct Common {
    pub(crate) board: Arc<Board>,
    pub(crate) opening: Arc<Opening>,
    /// Where calls find the tunnels, if this end makes them.
    pub(crate) group: Option<TunnelGroup>,
    pub(crate) check: Option<Box<Check>>,
    pub(crate) tell: Option<Box<Tell>>,
    pub(crate) give_up: Option<Box<GiveUp>>,
}

/// A tunnel that is kept open: its place among those of the supervisor.
#[derive(Clone)]
struct Place {
    common: Arc<Common>,
    number: usize,
    gateway: Arc<str>,
}

impl Place {
    fn board(&self) -> &Arc<Board> {
        &self.common.board
    }

    fn tell(&self, kind: Kind<'_>) {
        if let Some(tell) = &self.common.tell {
            let event = SupervisorEvent {
                gateway: &self.gateway,
                tunnel: self.number,
                kind,
            };
            // What observers do is theirs.
            contain(|| tell(&event));
        }
    }

    fn set_phase(&self, phase: SupervisedPhase) {
        self.board()
            .update(self.number, |tunnel| tunnel.phase = phase);
    }

    fn interrupted(&self, why: &Interruption) {
        self.board().update(self.number, |tunnel| {
            tunnel.interruption = Some(why.clone());
        });
    }
}

/// Keeps one tunnel open.
pub(crate) struct Line {
    place: Place,
    open: Open,
    pauses: Pauses,
    /// While it is not open.
    expected: Option<Expected>,
    /// What the task leaves behind, however it ends.
    end: LineEnd,
}

struct LineEnd {
    place: Place,
    /// The task ended by itself.
    done: bool,
    _task: TaskOfBoard,
}

impl Drop for LineEnd {
    fn drop(&mut self) {
        let place = &self.place;
        if !self.done {
            let why = Interruption::TaskLost;
            place.interrupted(&why);
            place.board().gave_up(why.clone());
            place.tell(Kind::GaveUp(&why));
        }
        place.set_phase(SupervisedPhase::Ended);
    }
}

/// What comes after an attempt, or after a tunnel.
enum Next {
    /// Another attempt, after a pause.
    Pause,
    /// Another attempt at once.
    AtOnce,
    /// None.
    End,
}

impl Line {
    pub(crate) fn new(
        common: Arc<Common>,
        number: usize,
        gateway: Arc<str>,
        open: Open,
        pauses: Pauses,
    ) -> Self {
        let task = common.board.task();
        let expected = common.group.as_ref().map(TunnelGroup::expect);
        let place = Place {
            common,
            number,
            gateway,
        };
        Self {
            end: LineEnd {
                place: place.clone(),
                done: false,
                _task: task,
            },
            place,
            open,
            pauses,
            expected,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let next = match self.attempt().await {
                None => Next::End,
                Some(Ok(opened)) => self.keep(opened).await,
                Some(Err(failed)) => self.failed(&failed),
            };
            let goes_on = match next {
                Next::AtOnce => true,
                Next::Pause => self.pause().await,
                Next::End => false,
            };
            if !goes_on || !self.wait_for_draining().await {
                break;
            }
        }
        self.end.done = true;
    }

    /// One attempt. None: the supervisor stops.
    async fn attempt(&mut self) -> Option<Result<OpenedTunnel, Failed>> {
        if self.place.board().stop() != Stop::Not {
            return None;
        }
        self.place.set_phase(SupervisedPhase::Connecting);
        let opening = (self.open)(self.place.common.opening.clone());
        let opened = match select(pin!(self.place.board().stopping()), opening).await {
            Either::Left(((), _)) => return None,
            Either::Right((opened, _)) => opened,
        };
        Some(opened.and_then(|opened| self.check(opened)))
    }

    /// Whether this end takes the tunnel.
    fn check(&self, opened: OpenedTunnel) -> Result<OpenedTunnel, Failed> {
        let Some(check) = &self.place.common.check else {
            return Ok(opened);
        };
        check(opened.tunnel.peer()).map_err(|error| {
            opened.tunnel.abort();
            Failed {
                permanent: error.is_permanent(),
                why: Interruption::Rejected(error.into_source()),
            }
        })?;
        Ok(opened)
    }

    fn failed(&self, failed: &Failed) -> Next {
        let Failed { why, permanent } = failed;
        self.place.interrupted(why);
        self.place.tell(Kind::Failed(why));
        if *permanent {
            return self.give_up(why);
        }
        self.judge(why, Next::Pause)
    }

    /// Goes on unless the application says that it is of no use.
    fn judge(&self, why: &Interruption, next: Next) -> Next {
        match &self.place.common.give_up {
            Some(gives_up) if gives_up(why) => self.give_up(why),
            _ => next,
        }
    }

    fn give_up(&self, why: &Interruption) -> Next {
        self.place.board().gave_up(why.clone());
        self.place.tell(Kind::GaveUp(why));
        Next::End
    }

    /// Waits until the tunnel takes no more calls.
    async fn keep(&mut self, opened: OpenedTunnel) -> Next {
        let place = &self.place;
        let runtime = &place.common.opening.runtime;
        let OpenedTunnel { tunnel, channel } = opened;
        let group = place.common.group.as_ref();
        let begun = runtime.now();
        let member = group
            .zip(channel)
            .map(|(group, channel)| group.add(channel));
        self.expected = None;
        place.set_phase(SupervisedPhase::Open);
        place.tell(Kind::Opened);
        let draining = tunnel.draining();
        let stopping = pin!(place.board().stopping());
        let Either::Right(((), stopping)) = select(stopping, draining).await else {
            Leaving::start(place, tunnel, SupervisedPhase::Ended);
            return Next::End;
        };
        self.expected = group.map(TunnelGroup::expect);
        drop(member);
        let open = runtime.now().saturating_duration_since(begun);
        let lived = self.pauses.has_lived(open);
        if tunnel.state().open {
            Leaving::start(place, tunnel, SupervisedPhase::Connecting);
            place.tell(Kind::Draining);
            return self.after(None, lived);
        }
        let Either::Right((end, _)) = select(stopping, tunnel.closed()).await else {
            Leaving::start(place, tunnel, SupervisedPhase::Ended);
            return Next::End;
        };
        let why = Interruption::ended(end);
        place.interrupted(&why);
        place.tell(Kind::Ended(&why));
        self.after(Some(&why), lived)
    }

    /// What follows a tunnel that ended as `why` says; `None`: it still drains.
    fn after(&mut self, why: Option<&Interruption>, lived: bool) -> Next {
        // Two of one name that replace each other would do so as fast as they can.
        let replaced = matches!(why, Some(Interruption::Replaced(_)));
        if lived && !replaced {
            self.pauses.reset();
        }
        let drained = matches!(why, None | Some(Interruption::Drained(_)));
        let next = if drained && lived {
            Next::AtOnce
        } else {
            Next::Pause
        };
        match why {
            Some(why) => self.judge(why, next),
            None => next,
        }
    }

    /// Pauses. Returns whether to go on.
    async fn pause(&mut self) -> bool {
        let pause = self.pauses.next();
        let failures = self.pauses.failures();
        self.place.board().update(self.place.number, |tunnel| {
            tunnel.phase = SupervisedPhase::Waiting(pause);
            tunnel.failures = failures;
        });
        self.place.tell(Kind::Waiting(pause));
        let runtime = &self.place.common.opening.runtime;
        let Some(until) = runtime.now().checked_add(pause) else {
            self.place.board().stopping().await;
            return false;
        };
        let stopping = pin!(self.place.board().stopping());
        matches!(
            select(stopping, runtime.sleep_until(until)).await,
            Either::Right(_)
        )
    }

    /// Waits until not too many tunnels drain. Returns whether to go on.
    async fn wait_for_draining(&mut self) -> bool {
        let number = self.place.number;
        let go_on = self.place.board().wait(move |state, stop| {
            let tunnel = state.tunnels.get(number)?;
            if stop != Stop::Not {
                return Some(false);
            }
            (tunnel.draining < MAX_DRAINING).then_some(true)
        });
        go_on.await
    }
}

/// A tunnel that drains, until it is over.
struct Leaving {
    place: Place,
    tunnel: Arc<dyn Supervised>,
    _task: TaskOfBoard,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.place.board().update(self.place.number, |tunnel| {
            tunnel.draining = tunnel.draining.saturating_sub(1);
        });
    }
}

impl Leaving {
    /// Looks after a tunnel that drains, in a task of its own. Its place is in `phase` from now on.
    fn start(place: &Place, tunnel: Arc<dyn Supervised>, phase: SupervisedPhase) {
        let leaving = Self {
            place: place.clone(),
            tunnel,
            _task: place.board().task(),
        };
        place.board().update(place.number, |tunnel| {
            tunnel.phase = phase;
            tunnel.draining = tunnel.draining.saturating_add(1);
        });
        place.common.opening.runtime.spawn(leaving.run());
    }

    async fn run(self) {
        let closed = self.tunnel.closed();
        let board = self.place.board();
        let end = match select(pin!(board.stopping()), closed).await {
            Either::Right((end, _)) => Interruption::ended(end),
            Either::Left(((), closed)) => Interruption::stopped(self.stop(closed).await),
        };
        self.place.interrupted(&end);
        self.place.tell(Kind::Ended(&end));
    }

    /// Ends the tunnel as the supervisor was told to.
    async fn stop(&self, mut closed: BoxFuture<TunnelEnd>) -> TunnelEnd {
        let board = self.place.board();
        let runtime = &self.place.common.opening.runtime;
        self.tunnel.drain(Duration::MAX);
        while let Stop::Drain(until) = board.stop() {
            let shortened = |_: &_, stop| (stop != Stop::Drain(until)).then_some(());
            let shortened = pin!(board.wait(shortened));
            let time = match until {
                Some(until) => runtime.sleep_until(until),
                None => Box::pin(std::future::pending()),
            };
            let changed = select(shortened, time);
            match select(closed, changed).await {
                Either::Left((end, _)) => return end,
                Either::Right((changed, rest)) => {
                    closed = rest;
                    if matches!(changed, Either::Right(_)) {
                        break;
                    }
                }
            }
        }
        let calls = self.tunnel.state().calls;
        board.cut_off(usize::try_from(calls).unwrap_or(usize::MAX));
        self.tunnel.drain(Duration::ZERO);
        let now = pin!(board.wait(|_, stop| (stop == Stop::Now).then_some(())));
        match select(closed, now).await {
            Either::Left((end, _)) => end,
            Either::Right(((), closed)) => {
                self.tunnel.abort();
                closed.await
            }
        }
    }
}
